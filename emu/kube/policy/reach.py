"""Who may connect to whom on which ports, by the pure function: exact, by looking at each port where a verdict may change.

Must not know how it is shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from emu.kube.policy.ends import End
from emu.kube.policy.index import PolicyIndex
from emu.kube.policy.verdict import Packet, Verdict

PROTOCOLS = ("SCTP", "TCP", "UDP")
LAST = 65535


class Span(NamedTuple):
    """Ports `first` to `last` of a protocol have one verdict."""

    protocol: str
    first: int
    last: int
    verdict: Verdict

    @property
    def whole(self) -> bool:
        return (self.first, self.last) == (1, LAST)

    @property
    def ports(self) -> str:
        if self.whole:
            return self.protocol
        return f"{self.protocol} {self.first if self.first == self.last else f'{self.first}-{self.last}'}"


def breaks(index: PolicyIndex, ends: Iterable[End]) -> list[int]:
    """The ports at which a verdict between some of these ends may change."""
    found = {1}
    for policy in index.policies:
        for ports in (ports for rules in policy.rules.values() for rule in rules for ports in rule.ports or ()):
            found |= {max(ports.first, 1), ports.last + 1}
    for end in ends:
        for port in end.pod.ports if end.pod is not None else ():
            found |= {port.number, port.number + 1}
    return sorted(each for each in found if each <= LAST)


def spans(index: PolicyIndex, source: End, destination: End, cuts: list[int]) -> Iterator[Span]:
    """The verdicts about all ports; neighbours with the same reasons are one span."""
    for protocol in PROTOCOLS:
        first, verdict = 1, index.judge(Packet(source, destination, protocol, 1))
        for port in cuts[1:]:
            found = index.judge(Packet(source, destination, protocol, port))
            if _words(found) != _words(verdict):
                yield Span(protocol, first, port - 1, verdict)
                first, verdict = port, found
        yield Span(protocol, first, LAST, verdict)


def _words(verdict: Verdict) -> tuple[bool, str, str]:
    return verdict.allowed, str(verdict.egress), str(verdict.ingress)


def ports_text(found: Iterable[Span]) -> str:
    """`all`, `none`, or the ports, such as `TCP 80, TCP 443-445, UDP`."""
    there = [*found]
    if {span.protocol for span in there if span.whole} == {*PROTOCOLS} and len(there) == len(PROTOCOLS):
        return "all"
    merged: list[Span] = []
    for span in there:
        if merged and merged[-1].protocol == span.protocol and merged[-1].last + 1 == span.first:
            merged[-1] = merged[-1]._replace(last=span.last)
        else:
            merged.append(span)
    if len(merged) == len(PROTOCOLS) and all(span.whole for span in merged):
        return "all"
    return ", ".join(span.ports for span in merged) or "none"
