"""Hypothesis strategies: addresses, packets, wild bytes, topologies with their traffic; and, from the files beside this one, clusters, events and rule sets.

The drawn values are frozen, and their repr is a Python expression (a failing example can be pasted into a test); `build` makes a
`Lab` of a topology. `examples(n)` is the settings profile: `n` examples, more by EMU_EXAMPLES. Must not know invariants.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from emu.apps import apps
from emu.errors import SocketError
from emu.kernel import boot
from emu.kernel.link.bridge import Bridge
from emu.kernel.link.netem import Netem
from emu.kernel.net.netns import Netns
from emu.lab import Lab
from emu.testing.clusters import (
    ClusterShape,
    FlowShape,
    ServiceShape,
    WorkloadShape,
    clusters,
    flows,
    services,
    workloads,
)
from emu.testing.events import Event, changes, event_sequences, events
from emu.testing.policies import PolicyShape, RuleShape, policies
from emu.testing.rules import rule_sets, rules
from emu.testing.small_cluster import SmallCluster
from emu.wire.addr import Prefix
from emu.wire.checksum import checksum, pseudo_sum
from emu.wire.frame import ICMP, TCP, UDP

ECHO_PORT = 7
PROTOCOLS = ("udp", "ping", "tcp")


def examples(number: int, **rest: Any) -> settings:
    """Settings for a property: `number` examples, the same in each run. EMU_EXAMPLES=10 gives ten times as many, other ones
    in each run; EMU_EXAMPLES=0.1 gives a tenth, the same in each run. Without Hypothesis' phase `explain`, which runs a failing
    example with every line of emu traced, and takes a minute."""
    factor = float(os.environ.get("EMU_EXAMPLES") or 1)
    phases = (Phase.explicit, Phase.reuse, Phase.generate, Phase.target, Phase.shrink)
    return settings(
        max_examples=max(1, int(number * factor)),
        phases=phases,
        derandomize=factor <= 1,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        **rest,
    )


# -- values ------------------------------------------------------------------------------------------


def addresses(within: str = "0.0.0.0/0") -> st.SearchStrategy[int]:
    """IPv4 addresses as ints. `within` a CIDR; network and broadcast address included."""
    prefix = Prefix.parse(within)
    return st.integers(prefix.net, prefix.broadcast)


def unicast_addresses() -> st.SearchStrategy[int]:
    """Addresses that a host may have: no 0/8, no 127/8, no multicast, no class E."""
    return st.integers(1 << 24, (224 << 24) - 1).filter(lambda addr: addr >> 24 != 127)


@st.composite
def prefixes(draw: st.DrawFn, shortest: int = 0, longest: int = 32, within: str = "0.0.0.0/0") -> Prefix:
    """Prefixes of `shortest` to `longest` bits in `within`."""
    length = draw(st.integers(shortest, longest))
    outer = Prefix.parse(within)
    length = max(length, outer.length)
    net = draw(st.integers(0, (1 << (length - outer.length)) - 1)) << (32 - length)
    return Prefix(outer.net | net, length)


def macs() -> st.SearchStrategy[bytes]:
    """Unicast MACs, locally administered."""
    return st.binary(min_size=5, max_size=5).map(lambda rest: b"\x02" + rest)


def ports() -> st.SearchStrategy[int]:
    """1 to 65535."""
    return st.integers(1, 65535)


ANY_ADDRESS, ANY_MAC = addresses(), macs()


# -- frames ------------------------------------------------------------------------------------------


@st.composite
def frames(
    draw: st.DrawFn,
    src: st.SearchStrategy[int] = ANY_ADDRESS,
    dst: st.SearchStrategy[int] = ANY_ADDRESS,
    dmac: st.SearchStrategy[bytes] = ANY_MAC,
    smac: st.SearchStrategy[bytes] = ANY_MAC,
    options: bool = True,
) -> bytes:
    """Bytes of well-formed IPv4 frames, checksums right: UDP, TCP, ICMP or another protocol; with `options` also IP
    options. They are not made by the builders of `wire`, so that tests can compare these with them."""
    proto = draw(st.sampled_from((UDP, UDP, TCP, TCP, ICMP, 47, 132)))
    ip_options = draw(st.sampled_from((b"", b"", b"", b"\x01\x01\x01\x00", b"\x94\x04\0\0"))) if options else b""
    source, target = draw(src), draw(dst)
    data = draw(st.binary(max_size=40))
    sport, dport = draw(st.tuples(st.integers(0, 65535), st.integers(0, 65535)))
    ends = sport.to_bytes(2, "big") + dport.to_bytes(2, "big")
    at = {TCP: 16, UDP: 6, ICMP: 2}.get(proto)
    if proto == UDP:
        upper = ends + (8 + len(data)).to_bytes(2, "big") + bytes(2) + data
    elif proto == TCP:
        words = draw(st.integers(0, 10))
        flags = draw(st.sampled_from((2, 18, 16, 24, 17, 4, 20, 0, 63, 255)))
        numbers = draw(st.binary(min_size=8, max_size=8))
        more = draw(st.binary(min_size=4 * words, max_size=4 * words))
        upper = ends + numbers + bytes(((5 + words) << 4, flags)) + b"\x20\0" + bytes(4) + more + data
    elif proto == ICMP:
        kind = draw(st.sampled_from((0, 8, 3, 11, 12, 5, 13, 17, 42)))
        code = draw(st.integers(0, 15)) if kind in (3, 5, 11, 12) else 0
        upper = bytes((kind, code)) + bytes(2) + ends + data
    else:
        upper = ends + data
    pseudo = 0 if proto == ICMP else pseudo_sum(source, target, proto, len(upper))
    if at is not None:
        value = checksum(upper, pseudo) if any(upper) or pseudo else 0xFFFF
        if proto == UDP:
            value = draw(st.sampled_from((value or 0xFFFF, value or 0xFFFF, 0)))
        upper = upper[:at] + value.to_bytes(2, "big") + upper[at + 2 :]
    length = 20 + len(ip_options) + len(upper)
    header = (
        bytes((0x45 + len(ip_options) // 4, draw(st.sampled_from((0, 0xC0)))))
        + length.to_bytes(2, "big")
        + draw(st.integers(0, 65535)).to_bytes(2, "big")
        + draw(st.sampled_from((0x4000, 0))).to_bytes(2, "big")
        + bytes((draw(st.sampled_from((64, 64, 2, 1, 255))), proto, 0, 0))
        + source.to_bytes(4, "big")
        + target.to_bytes(4, "big")
        + ip_options
    )
    header = header[:10] + checksum(header).to_bytes(2, "big") + header[12:]
    return draw(dmac) + draw(smac) + b"\x08\0" + header + upper


@st.composite
def arps(draw: st.DrawFn, addrs: st.SearchStrategy[int], dmac: st.SearchStrategy[bytes]) -> bytes:
    """Bytes of ARP frames, plausible and not."""
    head = draw(st.sampled_from((b"\0\1\x08\0\6\4", b"\0\1\x08\0\6\4", b"\0\6\x08\0\6\4", b"\0\1\x08\0\x10\x10")))
    body = draw(macs()) + draw(addrs).to_bytes(4, "big") + draw(macs()) + draw(addrs).to_bytes(4, "big")
    return draw(dmac) + draw(macs()) + b"\x08\6" + head + draw(st.sampled_from((b"\0\1", b"\0\2", b"\0\3"))) + body


def _header_mended(data: bytes) -> bytes:
    """The frame with a right IP header checksum, if it has a header, so that errors behind the header are reached."""
    end = 14 + (data[14] & 15) * 4 if len(data) > 34 else 0
    if end < 34 or len(data) < end:
        return data
    header = data[14:24] + b"\0\0" + data[26:end]
    return data[:24] + checksum(header).to_bytes(2, "big") + data[26:]


@st.composite
def wild(draw: st.DrawFn, frame: st.SearchStrategy[bytes]) -> bytes:
    """A frame with a few bytes changed, cut short, or padded; often with a corrected header checksum. 14 bytes or more."""
    data = bytearray(draw(frame))
    for _ in range(draw(st.integers(0, 3))):
        # most changes are in headers: the bytes after them are not read
        at = draw(st.integers(12, min(len(data), 60) - 1))
        data[at] = draw(st.one_of(st.integers(0, 255), st.sampled_from((0, 0x45, 0x4F, 0x41, 0x20, 0xFF))))
    if draw(st.integers(0, 3)) == 0:
        del data[draw(st.integers(14, len(data))) :]
    if draw(st.integers(0, 7)) == 0:
        data += draw(st.binary(max_size=20))
    return _header_mended(bytes(data)) if draw(st.integers(0, 3)) else bytes(data)


# -- topologies and their traffic ----------------------------------------------------------------------


@dataclass(frozen=True)
class Spot:
    """A host: its router, and whether it is on the router's bridge (else on a cable of its own)."""

    router: int
    bridged: bool


