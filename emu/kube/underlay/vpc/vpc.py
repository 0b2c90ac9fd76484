"""Underlay `vpc`: an Amazon VPC, whose subnets are the LANs, with an internet gateway and a NAT gateway.

Without LANs in the scenario there is a subnet in each of two availability zones, and nodes take turns. All subnets are public
ones, and a node's first interface has a public address. A node is an instance; its interfaces are ENIs, and it may ask
for further ones. Beside the VPC stand two Linux hosts: a router of the internet, and the NAT gateway. Must not know pods.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial

from emu.errors import InputError
from emu.kernel import boot
from emu.kernel.link.device import Device
from emu.kernel.link.veth import Veth
from emu.kernel.net.netns import Netns
from emu.kube.underlay.layout import link_mac
from emu.kube.underlay.shape import Lan, Nic
from emu.kube.underlay.underlay import FEW, Sysctls, Underlay, underlays
from emu.kube.underlay.vpc.cloud import INTERNET, LOCAL, Cloud, Eni, RouteTable, Subnet
from emu.kube.underlay.vpc.fabric import IGW_PORT, Fabric, Lost, Sent
from emu.kube.underlay.vpc.instance import METADATA, Instance
from emu.kube.underlay.vpc.network_acl import NetworkAcl
from emu.kube.underlay.vpc.security_group import SecurityGroup
from emu.wire.addr import Prefix, ip4, ip4_text
from emu.wire.frame import Frame

CIDR = Prefix.parse("10.0.0.0/16")
ZONES = ("a", "b")
MTU = 9001
PUBLIC_NET = Prefix.parse("192.0.2.0/24")  # RFC 5737; a large cluster has the range of RFC 2544
LARGE_PUBLIC_NET = Prefix.parse("198.18.0.0/15")
FIRST = 11  # the host number of the first node of a subnet
NAT, NAT_ID, NAT_HOST = "nat-gateway", "nat-gateway", 5
GROUP = "nodes"
EVERYWHERE = Prefix(0, 0)


@underlays.add("vpc")
class Vpc(Underlay):
    """`cloud` is what the VPC is made of; a change of it is in force for the next frame."""

    translates = True

    @classmethod
    def default_lan(cls, index: int, nodes: int) -> Lan:
        """Equal parts of the VPC, smaller while there are few nodes, so that addresses are readable."""
        zone, length = index % len(ZONES), 20 if nodes <= FEW else 17
        subnet = Prefix(CIDR.net + (zone << 32 - length), length)
        return Lan(f"subnet-{ZONES[zone]}", subnet, subnet.net + 1, MTU)

    @classmethod
    def default_address(cls, index: int, nodes: int) -> int:
        return cls.default_lan(index, nodes).subnet.net + FIRST + index // len(ZONES)

    def build(self, sysctls: Sysctls, forwarding: Sysctls) -> None:
        self.net = self.switches = self.namespace("vpc", sysctls)
        lans = [lan for lan in self.layout.lans.values() if lan.switch]
        self.cloud = Cloud([CIDR] if all(_inside(lan.subnet, CIDR) for lan in lans) else [lan.subnet for lan in lans])
        self.instances: dict[str, Instance] = {}
        self._subnets(lans)
        self.router = self.namespace("internet", forwarding)
        port, link = boot.cable(self.net, IGW_PORT, self.router, "igw", link_mac(0xAA, 1), link_mac(0xCC, 2), MTU)
        boot.address(self.router, link, f"{ip4_text(self._public_net.net + 1)}/{self._public_net.length}")
        self.fabric = Fabric(self.cloud, lambda: self.clock.now, link.mac, port.mac)
        self._open(port)
        self._nat_gateway(forwarding)

    @property
    def _public_net(self) -> Prefix:
        return PUBLIC_NET if len(self.layout.nodes) <= FEW else LARGE_PUBLIC_NET

    def _subnets(self, lans: list[Lan]) -> None:
        """All use the main route table, the ACL that comes with a VPC, and one security group; these allow everything."""
        cloud = self.cloud
        table = cloud.tables["main"] = RouteTable("main")
        for cidr in cloud.cidrs:
            table.put(cidr, LOCAL)
        table.put(EVERYWHERE, INTERNET)
        acl = cloud.acls["default"] = NetworkAcl("default")
        cloud.groups[GROUP] = SecurityGroup(GROUP)
        for number, lan in enumerate(lans):
            if lan.gateway not in (0, lan.subnet.net + 1):
                what = f"the router of {lan.name} has the subnet's first address in a VPC"
                raise InputError(what, path="cluster.lans", expected=ip4_text(lan.subnet.net + 1))
            zone = ZONES[number % len(ZONES)]
            cloud.subnets[lan.name] = Subnet(lan.name, zone, lan.subnet, table, acl)

    def _switch(self, lan: Lan) -> None:
        """A VPC has no switches: a LAN is a subnet."""

    def _nat_gateway(self, forwarding: Sysctls) -> None:
        """A host in the first subnet that forwards, with ports translated. No route goes there as long as none is made."""
        net = self.namespace(NAT, forwarding)
        subnet = next(iter(self.cloud.subnets.values()))
        addr = subnet.take(subnet.cidr.broadcast - 1)
        port, eth0 = boot.cable(self.net, NAT, net, "eth0", link_mac(0xAA, 3), link_mac(0x42, 3), MTU)
        self.cloud.join(
            Eni(NAT_ID, NAT, NAT, "eth0", 0, eth0.mac, port.mac, subnet, [addr], None, source_dest_check=False)
        )
        self.cloud.publish(addr, self._public_net.net + NAT_HOST)
        boot.address(net, eth0, f"{ip4_text(addr)}/{subnet.cidr.length}")
        boot.route(net, f"default via {ip4_text(subnet.router)} dev eth0")
        for name in ("all", "eth0"):
            net.sysctl[f"net.ipv4.conf.{name}.send_redirects"] = 0
        rule = f"-A POSTROUTING -o eth0 -j SNAT --to-source {ip4_text(addr)} --random-fully"
        boot.iptables_restore(net, f"*nat\n{rule}\nCOMMIT\n")
        self._open(port)

    # -- instances and their interfaces ------------------------------------------------------------

    def connect(self, net: Netns, index: int) -> None:
        """A node is an instance. Its first interface has a public address: the node's ExternalIP, where it states one."""
        instance = self.instances[net.name] = Instance(self, net, index)
        super().connect(net, index)
        net.programs[METADATA] = instance
        machine = self.layout.nodes[index]
        public = [ip4(each) for each in machine.external_ips]
        public = public or [self._public_net.net + FIRST + index]
        self.cloud.publish(machine.ip, public[0])
        if public[0] not in self._public_net:
            boot.route(self.router, f"{ip4_text(public[0])} dev igw")

    def attach(self, net: Netns, nic: Nic) -> Veth:
        """An interface on a subnet is an ENI, also that of a host which is no node. Others are cables of the internet."""
        lan = self.layout.lans[nic.lan]
        if not lan.switch:
            return super().attach(net, nic)
        subnet = self.cloud.subnets[nic.lan]
        port, device = boot.cable(self.net, nic.port, net, nic.name, nic.port_mac, nic.mac, MTU)
        device.set_mtu(nic.mtu)
        number = len(self.cloud.of(net.name))
        self._join(net, port, device, number, subnet, subnet.take(nic.address))
        boot.address(net, device, nic.cidr)
        if nic.gateway:
            boot.route(net, f"default via {ip4_text(nic.gateway)} dev {nic.name}")
        return device

    def add_interface(self, instance: Instance, number: int, subnet: Subnet, addr: int) -> Eni:
        """A further interface, `eth<number>` of the instance, with this primary address. It has no public address, and its
        link is down: the instance sets it up."""
        serial, net = number << 16, instance.net
        port, link = boot.cable(
            self.net, f"port{instance.index + 1}.{number}", net, f"eth{number}",
            link_mac(0xAA, serial | 0x11 + instance.index), link_mac(0x42, serial | 0x0B + instance.index), MTU,
        )  # fmt: skip
        net.set_link(link.name, up=False)
        return self._join(net, port, link, number, subnet, subnet.take(addr))

    def _join(self, net: Netns, port: Veth, link: Veth, number: int, subnet: Subnet, addr: int) -> Eni:
        name, groups = net.name, [self.cloud.groups[GROUP]]
        eni = Eni(
            f"eni-{name}-{link.name}", port.name, name, link.name, number, link.mac, port.mac, subnet, [addr], groups
        )
        self.cloud.join(eni)
        self._open(port)
        return eni

    def remove_interface(self, instance: Instance, eni: Eni) -> None:
        """The interface is deleted; its addresses are free again."""
        for net, name in ((instance.net, eni.device), (self.net, eni.port)):
            net.set_link(name, up=False)
            net.detach(net.device(name))
        self.cloud.leave(eni)

    # -- routes ----------------------------------------------------------------------------------

    def route(self, prefix: Prefix, via: int) -> None:
        """Every route table sends `prefix` to the interface with the address `via`; its source/destination check stays as it
        is. Raises InputError when the prefix has a route."""
        eni = self.cloud.owner(via)
        if eni is None:
            raise InputError(f"no interface of the VPC has {ip4_text(via)}", expected="a node's address")
        for table in self.cloud.tables.values():
            if prefix in table.routes:
                raise InputError(f"route table {table.id} has a route to {prefix}", expected="another prefix")
            table.put(prefix, eni.id)

    def reserve(self, addresses: Iterable[int]) -> None:
        for subnet in self.cloud.subnets.values():
            subnet.reserved.update(addr for addr in addresses if addr in subnet.cidr)

    def ways(self, prefix: Prefix) -> list[int]:
        found = (table.routes.get(prefix) for table in self.cloud.tables.values())
        enis = (self.cloud.eni(each.target) for each in found if each is not None)
        return [eni.primary for eni in enis if eni is not None]

    def advertise(self, addresses: Mapping[int, int]) -> None:
        """Nothing: the internet gateway translates the public addresses of interfaces, and lets no other address into the VPC.
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
                net.bear(carry.frame, frame.packet)
            net.device(carry.port).transmit(carry.frame)


def _inside(prefix: Prefix, other: Prefix) -> bool:
    return prefix.length >= other.length and prefix.overlaps(other)
