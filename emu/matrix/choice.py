"""Which endpoint kube-proxy's draws choose: each is met once, in order, instead of as chance has it.

The rules of a Service take its endpoints one after the other, each with the probability of one among those that are left
(kube-proxy's writeServiceToEndpointRules): a draw with probability 1/r is that of the r-th endpoint from the end. The packet still meets
every rule. Must not know rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from emu.kernel.net.netns import Netns

PURPOSE = "statistic"


class FromEnd:
    """The script of draws that takes the endpoint which has `rank` others and itself left; 1 is the last one, for which there is no draw. `most` is
    how many were left at the first draw: how many endpoints the rules have."""

    def __init__(self, rank: int) -> None:
        self.rank, self.most = rank, 1

    def number(self) -> int | None:
        return None

    def below(self, threshold: int, bits: int) -> bool | None:
        left = round((1 << bits) / threshold) if threshold else 0
        self.most = max(self.most, left)
        return left == self.rank


def forget_clients(nets: Iterable[Netns]) -> None:
    """sessionAffinity has forgotten its clients there: the lists of -m recent are empty (`echo / > /proc/net/xt_recent/NAME`)."""
    for net in nets:
        memory = net.ipv4.tables.memory
        for key in [each for each in memory if isinstance(each, tuple) and each[0] == "recent"]:
            del memory[key]


@contextmanager
def chosen(nets: Iterable[Netns], rank: int) -> Iterator[FromEnd]:
    """While the block runs, these namespaces choose the endpoint of that rank."""
    script = FromEnd(rank)
    sources = [net.random(PURPOSE) for net in nets]
    before = [each.script for each in sources]
    for each in sources:
        each.script = script
    try:
        yield script
    finally:
        for each, old in zip(sources, before, strict=True):
            each.script = old