@dataclass(frozen=True)
class Topology:
    """A chain of `routers`, each with a bridge; hosts at their `spots`. `nat`: routers masquerade the packets that they
    route; `call_iptables`: bridged packets walk the rules; `mtus` and `loss` are those of the links between routers."""

    routers: int
    spots: tuple[Spot, ...]
    nat: frozenset[int] = frozenset()
    call_iptables: bool = True
    mtus: tuple[int, ...] = ()
    loss: float = 0.0

    def address(self, host: int) -> str:
        """The address of host number `host`."""
        spot = self.spots[host]
        return f"10.{spot.router}.0.{host + 2}" if spot.bridged else f"10.{spot.router}.{host + 1}.2"

    def routed(self, one: int, other: int) -> int:
        """The number of routers between two hosts."""
        a, b = self.spots[one], self.spots[other]
        if a.router == b.router:
            return 0 if one == other or (a.bridged and b.bridged) else 1
        return abs(a.router - b.router) + 1

    def build(self, seed: int = 0, *, capture: bool = True) -> Network:
        """Build a `Lab`. Every host runs an echo on UDP and TCP port 7."""
        lab = Lab(seed, capture=capture)
        routers, bridges = [], []
        for number in range(self.routers):
            router = lab.router(f"r{number}")
            router.sysctl["net.bridge.bridge-nf-call-iptables"] = int(self.call_iptables)
            bridges.append(lab.bridge(router, cidr=f"10.{number}.0.1/24"))
            routers.append(router)
        hosts = []
        for number, spot in enumerate(self.spots):
            host, router = lab.host(f"h{number}"), routers[spot.router]
            if spot.bridged:
                lab.cable(host, f"{self.address(number)}/24", bridges[spot.router], "")
                boot.route(host, f"default via 10.{spot.router}.0.1")
            else:
                here = f"10.{spot.router}.{number + 1}.1/24"
                lab.cable(host, f"{self.address(number)}/24", router, here, default=True)
            hosts.append(host)
        for left in range(self.routers - 1):
            mtu = self.mtus[left] if left < len(self.mtus) else 1500
            ends = lab.cable(routers[left], f"10.255.{left}.1/30", routers[left + 1], f"10.255.{left}.2/30", mtu=mtu)
            for end in ends:
                end.netem = Netem(loss=self.loss) if self.loss else None
            for number in range(self.routers):
                near, gateway = (left + 1, 1) if number <= left else (left, 2)
                boot.route(routers[near], f"10.{number}.0.0/16 via 10.255.{left}.{gateway}")
        for number in sorted(self.nat):
            lab.iptables(routers[number], "-t nat -A POSTROUTING -o eth+ -j MASQUERADE")
        for host in hosts:
            _echo(host)
        return Network(self, lab, hosts, routers, bridges)


