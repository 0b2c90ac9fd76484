"""What flanneld and kindnetd do to a node, by `ip`, `bridge` and `iptables`, after the words of flannel's and kind's sources.

Must not import emu's networks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from emu.twin.space import Space

PODS = "10.244.0.0/16"
MASQ = '-m comment --comment "flanneld masq"'
FORWARD = '-m comment --comment "flanneld forward"'
KIND = "kind-masq-agent: "


class Backend(NamedTuple):
    """flannel's vxlan."""

    vni: int
    port: int
    mtu: int
    learning: bool = False

    @property
    def device(self) -> str:
        return f"flannel.{self.vni}"


def flannel_rules(own: str) -> str:
    """The calls of `iptables` for a node whose pods are in `own`."""
    return f"""
-t nat -N FLANNEL-POSTRTG
-t nat -A POSTROUTING {MASQ} -j FLANNEL-POSTRTG
-t nat -A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 {MASQ} -j RETURN
-t nat -A FLANNEL-POSTRTG -s {own} -d {PODS} {MASQ} -j RETURN
-t nat -A FLANNEL-POSTRTG -s {PODS} -d {own} {MASQ} -j RETURN
-t nat -A FLANNEL-POSTRTG ! -s {PODS} -d {own} {MASQ} -j RETURN
-t nat -A FLANNEL-POSTRTG -s {PODS} ! -d 224.0.0.0/4 {MASQ} -j MASQUERADE --random-fully
-t nat -A FLANNEL-POSTRTG ! -s {PODS} -d {PODS} {MASQ} -j MASQUERADE --random-fully
-N FLANNEL-FWD
-A FORWARD {FORWARD} -j FLANNEL-FWD
-A FLANNEL-FWD -s {PODS} {FORWARD} -j ACCEPT
-A FLANNEL-FWD -d {PODS} {FORWARD} -j ACCEPT
"""


KINDNET_RULES = f"""
-t nat -N KIND-MASQ-AGENT
-t nat -A KIND-MASQ-AGENT -d {PODS} -m comment --comment "{KIND}local traffic is not subject to MASQUERADE" -j RETURN
-t nat -A KIND-MASQ-AGENT -m comment --comment "{KIND}outbound traffic is subject to MASQUERADE (must be last in chain)" -j MASQUERADE
-t nat -A POSTROUTING -m addrtype ! --dst-type LOCAL -m comment --comment "{KIND}ensure nat POSTROUTING directs all non-LOCAL destination traffic to our custom KIND-MASQ-AGENT chain" -j KIND-MASQ-AGENT
"""


def tunnel(
    space: Space, backend: Backend, own: str, own_cidr: str, mac: str, peers: Mapping[str, tuple[str, str]]
) -> None:
    """The device, and for each other node's pod CIDR, by its host and its device's MAC, the way there."""
    device, learning = backend.device, "learning" if backend.learning else "nolearning"
    made = f"link add name {device} address {mac} mtu {backend.mtu} type vxlan id {backend.vni} local {own} dev eth0"
    space.ip([f"{made} dstport {backend.port} {learning}".split()])
    space.ip([f"addr add {own_cidr.partition('/')[0]}/32 dev {device}".split()])
    space.ip([f"link set dev {device} up".split()])
    for cidr, (host, vtep) in peers.items():
        first = cidr.partition("/")[0]
        space.ip([f"neigh replace {first} lladdr {vtep} dev {device} nud permanent".split()])
        space.run("bridge", "fdb", "replace", *f"{vtep} dev {device} dst {host} self permanent".split())
        space.ip([f"route replace {cidr} via {first} dev {device} onlink".split()])


def route_others(space: Space, peers: Mapping[str, str]) -> None:
    """Each other node's pod CIDR by its address, as far as that is on a link."""
    space.ip([f"route add {cidr} via {host}".split() for cidr, host in peers.items()], tolerant=True)
