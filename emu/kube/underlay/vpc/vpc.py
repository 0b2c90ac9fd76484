"""Underlay `vpc`: an Amazon VPC with a public subnet in each of two availability zones, an internet gateway and a NAT gateway.

A node is an instance with one network interface (ENI); further ones are attached by who asks the instance for them. Beside
the VPC stand two Linux hosts: a router of the internet, and the NAT gateway, which translates ports. Must not know pods.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from emu.errors import InputError
from emu.kernel import boot
from emu.kernel.link.device import Device
from emu.kernel.link.veth import Veth
from emu.kernel.net.netns import Netns
from emu.kube.underlay.underlay import Sysctls, Underlay, link_mac, underlays
from emu.kube.underlay.vpc.cloud import INTERNET, LOCAL, Cloud, Eni, RouteTable, Subnet
from emu.kube.underlay.vpc.fabric import IGW_PORT, Fabric, Lost, Sent
from emu.kube.underlay.vpc.instance import METADATA, Instance
from emu.kube.underlay.vpc.network_acl import NetworkAcl
from emu.kube.underlay.vpc.security_group import SecurityGroup
from emu.wire.addr import Prefix, ip4_text
from emu.wire.frame import Frame

CIDR = Prefix.parse("10.0.0.0/16")
ZONES = ("a", "b")
MTU = 9001
PUBLIC_NET = Prefix.parse("198.51.100.0/24")  # RFC 5737; a large cluster has the range of RFC 2544
LARGE_PUBLIC_NET = Prefix.parse("198.18.0.0/15")
FIRST = 11  # the host number of the first node of a subnet
NAT_HOST = 5
NAT, NAT_ID = "nat-gateway", "nat-gateway"
DEFAULT = Prefix(0, 0)


@underlays.add("vpc")
class Vpc(Underlay):
    """`cloud` is what the VPC is made of; a change of it is in force for the next frame."""

    def build(self, sysctls: Sysctls, forwarding: Sysctls) -> None:
        self.net = self.namespace("vpc", sysctls)
        self.cloud = Cloud(CIDR)
        self._subnets()
        self.instances: dict[str, Instance] = {}
        self.router = self.namespace("internet", forwarding)
        pool = self._public_net
        port, link = boot.veth(self.net, IGW_PORT, self.router, "igw", link_mac(0xAA, 1), link_mac(0xCC, 2), MTU)
        boot.address(self.router, link, f"{ip4_text(pool.net + 1)}/{pool.length}")
        self.fabric = Fabric(self.cloud, lambda: self.clock.now, link.mac, port.mac)
        self._open(port)
        self._nat_gateway(forwarding)

    @property
    def _public_net(self) -> Prefix:
        return PUBLIC_NET if self.few else LARGE_PUBLIC_NET

    def _subnets(self) -> None:
        """Equal parts of the VPC, smaller while there are few nodes, so that addresses are readable. All use the main route
        table; it is a public one, and each node has a public address."""
        cloud, length = self.cloud, 20 if self.few else 17
        table = cloud.tables["main"] = RouteTable("main")
        table.put(CIDR, LOCAL)
        table.put(DEFAULT, INTERNET)
        acl = cloud.acls["default"] = NetworkAcl("default")
        cloud.groups["nodes"] = SecurityGroup("nodes")
        for number, zone in enumerate(ZONES):
            cidr = Prefix(CIDR.net + (number << 32 - length), length)
            subnet = Subnet(f"subnet-{zone}", zone, cidr, link_mac(0xEE, 1 + number), table, acl)
            cloud.subnets[subnet.id] = subnet

    def _nat_gateway(self, forwarding: Sysctls) -> None:
        """A host in the first subnet that forwards, with ports translated. No route leads to it as long as none is made."""
        net = self.namespace(NAT, forwarding)
        subnet = next(iter(self.cloud.subnets.values()))
        addr = subnet.take(subnet.cidr.net + NAT_HOST)
        port, eth0 = boot.veth(self.net, NAT, net, "eth0", link_mac(0xAA, 3), link_mac(0x42, 3), MTU)
        eni = Eni(NAT_ID, NAT, NAT, "eth0", 0, eth0.mac, subnet, [addr], None, source_dest_check=False)
        self.cloud.join(eni)
        self.cloud.publish(addr, self._public_net.net + NAT_HOST)
        boot.address(net, eth0, f"{ip4_text(addr)}/{subnet.cidr.length}")
        boot.route(net, f"default via {ip4_text(subnet.router)} dev eth0")
        net.sysctl["net.ipv4.conf.all.send_redirects"] = 0
        net.sysctl["net.ipv4.conf.eth0.send_redirects"] = 0
        boot.iptables_restore(
            net, f"*nat\n-A POSTROUTING -o eth0 -j SNAT --to-source {ip4_text(addr)} --random-fully\nCOMMIT\n"
        )
        self._open(port)

    # -- what a kind of underlay gives -----------------------------------------------------------

    def _subnet(self, index: int) -> Subnet:
        return self.cloud.subnets[f"subnet-{ZONES[index % len(ZONES)]}"]

    def subnet_of(self, index: int) -> Prefix:
        return self._subnet(index).cidr

    def address_of(self, index: int) -> int:
        return self.subnet_of(index).net + FIRST + index // len(ZONES)

    def subnets(self, nodes: int) -> list[Prefix]:
        return [CIDR, self._public_net, *super().subnets(nodes)]

    def plug(self, port: Veth, index: int) -> None:
        self._open(port)

    def connect(self, net: Netns, index: int) -> None:
        """A node is an instance: its eth0 is the primary ENI, which has a public address."""
        subnet = self._subnet(index)
        subnet.take(self.address_of(index))
        instance = Instance(self, net, index, subnet)
        port, eth0 = self.cable(instance, 0)
        eni = instance.primary = self._eni(instance, 0, port, eth0, self.address_of(index))
        self.instances[net.name] = instance
        net.programs[METADATA] = instance
        boot.address(net, eth0, f"{ip4_text(eni.primary)}/{subnet.cidr.length}")
        boot.route(net, f"default via {ip4_text(subnet.router)} dev eth0")
        self.cloud.publish(eni.primary, self._public_net.net + FIRST + index)

    # -- network interfaces ----------------------------------------------------------------------

    def cable(self, instance: Instance, number: int) -> tuple[Veth, Veth]:
        """The cable of an interface: the VPC's end and the instance's."""
        name, mark = f"port{instance.index + 1}", number << 16
        return boot.veth(
            self.net,
            name if not number else f"{name}-eth{number}",
            instance.net,
            f"eth{number}",
            link_mac(0xAA, mark | 0x11 + instance.index),
            link_mac(0x42, mark | 0x0B + instance.index),
            MTU,
        )

    def attach(self, instance: Instance, number: int, addr: int) -> Eni:
        """A further interface, `eth<number>` of the instance, with this primary address. It has no public address, and its
        link is down: the instance sets it up."""
        port, link = self.cable(instance, number)
        instance.net.set_link(link.name, up=False)
        eni = self._eni(instance, number, port, link, instance.subnet.take(addr))
        self._open(port)
        return eni

    def _eni(self, instance: Instance, number: int, port: Veth, link: Veth, addr: int) -> Eni:
        name = instance.net.name
        groups = [self.cloud.groups["nodes"]]
        eni = Eni(
            f"eni-{name}-{link.name}", port.name, name, link.name, number, link.mac, instance.subnet, [addr], groups
        )
        self.cloud.join(eni)
        if not number:
            self._open(port)
        return eni

    def detach(self, instance: Instance, eni: Eni) -> None:
        """The interface is deleted; its addresses are free again."""
        for net, name in ((instance.net, eni.device), (self.net, eni.port)):
            net.set_link(name, up=False)
            net.detach(net.device(name))
        self.cloud.leave(eni)

    # -- routes ----------------------------------------------------------------------------------

    def route(self, prefix: Prefix, via: int) -> None:
        """Every route table leads `prefix` to the interface with the address `via`; its source/destination check stays as it
        is. Raises InputError when the prefix has a route."""
        eni = self.cloud.owner(via)
        if eni is None:
            raise InputError(f"no interface of the VPC has {ip4_text(via)}", expected="a node's address")
        for table in self.cloud.tables.values():
            if prefix in table.routes:
                raise InputError(f"route table {table.id} has a route to {prefix}", expected="another prefix")
            table.put(prefix, eni.id)

    def ways(self, prefix: Prefix) -> list[int]:
        found = (table.routes.get(prefix) for table in self.cloud.tables.values())
        enis = (self.cloud.eni(each.target) for each in found if each is not None)
        return [eni.primary for eni in enis if eni is not None]

    def advertise(self, addresses: Mapping[int, int]) -> None:
        """Nothing: the internet gateway translates the public addresses of interfaces, and leads no other address into the VPC.
        What a load balancer of AWS does is not modelled."""
        self.advertised = dict(addresses)

    # -- frames ----------------------------------------------------------------------------------

    def _open(self, port: Veth) -> None:
        """What comes in at the port goes to the fabric, and to no protocol of the namespace."""
        port.rx_handler = partial(self._arrived, port)

    def _arrived(self, port: Veth, frame: Frame, device: Device) -> None:
        carry = self.fabric.arrive(port.name, frame)
        net = self.net
        if isinstance(carry, Lost):
            net.drop(frame, carry.reason, carry.by, port)
            return
        if carry is None or carry.born:
            net.delivered += 1
        if isinstance(carry, Sent):
            if carry.born:
                net.born += 1
            net.device(carry.port).transmit(carry.frame)
