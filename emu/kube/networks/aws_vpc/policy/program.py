"""The agent's programs at pods' veths: they judge what a pod sends before netfilter, and what it gets after it, by maps and a connection table.

`handle_egress` runs where frames of the pod come in, `handle_ingress` where frames to it leave. Both know the addresses as they are there:
a Service's before DNAT, and those after SNAT. What is not IPv4 passes. An entry of the table holds the state of the pod in which it was
made: in another state the connection is judged anew. Source: pkg/ebpf/c and pkg/ebpf/conntrack of aws/aws-network-policy-agent c8619c05.
Must not know policies or objects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from emu.kernel.link.device import Device
from emu.kernel.net.drop import drop
from emu.kernel.net.netns import Netns
from emu.kube.networks.aws_vpc.policy.maps import L4, Entry, Trie
from emu.kube.policy.rules import Way
from emu.trail import Probed
from emu.wire.fixed_ports import HEADERS, fixed_ports
from emu.wire.frame import AF_INET, Frame

POLICIES_APPLIED, DEFAULT_ALLOW, DEFAULT_DENY = range(3)
PROGRAMS: Mapping[Way, str] = {"egress": "handle_egress", "ingress": "handle_ingress"}
REASONS: Mapping[Way, str] = {"egress": "TC_INGRESS", "ingress": "TC_EGRESS"}

Flow = tuple[
    int, int, int, int, int, int, int
]  # source, its port, destination, its port, protocol, the pod, the device's number


class Maps(NamedTuple):
    """What one identifier's pods share: their state, and the maps of both directions."""

    state: int
    ingress: Trie = Trie()
    egress: Trie = Trie()


class Hit(NamedTuple):
    """An entry of a map allows the packet."""

    entry: Entry
    l4: L4

    def __str__(self) -> str:
        return f"the map's entry {self.entry.prefix} allows {self.l4}"


class Miss(NamedTuple):
    """No entry does; `entry` is the one that has the address."""

    entry: Entry | None

    def __str__(self) -> str:
        if self.entry is None:
            return "no entry of the map has the address"
        return f"the map's entry {self.entry} does not allow it"


class Default(NamedTuple):
    """The pod's state decides, as it has no policies."""

    state: int

    def __str__(self) -> str:
        rest = "everything (standard mode)" if self.state == DEFAULT_ALLOW else "nothing (strict mode)"
        return f"the pod has no policies yet, and is allowed {rest}"


KNOWN = "its connection is in the agent's table"
REPLY = "it answers a connection that is in the agent's table"


class Connection:
    """An entry of the table: the pod's state in which it was made, and when a packet met it last."""

    __slots__ = ("seen_ns", "state")

    def __init__(self, state: int, seen_ns: int) -> None:
        self.state, self.seen_ns = state, seen_ns


class Programs:
    """The programs of one node. `maps` is asked for an identifier's maps where its first pod comes; `table` has the connections of all
    pods."""

    def __init__(self, net: Netns, maps: Callable[[str], Maps]) -> None:
        self.net = net
        self._of = maps
        self.table: dict[Flow, Connection] = {}
        self.maps: dict[str, Maps] = {}  # by identifier
        self._pods: dict[tuple[str, str], Probe] = {}
        self._candidates: tuple[Flow, ...] | None = None

    def attach(self, namespace: str, pod: str, shared: str, device: Device) -> None:
        """Put both programs at a pod's host veth; `shared` is the pod's identifier."""
        if shared not in self.maps:
            self.maps[shared] = self._of(shared)
        probe = self._pods[namespace, pod] = Probe(self, shared, device)
        device.ingress, device.egress = probe.came_in, probe.goes_out

    def detach(self, namespace: str, pod: str) -> None:
        """The pod is gone, and with the last one of its identifier the maps."""
        probe = self._pods.pop((namespace, pod), None)
        if probe is not None and all(each.shared != probe.shared for each in self._pods.values()):
            del self.maps[probe.shared]

    def update(self) -> None:
        """Ask for the maps of every identifier anew."""
        self.maps = {shared: self._of(shared) for shared in self.maps}

    @property
    def devices(self) -> Iterable[str]:
        return (probe.device.name for probe in self._pods.values())

    def clean(self) -> None:
        """Every other time note the entries; the other times remove those that the kernel's table has no connection for any more."""
        if self._candidates is None:
            self._candidates = tuple(self.table)
            return
        alive = set[Flow]()
        for conn in self.net.conntrack or ():
            alive |= _flows(conn.orig, conn.reply)
        for flow in self._candidates:
            there = self.table.get(flow)
            if there is not None and (*flow[:6], 0) not in alive and there.seen_ns < self.net.clock.now:
                del self.table[flow]
        self._candidates = None


