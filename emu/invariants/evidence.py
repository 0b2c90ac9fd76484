"""What invariants look at: captured frames read once, packets at all interfaces that captured them, and their ways through namespaces.

It is made from a bench (a `Lab` or a `Cluster`) or from a flow, and reads what is there: it sends nothing. Must not know invariants.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol, runtime_checkable

from emu.capture.capture import Capture
from emu.capture.captured import Captured
from emu.kernel.net.netns import Netns, Tally
from emu.kube.flow.ends import Places
from emu.kube.flow.flow import Flow
from emu.wire import icmp, ipv4
from emu.wire.frame import ETH_P_ARP, ICMP, Frame
from emu.wire.identity import unchanged


class Bench(Protocol):
    """A `Lab` or a `Cluster`: its namespaces by name, the packets of those that are gone, and what was captured."""

    @property
    def namespaces(self) -> Mapping[str, Netns]: ...
    @property
    def gone(self) -> Tally: ...
    @property
    def capture(self) -> Capture | None: ...


@runtime_checkable
class ClusterBench(Bench, Places, Protocol):
    """What invariants of clusters need besides: nodes, pods, objects, and the flows by number."""

    @property
    def flows(self) -> Mapping[int, Flow]: ...


Where = Bench | Flow
Seen = tuple[Captured, Frame]
STACKED = frozenset(
    ("bridge", "vlan", "vrf", "macvlan", "ipvlan")
)  # devices that hand frames to a device below or above


def identity(flow: int, frame: Frame) -> Hashable:
    """The bytes that no hop rewrites: two frames with equal identities are one packet (NAT and TTL do not count)."""
    return flow, frame.proto, frame.ip_id, frame.frag, unchanged(frame)


def is_error(frame: Frame) -> bool:
    """Is it an ICMP error, which quotes the packet that it is about?"""
    return frame.proto == ICMP and frame.dport >> 8 in icmp.ERRORS


class Pass(NamedTuple):
    """The way of one packet through the namespace `owner`: where it came in (None: it was born there), where it left, and all that
    was decided in between. `again`: the number of packets with the same bytes before it."""

    owner: str
    entry: Seen | None
    left: Seen
    trail: tuple[Any, ...]

    @property
    def net(self) -> Netns | None:
        """The namespace; None when the device is gone."""
        device = self.left[0].place.device
        return None if device is None else device.net

    def facts(self, kind: type) -> list[Any]:
        """The entries of the trail of one class."""
        return [each for each in self.trail if isinstance(each, kind)]


class Packet:
    """One IPv4 packet: `seen` pairs each captured frame with its fields, in time order."""

    __slots__ = ("seen",)

    def __init__(self) -> None:
        self.seen: list[Seen] = []

    @property
    def frames(self) -> tuple[Captured, ...]:
        return tuple(captured for captured, _ in self.seen)

    def passes(self) -> list[Pass]:
        """Its ways through namespaces, one for each interface that it left by, in time order."""
        ways: dict[str, _Way] = {}
        found = []
        for captured, frame in self.seen:
            place = captured.place
            way = ways.get(place.owner)
            if captured.direction == "in":
                if way is None or way.left:
                    ways[place.owner] = _Way((captured, frame), [])
                else:  # the bridge that it came in by hands it up
                    way.trail += captured.trail
            elif captured.direction == "out":
                if way is None:
                    way = ways[place.owner] = _Way(None, [])
                way.left = True
                found.append(Pass(place.owner, way.entry, (captured, frame), (*way.trail, *captured.trail)))
                if place.kind in STACKED:
                    way.trail += captured.trail
                elif way.entry is None:  # one with the same bytes begins anew
                    del ways[place.owner]
        return found


@dataclass
class _Way:
    entry: Seen | None
    trail: list[Any]
    left: bool = False


class Evidence:
    """All that was captured, counted and tracked on a bench, or because of one flow. `flows`: only these flows of a cluster, without
    the background. `since`: only frames from this mark of the capture on."""

    def __init__(self, where: Where, flows: Iterable[Flow] | None = None, *, since: int = 0) -> None:
        self.bench: Bench = where.testbed if isinstance(where, Flow) else where
        self.cluster: ClusterBench | None = self.bench if isinstance(self.bench, ClusterBench) else None
        self.since = since
        self.whole = flows is None and not isinstance(where, Flow)
        if flows is not None:
            self.flows = list(flows)
        elif isinstance(where, Flow):
            self.flows = [where]
        else:
            self.flows = list(self.cluster.flows.values()) if self.cluster is not None else []

    @property
    def namespaces(self) -> Mapping[str, Netns]:
        return self.bench.namespaces

    @property
    def is_captured(self) -> bool:
        return self.bench.capture is not None

    def require_capture(self) -> Capture:
        """The capture. Raises ValueError without one."""
        if self.bench.capture is None:
            raise ValueError("nothing was captured: make it with capture=True")
        return self.bench.capture

    @cached_property
    def frames(self) -> list[Captured]:
        """The captured frames in time order. Raises ValueError when nothing was captured."""
        capture = self.require_capture()
        if self.whole:
            return capture.frames(since=self.since)
        found = [each for flow in self.flows for each in flow.frames if each.number >= self.since]
        return sorted(found, key=lambda each: each.number)

    @cached_property
    def read(self) -> list[Seen]:
        """Each frame with its fields."""
        return [(each, Frame.parse(each.data, each.flow)) for each in self.frames]

    @cached_property
    def arps(self) -> list[Seen]:
        """The frames of ARP."""
        return [each for each in self.read if each[1].ethertype == ETH_P_ARP]

    @cached_property
    def packets(self) -> list[Packet]:
        """The IPv4 packets with a right header, in the order of their first appearance."""
        found: dict[Hashable, Packet] = {}
        for captured, frame in self.read:
            if frame.proto >= 0 and ipv4.check(frame) is None:
                found.setdefault(identity(captured.flow, frame), Packet()).seen.append((captured, frame))
        return list(found.values())

    @cached_property
    def passes(self) -> list[tuple[Packet, Pass]]:
        """The ways of all packets through namespaces, in time order."""
        found = [(packet, each) for packet in self.packets for each in packet.passes()]
        return sorted(found, key=lambda each: each[1].left[0].number)