@dataclass(frozen=True)
class Traffic:
    """One flow: host `source` sends to `target` (a host's number, or an address as text) by udp, ping or tcp."""

    source: int
    target: int | str
    protocol: str = "udp"
    size: int = 8
    ttl: int = 64
    port: int = ECHO_PORT


@dataclass
class Network:
    """A topology that runs."""

    topology: Topology
    lab: Lab
    hosts: list[Netns]
    routers: list[Netns]
    bridges: list[Bridge]

    def send(self, traffic: Traffic, flow: int) -> None:
        """Start a flow; `lab.run` runs it. A socket's error at once is ignored: it sends no frame."""
        sockets = self.hosts[traffic.source].sockets
        target = traffic.target if isinstance(traffic.target, str) else self.topology.address(traffic.target)
        try:
            if traffic.protocol == "ping":
                socket = sockets.ping(flow)
                socket.ttl = traffic.ttl
                socket.send(target, 1, bytes(traffic.size))
            elif traffic.protocol == "udp":
                datagram = sockets.udp(flow)
                datagram.ttl = traffic.ttl
                datagram.connect((target, traffic.port))
                datagram.send(bytes(traffic.size))
            else:
                _ask(self.lab, sockets.tcp(flow), (target, traffic.port), bytes(traffic.size))
        except SocketError:
            return


