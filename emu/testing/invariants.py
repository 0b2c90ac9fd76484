"""The invariants of every network, as named functions over a `Lab`, a `Cluster` or a `Flow`.

`hold(where)` asks all of them, `invariants.ttl_falls(where)` one; what does not hold raises AssertionError with the frames in question, one
ladder line each. They are those of `emu.invariants`, which scenarios use too. Must not know strategies or pytest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from emu.capture.captured import Captured
from emu.capture.rungs import rungs
from emu.invariants import Evidence, Invariant, Verdict, judge
from emu.invariants import invariants as named
from emu.invariants.arp import arp_answered
from emu.invariants.evidence import Packet, Where
from emu.invariants.packets import checksums_hold, no_loop, one_outcome, ttl_falls
from emu.invariants.policies import policies_decide
from emu.invariants.requirements import nodes_reach_pods, own_address_is_seen, pods_reach_pods
from emu.invariants.services import mark_cleared, service_address_stays
from emu.invariants.tracking import endpoint_kept, reply_source, tuples_unique, unnat_is_inverse
from emu.kernel.net.netns import Netns

INVARIANTS: Mapping[str, Invariant] = named


def frames_of(where: Where) -> list[Captured]:
    """All captured frames in time order; for a flow, those that it caused. Raises ValueError when nothing was captured."""
    return Evidence(where).frames


def packets(where: Where) -> list[Packet]:
    """The IPv4 packets, each at all interfaces that captured it. Raises ValueError when nothing was captured."""
    return Evidence(where).packets


def road(frames: Iterable[Captured]) -> str:
    """The ladder of some frames."""
    return rungs(frames)


def waiting(net: Netns) -> int:
    """Packets that sit in a namespace: in neighbours' queues, and as pieces of datagrams that are not whole yet."""
    return net.tally().waiting


def hold(where: Where | Evidence, *names: str) -> None:
    """Check by the named invariants (by all of them, if none is named; without a capture by those that need none).
    Raises AssertionError for what does not hold, InputError for an unknown name, ValueError where a named one needs a capture."""
    for verdict in judge(where, names):
        verdict.expect()


def broken(where: Where | Evidence) -> Iterator[tuple[str, str]]:
    """The invariants that do not hold, each with its message."""
    for verdict in judge(where):
        if not verdict.held:
            yield verdict.name, "\n".join(map(str, verdict.violations))


def hops(where: Where, source: str, target: str) -> list[int]:
    """How many times each packet from namespace `source` to `target` was routed: by how much its TTL fell."""
    falls = []
    for packet in packets(where):
        (first, born), (last, arrived) = packet.seen[0], packet.seen[-1]
        if (first.place.owner, last.place.owner, last.direction) == (source, target, "in"):
            falls.append(born.ttl - arrived.ttl)
    return falls


__all__ = [
    "INVARIANTS", "Evidence", "Verdict", "arp_answered", "broken", "checksums_hold", "endpoint_kept", "frames_of", "hold", "hops",
    "judge", "mark_cleared", "no_loop", "nodes_reach_pods", "one_outcome", "own_address_is_seen", "packets", "pods_reach_pods", "policies_decide",
    "reply_source", "road", "service_address_stays", "ttl_falls", "tuples_unique", "unnat_is_inverse", "waiting",
]  # fmt: skip
