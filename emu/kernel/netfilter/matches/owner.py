"""`-m owner`: who sent a local packet, by its socket's user and group (xt_owner.c).

A socket without `uid` and `gid` is root's, and it has no supplementary groups: `--suppl-groups` finds none. Must not know
processes or names of users: root's is the only one it reads.
"""

from __future__ import annotations

from dataclasses import dataclass

from emu.errors import InputError
from emu.kernel.netfilter.hooks import HookState
from emu.kernel.netfilter.matches import Given, Match, Options, Where, matches, number
from emu.wire.frame import Frame

Span = tuple[int, int, bool]  # lowest, highest, negated


def _span(given: Given | None, what: str) -> Span | None:
    if given is None:
        return None
    low, dash, high = ("0" if given.words[0] == "root" else given.words[0]).partition("-")
    first = number(low, what)
    return first, number(high, what, first) if dash else first, given.negated


def _spell(option: str, span: Span) -> str:
    text = str(span[0]) if span[0] == span[1] else f"{span[0]}-{span[1]}"
    return f"{'! ' if span[2] else ''}{option} {text}"


@matches.add("owner")
@dataclass(frozen=True, slots=True)
class Owner(Match):
    """`exists`: None, or whether `--socket-exists` is negated. A packet without a socket fits negated questions alone."""

    options = {"--uid-owner": 1, "--gid-owner": 1, "--socket-exists": 0, "--suppl-groups": 0}
    not_negated = frozenset(("--suppl-groups",))
    exists: bool | None
    uid: Span | None
    gid: Span | None
    suppl_groups: bool = False

    @classmethod
    def build(cls, given: Options, where: Where) -> Owner:
        if not given:
            raise InputError("-m owner has no option", expected="--uid-owner, --gid-owner or --socket-exists")
        if where.chain in ("PREROUTING", "INPUT", "FORWARD"):
            raise InputError(f"-m owner cannot be used in {where.chain}", expected="OUTPUT or POSTROUTING")
        suppl_groups = "--suppl-groups" in given
        order = list(given)
        if suppl_groups and "--gid-owner" not in order[: order.index("--suppl-groups")]:
            raise InputError("--suppl-groups has no group to look for", expected="--gid-owner before it")
        exists = given.get("--socket-exists")
        return cls(
            None if exists is None else exists.negated,
            _span(given.get("--uid-owner"), "user id"),
            _span(given.get("--gid-owner"), "group id"),
            suppl_groups,
        )

    def matches(self, frame: Frame, state: HookState) -> bool:
        sock = frame.sock
        if sock is None:
            return self.exists is not False and all(span is None or span[2] for span in (self.uid, self.gid))
        if self.exists:
            return False
        for span, who in ((self.uid, "uid"), (self.gid, "gid")):
            if span is not None and (span[0] <= getattr(sock, who, 0) <= span[1]) is span[2]:
                return False
        return True

    def spec(self) -> str:
        words = [] if self.exists is None else [f"{'! ' if self.exists else ''}--socket-exists"]
        words += [_spell(o, span) for o, span in (("--uid-owner", self.uid), ("--gid-owner", self.gid)) if span]
        return " ".join([*words, "--suppl-groups"] if self.suppl_groups else words)