class Probe:
    """The two programs at one device."""

    __slots__ = ("device", "programs", "shared")

    def __init__(self, programs: Programs, shared: str, device: Device) -> None:
        self.programs, self.shared, self.device = programs, shared, device

    def came_in(self, frame: Frame, device: Device) -> None:
        """handle_egress: the pod sent it."""
        if self._passes(frame, "egress"):
            device.classified(frame)

    def goes_out(self, frame: Frame, device: Device) -> bool:
        """handle_ingress: it is for the pod."""
        return self._passes(frame, "ingress")

    def _passes(self, frame: Frame, way: Way) -> bool:
        ports = fixed_ports(frame) if frame.family == AF_INET else None
        if ports is None:
            return True
        fact = self._judged(way, frame.src, ports[0], frame.dst, ports[1], frame.proto)
        if fact.verdict == "OK":
            if frame.trail is not None:
                frame.trail.append(fact)
            return True
        drop(self.programs.net, frame, REASONS[way], fact, self.device)
        return False

    def _judged(self, way: Way, src: int, sport: int, dst: int, dport: int, protocol: int) -> Probed:
        programs = self.programs
        maps, table, now = programs.maps[self.shared], programs.table, programs.net.clock.now
        pod, other = (src, dst) if way == "egress" else (dst, src)
        number = self.device.ifindex
        flow = src, sport, dst, dport, protocol, pod, number
        known = table.get(flow)
        if known is not None and known.state == maps.state:
            known.seen_ns = now
            return self._fact(way, "OK", KNOWN)
        if known is None:
            answered = table.get((dst, dport, src, sport, protocol, pod, number))
            if answered is not None:
                answered.seen_ns = now
                return self._fact(way, "OK", REPLY)
        allowed, by = self._evaluated(maps, way, other, protocol, dport)
        if allowed:
            table[flow] = Connection(maps.state, now)
            return self._fact(way, "OK", by)
        table.pop(flow, None)
        return self._fact(way, "SHOT", by)

    @staticmethod
    def _evaluated(maps: Maps, way: Way, other: int, protocol: int, port: int) -> tuple[bool, object]:
        """The map of the direction, then the pod's state: an address that no entry has is denied in POLICIES_APPLIED alone."""
        entry = (maps.ingress if way == "ingress" else maps.egress).find(other)
        if entry is None and maps.state != POLICIES_APPLIED:
            return maps.state == DEFAULT_ALLOW, Default(maps.state)
        found = entry.find(protocol, port) if entry is not None else None
        if entry is None or found is None:
            return False, Miss(entry)
        return True, Hit(entry, found)

    def _fact(self, way: Way, verdict: str, by: object) -> Probed:
        return Probed(PROGRAMS[way], self.device.name, way, verdict, by, default=isinstance(by, Default))


def _flows(orig: tuple[int, ...], reply: tuple[int, ...]) -> set[Flow]:
    """The entries that a kernel's connection stands for: with the asked address and with the one behind DNAT, owned by either end."""
    protocol, src, dst, sport, dport = orig
    ports = (sport, dport) if protocol in HEADERS else (0, 0)
    behind, port = reply[1], reply[3] if protocol in HEADERS else 0
    found: set[Flow] = set()
    for there, number in {(dst, ports[1]), (behind, port)}:
        found |= {(src, ports[0], there, number, protocol, owner, 0) for owner in (src, there)}
    return found
