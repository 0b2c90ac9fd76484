"""Every endpoint that a new connection may get, with its probability: the packet is replayed on its sender's node.

What counts is what NAT did to it there: DNAT and REDIRECT choose the destination, SNAT and MASQUERADE the source. Nothing
of the cluster changes. Must not know Services.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from emu.capture.words import decided_by
from emu.kernel.netfilter.ruleset import Rule
from emu.kernel.netfilter.targets import Goto, Jump
from emu.kernel.netfilter.targets.verdicts import Accept
from emu.report import Report
from emu.report.outcomes import UNDECIDED, Probe, Site, Trace, outcomes
from emu.trail import Natted
from emu.wire.addr import ip4_text
from emu.wire.frame import ICMP

_PLACES = 6
_DESTINATION = ("PREROUTING", "OUTPUT")


class Endpoint(NamedTuple):
    """An address that the destination may become ("": it stays), how probably, and the nat chains on the way to the rule.
    `source` is the address that the receiver sees in place of the sender's ("": it stays). `undecided` is the rule that
    decides in a way that is not known ("": none); then `to` is what was known before it."""

    to: str
    probability: float
    chains: tuple[str, ...]
    source: str = ""
    undecided: str = ""


def endpoints(site: Site, probe: Probe) -> list[Endpoint]:
    """The endpoints of a new connection's first packet: the most probable first, then in the order of the rules."""
    found: dict[tuple[str, tuple[str, ...], str, str], float] = {}
    for outcome in outcomes(site, probe, answer=False):
        trail = outcome.there.trail
        to = _address(_fact(trail, "DNAT"), ported=probe.proto != ICMP)
        key = to, _chains(trail), _address(_fact(trail, "SNAT"), ported=False), _undecided(outcome.there)
        found[key] = found.get(key, 0.0) + outcome.probability
    ordered = sorted(found.items(), key=lambda each: -each[1])
    return [Endpoint(to, round(share, _PLACES), path, *more) for (to, path, *more), share in ordered]


def _undecided(trace: Trace) -> str:
    return decided_by(trace.by) if trace.word == UNDECIDED else ""


def _fact(trail: Sequence[Any], kind: str) -> Natted | None:
    return next((each for each in trail if isinstance(each, Natted) and each.kind == kind), None)


def _address(fact: Natted | None, *, ported: bool) -> str:
    """What one half became, with its port where that is asked for."""
    if fact is None:
        return ""
    addr, port = fact.after
    return f"{ip4_text(addr)}:{port}" if ported else ip4_text(addr)


def _chains(trail: Sequence[Any]) -> tuple[str, ...]:
    """The chains of the nat table on the way to the rule that decided the destination; none if no rule did."""
    path: list[str] = []
    accepted = False
    for entry in trail:
        if isinstance(entry, Natted) and entry.kind == "DNAT":
            return tuple(path)
        if not isinstance(entry, Rule) or entry.table != "nat" or not (path or entry.chain in _DESTINATION):
            continue
        path = path or [entry.chain]
        if entry.chain not in path:  # the rules of another hook
            break
        del path[path.index(entry.chain) + 1 :]
        accepted = isinstance(entry.target, Accept)
        if isinstance(entry.target, Jump):
            path.append(entry.target.chain)
        elif isinstance(entry.target, Goto):
            path[-1] = entry.target.chain
    return tuple(path) if accepted else ()


def report(found: list[Endpoint]) -> Report:
    """A line an endpoint: probability, address, the source where it changes, the chains on the way there."""
    data = [
        {"to": each.to, "source": each.source, "probability": each.probability, "chains": list(each.chains)}
        | ({"undecided": each.undecided} if each.undecided else {})
        for each in found
    ]
    lines = []
    for each in found:
        to = each.to or "as it is: no rule rewrites it"
        to = f"undecided by {each.undecided}" if each.undecided else to
        to += f" from {each.source}" if each.source else ""
        lines.append(f"{each.probability:8.4%}  {to:<21}  {' -> '.join(each.chains)}".rstrip())
    return Report(data, "\n".join(lines))
