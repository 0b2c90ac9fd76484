"""A flow compared with what its step expects: a sentence for each difference, and the number of checks.

Must not know steps or files.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import NamedTuple

from emu.errors import InputError
from emu.kube.flow.flow import Flow
from emu.kube.flow.outcome import Nat, address
from emu.scenario.endpoints import check_glob
from emu.scenario.kinds import Expect
from emu.trail import Forbidden

NONE = "none"
# Which of an outcome's words each key is compared with.
# What must stand beside each negative outcome, so that a step does not pass for a wrong reason.
NAMED_REASON = {"rejected": "code", "dropped": "reason", "error": "reason", "undecided": "reason"}
_GLOBS = ("at", "dnat", "snat", "tunnel", "reason", "code", "place", "by", "policy", "received")
_DETAILS = ("reason", "code")


class Checked(NamedTuple):
    """How many things were compared, and a sentence for each that differs."""

    checks: int
    failures: tuple[str, ...]

    def plus(self, other: Checked) -> Checked:
        return Checked(self.checks + other.checks, self.failures + other.failures)


def check_expectation(expect: Expect) -> None:
    """What is wrong with an expectation, before anything runs. Raises InputError, with the key as its path where it is one key."""
    needed = NAMED_REASON.get(expect.outcome)
    if needed and not getattr(expect, needed):
        raise InputError(f"expecting {expect.outcome} needs a {needed}", expected=f"{needed}: ...")
    for key in _GLOBS:
        try:
            check_glob(getattr(expect, key) or "")
        except InputError as error:
            raise InputError(error.what, path=key, expected=error.expected) from None


NOTHING = Checked(0, ())


def check(flow: Flow, expect: Expect) -> Checked:
    """Compare one flow with its expectation."""
    outcome = flow.outcome
    pairs: list[tuple[str, str, str, str]] = [("outcome", expect.outcome, outcome.word, _why(flow))]
    if expect.at:
        pairs.append(("at", expect.at, flow.at, ""))
    for key in _DETAILS:
        wanted = getattr(expect, key)
        if wanted:
            pairs.append((key, wanted, outcome.detail, ""))
    for key in ("place", "by"):
        wanted = getattr(expect, key)
        if wanted:
            pairs.append((key, wanted, getattr(outcome, key), ""))
    if expect.received is not None:
        pairs.append(("received", expect.received, flow.received.decode("utf-8", "backslashreplace"), ""))
    if expect.frames is not None:
        pairs.append(("frames", str(expect.frames), str(flow.frame_count), ""))
    failures = [
        f"{key} is {_shown(found)}, expected {_shown(wanted)}{why}"
        for key, wanted, found, why in pairs
        if not _matches(key, found, wanted)
    ]
    checks = len(pairs)
    for key, kind in (("dnat", "DNAT"), ("snat", "SNAT")):
        wanted = getattr(expect, key)
        if wanted:
            checks += 1
            failures += _check_nat(key, wanted, [each for each in flow.translations if each.kind == kind])
    if expect.policy:
        checks += 1
        failures += _check_policy(expect.policy, flow.forbidden)
    if expect.tunnel:
        checks += 1
        failures += _check_tunnel(expect.tunnel, [*flow.tunnels])
    return Checked(checks, tuple(failures))


def _check_nat(key: str, wanted: str, found: list[Nat]) -> list[str]:
    if wanted == NONE:
        return [f"{key}: there was {found[0]}, expected none"] if found else []
    for each in found:
        text = address(each.after)
        if fnmatchcase(text if ":" in wanted else text.partition(":")[0], wanted):
            return []
    return [f"{key} is {', '.join(address(each.after) for each in found) or NONE}, expected {_shown(wanted)}"]


def _check_policy(wanted: str, found: list[Forbidden]) -> list[str]:
    texts = list(dict.fromkeys(map(str, found))) or [NONE]
    if not any(_matches("by", each, wanted) for each in texts):
        return [f"policy is {', '.join(map(_shown, texts))}, expected {_shown(wanted)}"]
    return []


def _check_tunnel(wanted: str, found: list[str]) -> list[str]:
    if not any(fnmatchcase(each, wanted) for each in found or [NONE]):
        return [f"tunnel is {', '.join(found) or NONE}, expected {_shown(wanted)}"]
    return []


def _matches(key: str, found: str, wanted: str) -> bool:
    if key in ("outcome", "frames"):
        return found == wanted
    if key == "by":  # a rule's text: a part of it will do
        return fnmatchcase(found, wanted) or wanted in found
    return found == wanted or fnmatchcase(found, wanted)


def _why(flow: Flow) -> str:
    outcome = flow.outcome
    parts = [part for part in (outcome.detail, f"at {outcome.place}" if outcome.place else "", outcome.by) if part]
    return f" ({', '.join(parts)})" if parts else ""


def _shown(text: str) -> str:
    return f'"{text}"' if not text or any(c in text for c in " \n*?[") else text
