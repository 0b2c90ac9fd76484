"""What a VPC is made of, as values that can be read: subnets, route tables, network interfaces (ENIs), public addresses.

Words and limits are those of the Amazon VPC User Guide. A change here is in force for the next frame. Must not know frames.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from emu.errors import InputError
from emu.kube.underlay.vpc.network_acl import NetworkAcl
from emu.kube.underlay.vpc.security_group import SecurityGroup
from emu.wire.addr import Prefix, ip4_text, mask

RESERVED = 4  # the network's own address, the router, the DNS server, and one for later; the last address, too
LOCAL, INTERNET = "local", "igw"
SLASH28 = 28  # the size of a delegated prefix


@dataclass(frozen=True, slots=True)
class VpcRoute:
    """`target` is LOCAL, INTERNET, or the id of a network interface (an instance's, or a NAT gateway's)."""

    destination: Prefix
    target: str
    table: str

    def text(self) -> str:
        return f"{self.table}: {self.destination} -> {self.target}"


@dataclass(eq=False)
class RouteTable:
    """The routes of the subnets that it is associated with; of two that match, the longer prefix counts."""

    id: str
    routes: dict[Prefix, VpcRoute] = field(default_factory=dict)
    _lengths: list[int] = field(default_factory=list)

    def put(self, destination: Prefix, target: str) -> None:
        self.routes[destination] = VpcRoute(destination, target, self.id)
        self._lengths = sorted({each.length for each in self.routes}, reverse=True)

    def find(self, addr: int) -> VpcRoute | None:
        """One dict look-up for each prefix length, however many routes there are."""
        for length in self._lengths:
            route = self.routes.get(Prefix(addr & mask(length), length))
            if route is not None:
                return route
        return None


@dataclass(eq=False)
class Subnet:
    """A subnet in one availability zone. Its router has the first address. `used` holds addresses that interfaces have,
    `prefixes` the /28s. `reserved` are addresses that are given only to who asks for them by number."""

    id: str
    zone: str
    cidr: Prefix
    table: RouteTable
    acl: NetworkAcl
    used: set[int] = field(default_factory=set)
    prefixes: set[Prefix] = field(default_factory=set)
    reserved: set[int] = field(default_factory=set)
    _lowest: dict[int, int] = field(default_factory=dict)  # by a search's start: the first address that may be free

    @property
    def router(self) -> int:
        return self.cidr.net + 1

    def take(self, addr: int) -> int:
        """Give this address to an interface. Raises InputError."""
        if addr in self.used or not self.cidr.net + RESERVED <= addr < self.cidr.broadcast:
            raise InputError(f"{self.id} cannot give {ip4_text(addr)}", expected=f"a free address of {self.cidr}")
        self.used.add(addr)
        return addr

    def release(self, addr: int) -> None:
        self.used.discard(addr)
        self._lowest.clear()

    def free(self, start: int, count: int) -> list[int]:
        """Up to `count` free addresses from `start` on, then those before. A VPC draws them by chance; here they are in
        order."""
        found: list[int] = []
        nets = {prefix.net for prefix in self.prefixes}
        for first, end in ((self._lowest.get(start, start), self.cidr.broadcast), (self.cidr.net + RESERVED, start)):
            for addr in range(first, end):
                if len(found) == count:
                    return found
                if addr not in self.used and addr not in self.reserved and addr & ~15 not in nets:
                    if not found and first != self.cidr.net + RESERVED:
                        self._lowest[start] = addr
                    found.append(addr)
        return found

    def free_prefix(self) -> Prefix | None:
        """A /28 of which nothing is used, from the end of the subnet; None when there is none left."""
        for net in range(self.cidr.broadcast + 1 - 32, self.cidr.net + 15, -16):
            prefix = Prefix(net, SLASH28)
            if prefix not in self.prefixes and not any(addr in prefix for addr in self.used):
                return prefix
        return None


@dataclass(eq=False)
class Eni:
    """A network interface. `port` is the VPC's end of its cable, `device` its name in the instance, `number` its device
    number there; `router` is the MAC of the subnet's router, as it meets it. The first of `addresses` is the primary one.
    `groups` None: no security group guards it (a gateway's)."""

    id: str
    port: str
    instance: str
    device: str
    number: int
    mac: bytes
    router: bytes
    subnet: Subnet
    addresses: list[int]
    groups: list[SecurityGroup] | None
    prefixes: list[Prefix] = field(default_factory=list)
    source_dest_check: bool = True

    @property
    def primary(self) -> int:
        return self.addresses[0]

    def owns(self, addr: int) -> bool:
        return addr in self.addresses or any(addr in prefix for prefix in self.prefixes)


class Cloud:
    """One VPC, of one or more CIDRs. `enis` are the interfaces by their port; `private` maps public to private addresses, `public` the other way.

    `owner(addr)` is the interface that has an address of the VPC, whatever MAC a frame names."""

    def __init__(self, cidrs: list[Prefix]) -> None:
        self.cidrs = cidrs
        self.subnets: dict[str, Subnet] = {}
        self.tables: dict[str, RouteTable] = {}
        self.acls: dict[str, NetworkAcl] = {}
        self.groups: dict[str, SecurityGroup] = {}
        self.enis: dict[str, Eni] = {}
        self.public: dict[int, int] = {}
        self.private: dict[int, int] = {}
        self._owners: dict[int, Eni] = {}
        self._prefixes: dict[int, Eni] = {}
        self._macs: dict[bytes, Eni] = {}
        self._ids: dict[str, Eni] = {}
        self._instances: dict[str, list[Eni]] = {}

    def of(self, instance: str) -> list[Eni]:
        """The interfaces of an instance, by their device numbers."""
        return sorted(self._instances.get(instance, ()), key=lambda eni: eni.number)

    def owner(self, addr: int) -> Eni | None:
        return self._owners.get(addr) or self._prefixes.get(addr >> 4)

    def eni(self, name: str) -> Eni | None:
        """The interface with this id."""
        return self._ids.get(name)

    def at_mac(self, subnet: Subnet, mac: bytes) -> Eni | None:
        """The interface of a subnet with this MAC."""
        eni = self._macs.get(mac)
        return eni if eni is not None and eni.subnet is subnet else None

    def publish(self, private: int, public: int) -> None:
        """Associate a public address with a private one."""
        self.public[private], self.private[public] = public, private

    def join(self, eni: Eni) -> None:
        self.enis[eni.port] = self._macs[eni.mac] = self._ids[eni.id] = eni
        self._instances.setdefault(eni.instance, []).append(eni)
        for addr in eni.addresses:
            self._owners[addr] = eni
        for prefix in eni.prefixes:
            self._prefixes[prefix.net >> 4] = eni

    def leave(self, eni: Eni) -> None:
        """The interface is deleted, and its addresses are free again."""
        del self.enis[eni.port], self._macs[eni.mac], self._ids[eni.id]
        self._instances[eni.instance].remove(eni)
        self.unassign(eni, eni.addresses[:], eni.prefixes[:])

    def assign(self, eni: Eni, addresses: list[int]) -> None:
        """Secondary private addresses. Raises InputError for one that is not free."""
        for addr in addresses:
            eni.addresses.append(eni.subnet.take(addr))
            self._owners[addr] = eni

    def delegate(self, eni: Eni, prefix: Prefix) -> None:
        """A /28 for an interface."""
        eni.subnet.prefixes.add(prefix)
        eni.prefixes.append(prefix)
        self._prefixes[prefix.net >> 4] = eni

    def unassign(self, eni: Eni, addresses: list[int], prefixes: list[Prefix]) -> None:
        for addr in addresses:
            eni.addresses.remove(addr)
            eni.subnet.release(addr)
            del self._owners[addr]
        for prefix in prefixes:
            eni.prefixes.remove(prefix)
            eni.subnet.prefixes.discard(prefix)
            del self._prefixes[prefix.net >> 4]
