"""From recorded packets to flows: whose packet is it, and who is the client. Must not know clusters.

The client of TCP sends the first SYN; without one the end with the well-known port serves. Of UDP and others the first packet is the
client's, of ICMP's queries the request, of SCTP the INIT.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from emu.kube.flow.replay.paired import Half
from emu.kube.flow.replay.recorded import Recorded, is_icmp_error
from emu.wire.frame import ICMP, SCTP, TCP, UDP
from emu.wire.sctp import INIT, INIT_ACK
from emu.wire.tcp import ACK, RST, SYN

PORTED = frozenset((TCP, UDP, SCTP))
WELL_KNOWN = 1024
QUERIES = {8: True, 13: True, 15: True, 17: True, 0: False, 14: False, 16: False, 18: False}
MOST_FRAGMENTS = 1024
ERRORS_ARE_THE_NETWORKS = "an ICMP error about the recorded packets: the cluster's hosts send their own"


class Key(NamedTuple):
    """A flow: protocol and both ends, the lower one first."""

    proto: int
    low: Half
    high: Half


class Belongs(NamedTuple):
    """A packet's flow, its sender and its receiver there. `why`: it has none."""

    key: Key | None
    source: Half = (0, 0)
    target: Half = (0, 0)
    why: str = ""


class Sorter:
    """Finds the flow of each packet; later fragments belong to that of the first."""

    def __init__(self) -> None:
        self._fragments: OrderedDict[tuple[int, int, int, int], tuple[Half, Half]] = OrderedDict()

    def of(self, recorded: Recorded) -> Belongs:
        seen = recorded.seen
        if recorded.why:
            return Belongs(None, why=recorded.why)
        if is_icmp_error(seen) and not seen.fragment:
            return Belongs(None, why=ERRORS_ARE_THE_NETWORKS)
        source, target = (seen.src, seen.sport), (seen.dst, seen.dport)
        if seen.fragment:
            known = seen.src, seen.dst, seen.proto, seen.ip_id
            if seen.offset == 0 and seen.proto in PORTED:
                self._fragments[known] = source, target
                if len(self._fragments) > MOST_FRAGMENTS:
                    self._fragments.popitem(last=False)
            source, target = self._fragments.get(known, ((seen.src, 0), (seen.dst, 0)))
        elif seen.proto == ICMP:
            ident = seen.ident if seen.sport in QUERIES else 0
            source, target = (seen.src, ident), (seen.dst, ident)
        elif seen.proto not in PORTED:
            source, target = (seen.src, 0), (seen.dst, 0)
        low, high = sorted((source, target))
        return Belongs(Key(seen.proto, low, high), source, target)


def client_sends(recorded: Recorded, source: Half, target: Half) -> bool:
    """Is the sender of a flow's first packet its client?"""
    seen = recorded.seen
    if seen.fragment:
        return True
    if seen.proto == TCP:
        if seen.flags & SYN:
            return not seen.flags & ACK
        if (source[1] < WELL_KNOWN) != (target[1] < WELL_KNOWN):
            return target[1] < WELL_KNOWN
    elif seen.proto == ICMP:
        return QUERIES.get(seen.sport, True)
    elif seen.proto == SCTP and len(recorded.payload) > 12:
        kind = recorded.payload[12]
        if kind in (INIT, INIT_ACK):
            return kind == INIT
        return source[1] >= target[1]
    return True


class Ahead:
    """What the packets that come next state of connections: which are refused."""

    def __init__(self) -> None:
        self._answered: OrderedDict[Key, bool] = OrderedDict()
        self._refused: OrderedDict[Key, bool] = OrderedDict()

    def look(self, recorded: Recorded) -> None:
        seen = recorded.seen
        if seen.proto != TCP or recorded.why or seen.fragment or not seen.flags & (SYN | RST):
            return
        low, high = sorted(((seen.src, seen.sport), (seen.dst, seen.dport)))
        key = Key(TCP, low, high)
        if seen.flags & SYN and seen.flags & ACK:
            self._answered[key] = True
        elif seen.flags & RST and seen.flags & ACK and key not in self._answered:
            self._refused[key] = True
        for known in (self._answered, self._refused):
            if len(known) > MOST_FRAGMENTS:
                known.popitem(last=False)

    def refused(self, key: Key) -> bool:
        """Does the recorded server refuse the connection? Asked once, when it begins."""
        self._answered.pop(key, None)
        return self._refused.pop(key, False)
