"""The shape of an underlay as plain values: its LANs, and which interface of which machine is on which.

The `...Settings` are what people state, with gaps; a `Layout` is what `layout.py` makes of them, complete. Machines are
nodes, and hosts outside the cluster. Must not know pods, namespaces, or how a cable is laid.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from emu.wire.addr import Prefix, ip4_text

INTERNAL_IP, EXTERNAL_IP = "InternalIP", "ExternalIP"


class LanSettings(NamedTuple):
    """A LAN with a switch. `gateway` is the router's address there: the subnet's first address, if True; none, if False."""

    name: str
    subnet: str
    gateway: str | bool = True
    mtu: int = 1500


class NicSettings(NamedTuple):
    """One interface. `address` may lack its length, and may be "" for the next free one. `gateway` is that of the
    default route: None means the LAN's, on the first interface that can have it. `mtu` 0 is the LAN's."""

    name: str = "eth0"
    lan: str = ""
    address: str = ""
    mac: str = ""
    mtu: int = 0
    gateway: str | bool | None = None


class MachineSettings(NamedTuple):
    """A node or a host. No `interfaces`: eth0 alone. `addresses` are pairs of type and address, as a Node's status has
    them; `path` is where errors stand."""

    name: str
    path: str
    interfaces: tuple[NicSettings, ...] = ()
    addresses: tuple[tuple[str, str], ...] = ()


class Lan(NamedTuple):
    """A LAN. `gateway` is the router's address on it, 0: the router is not there. Without a `switch` it is one cable from a
    machine to the router."""

    name: str
    subnet: Prefix
    gateway: int
    mtu: int = 1500
    switch: bool = True


class Nic(NamedTuple):
    """One interface, complete. `gateway` 0: no default route by it. `port` is the other end of its cable, at the switch or
    the router."""

    name: str
    lan: str
    address: int
    length: int
    gateway: int
    mtu: int
    mac: bytes
    port: str
    port_mac: bytes

    @property
    def cidr(self) -> str:
        """As `ip addr add` takes it."""
        return f"{ip4_text(self.address)}/{self.length}"

    @property
    def subnet(self) -> Prefix:
        return Prefix.parse(self.cidr)


class Machine(NamedTuple):
    """A node or a host. `ip` is a node's InternalIP, a host's first address; `external_ips` are known to the API only, unless an
    interface has them."""

    name: str
    nics: tuple[Nic, ...]
    ip: int
    external_ips: tuple[str, ...] = ()

    @property
    def nic(self) -> Nic:
        """The interface with the address `ip`."""
        return next(each for each in self.nics if each.address == self.ip)


@dataclass(frozen=True, slots=True)
class Layout:
    """All LANs by name, the nodes in their order, and the hosts outside by name; `external` is the first of these."""

    lans: Mapping[str, Lan]
    nodes: tuple[Machine, ...]
    hosts: Mapping[str, Machine] = field(default_factory=dict)