def _ask(lab: Lab, socket: Any, remote: tuple[str, int], data: bytes) -> None:
    """Connect, send, read the data that has come and close, each when the socket wakes."""

    def woken() -> None:
        lab.clock.call_later(1000, act)

    sent = False

    def act() -> None:
        nonlocal sent
        try:
            if not socket.connected:
                return
            if not sent:
                sent = True
                if data:
                    socket.send(data)
                lab.clock.call_later(500_000_000, socket.close)
            else:
                socket.recv()
        except SocketError:
            socket.on_readable = None

    socket.on_readable = woken
    socket.connect(remote)
    for delay_ns in (5_000_000, 3_000_000_000):
        lab.clock.call_later(delay_ns, act)


def _echo(host: Netns) -> None:
    for protocol in ("UDP", "TCP"):
        apps["echo"](host, ECHO_PORT, protocol, host.name)


@st.composite
def topologies(
    draw: st.DrawFn,
    max_routers: int = 3,
    max_hosts: int = 4,
    *,
    nat: bool = True,
    loss: bool = False,
    mtus: bool = True,
) -> Topology:
    """Chains of up to `max_routers` routers with 2 to `max_hosts` hosts."""
    routers = draw(st.integers(1, max_routers))
    spot = st.builds(Spot, st.integers(0, routers - 1), st.booleans())
    return Topology(
        routers,
        tuple(draw(st.lists(spot, min_size=2, max_size=max_hosts))),
        draw(st.frozensets(st.integers(0, routers - 1))) if nat else frozenset(),
        draw(st.booleans()),
        tuple(draw(st.sampled_from((1500, 1500, 600))) for _ in range(routers - 1)) if mtus else (),
        draw(st.sampled_from((0.0, 0.2))) if loss else 0.0,
    )


def traffic(topology: Topology, *, absent: bool = True) -> st.SearchStrategy[Traffic]:
    """Flows between a topology's hosts; with `absent` also to addresses and ports, and with TTLs, that reach no host."""
    hosts = st.integers(0, len(topology.spots) - 1)
    target: st.SearchStrategy[int | str] = hosts
    ttls, asked = st.just(64), st.just(ECHO_PORT)
    if absent:
        router = st.integers(0, topology.routers - 1)
        nowhere = st.one_of(router.map("10.{}.0.250".format), router.map("10.{}.0.1".format))
        target = st.one_of(hosts, hosts, nowhere, st.sampled_from(("192.0.2.1", "10.0.0.255", "10.9.9.9", "224.0.0.9")))
        ttls, asked = st.sampled_from((64, 64, 1, 2)), st.sampled_from((ECHO_PORT, ECHO_PORT, 9))
    size = st.sampled_from((0, 8, 600, 1472, 2000))
    return st.builds(Traffic, hosts, target, st.sampled_from(PROTOCOLS), size, ttls, asked)


@st.composite
def networks(
    draw: st.DrawFn, /, max_flows: int = 4, *, absent: bool = True, **kinds: Any
) -> tuple[Topology, list[Traffic]]:
    """A topology and flows for it (`kinds` as for `topologies`)."""
    topology = draw(topologies(**kinds))
    return topology, draw(st.lists(traffic(topology, absent=absent), min_size=1, max_size=max_flows))


__all__ = [
    "ANY_ADDRESS", "ANY_MAC", "ECHO_PORT", "ClusterShape", "Event", "FlowShape", "Network", "PolicyShape", "RuleShape", "ServiceShape", "SmallCluster", "Spot", "Topology", "Traffic",
    "WorkloadShape", "addresses", "arps", "changes", "clusters", "event_sequences", "events", "examples", "flows", "frames", "macs",
    "networks", "policies", "ports", "prefixes", "rule_sets", "rules", "services", "topologies", "traffic", "unicast_addresses", "wild", "workloads",
]  # fmt: skip
