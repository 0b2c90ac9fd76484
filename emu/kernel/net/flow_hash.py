"""The source port of a tunnel's outer packets, by a hash of the inner flow (udp_flow_src_port of include/net/udp.h).

A kernel seeds the hash as it boots, so that which port a flow gets is chance: here a draw for each
flow of a namespace. All packets of the flow have it. Must not know tunnels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emu.wire.frame import AF_INET, PORTS, TCP, Frame

if TYPE_CHECKING:
    from emu.kernel.net.netns import Netns

Key = tuple[int, ...]


def key(frame: Frame) -> Key:
    """What the hash is made of: for TCP its direction counts too, as a socket has a hash of its own (sk_txhash); other packets
    have the same in both directions (__flow_hash_consistentify). Fragments have no ports; what is not IPv4 has its
    EtherType only."""
    if frame.family != AF_INET:
        return (frame.ethertype,)
    src, dst, proto = frame.src, frame.dst, frame.proto
    if frame.frag or proto not in PORTS:
        return (proto, src, dst) if src < dst else (proto, dst, src)
    sport, dport = frame.sport, frame.dport
    if proto == TCP:
        return proto, src, dst, sport, dport
    if src > dst:
        src, dst = dst, src
    if sport > dport:
        sport, dport = dport, sport
    return proto, src, dst, sport, dport


class FlowPorts:
    """The ports that one namespace's flows have drawn."""

    __slots__ = ("_net", "_ports")

    def __init__(self, net: Netns) -> None:
        self._net = net
        self._ports: dict[tuple[Key, int, int], int] = {}

    def port(self, frame: Frame, low: int, high: int) -> int:
        """From `low` up to, and without, `high`; from the namespace's ephemeral ports if that is none."""
        flow = self._flow(frame, low, high)
        port = self._ports.get(flow)
        if port is None:
            _key, low, high = flow
            port = self._ports[flow] = low + self._net.random("flow_hash").randrange(high - low)
        return port

    def learn(self, frame: Frame, low: int, high: int, port: int) -> None:
        """The flow has this port, as a kernel was seen to choose."""
        self._ports[self._flow(frame, low, high)] = port

    def _flow(self, frame: Frame, low: int, high: int) -> tuple[Key, int, int]:
        if low >= high:
            low, high = self._net.sysctl.numbers("net.ipv4.ip_local_port_range")
        return key(frame), low, high
