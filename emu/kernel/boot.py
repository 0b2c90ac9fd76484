"""A namespace assembled: everything that the kernel sets up before the first packet.

This file shows which function calls which: the walk's functions are registered here, by the kernel's own names. Must
not know Kubernetes.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from emu.clock import MS, SECOND, Clock
from emu.errors import InputError, SocketError
from emu.kernel.link.bridge import Bridge
from emu.kernel.link.device import Device
from emu.kernel.link.ipip import FALLBACK, Ipip, IpipConfig, parse_ipip
from emu.kernel.link.loopback import Loopback
from emu.kernel.link.veth import Veth, pair
from emu.kernel.link.vxlan import Vxlan
from emu.kernel.link.vxlan_text import parse_fdb, parse_vxlan
from emu.kernel.net import (
    arp,
    br_netfilter,
    dup,
    fragment,
    icmp,
    ip6_input,
    ip_input,
    ip_options,
    multicast,
    neighbour,
    reject,
)
from emu.kernel.net.family import Address, Family, Ops
from emu.kernel.net.fib_rules import Flow, IpRule
from emu.kernel.net.fib_semantics import Route, out_of
from emu.kernel.net.ipip import IpipTunnels
from emu.kernel.net.iproute import parse_route, parse_rule, with_hops
from emu.kernel.net.neigh_table import Limits, NeighTable
from emu.kernel.net.netns import Netns
from emu.kernel.net.vxlan_udp import Knows, Receive, VxlanUdp
from emu.kernel.netfilter.conntrack import Conntrack
from emu.kernel.netfilter.hooks import LOCAL_OUT, PRE_ROUTING, PRI_DEFRAG
from emu.kernel.netfilter.nat import Nat
from emu.kernel.transport.sockets import Sockets
from emu.wire import icmp as wire_icmp
from emu.wire import ipv4
from emu.wire.addr import decimal, ip4, ip4_kind
from emu.wire.addr import mac as to_mac
from emu.wire.frame import AF_INET, ETH_HLEN, ETH_P_ARP, ETH_P_IP, ETH_P_IPV6, IP_HLEN, Frame


def namespace(
    clock: Clock, name: str, sysctls: Mapping[str, int | str] | None = None, machine: Netns | None = None
) -> Netns:
    """A new namespace: lo up with 127.0.0.1/8, ARP and IPv4, sockets, no rules. Raises InputError (sysctls).

    `machine` is the first namespace of the machine that it is on, whose table of neighbours it shares (None: its own)."""
    net = Netns(clock, name)
    net.packet_types[ETH_P_ARP] = arp.receive
    net.packet_types[ETH_P_IP] = ip_input.receive
    net.packet_types[ETH_P_IPV6] = ip6_input.receive
    net.join(inet(net, machine))
    for key, value in (sysctls or {}).items():
        net.sysctl[key] = value
    net.sockets = Sockets(net)
    lo = net.attach(Loopback(clock))
    net.ipv4.add_address(lo, ip4("127.0.0.1"), 8, "host")
    return net


def inet(net: Netns, machine: Netns | None = None) -> Family:
    """IPv4: the family, and each of its operations. `machine` as in `namespace`."""
    reassembly, own = fragment.Reassembly(net), _Inet(net)
    ops = Ops(
        constructor=own.constructor,
        solicit=own.solicit,
        error_report=own.error_report,
        reject=own.reject,
        duplicate=dup.Duplicator(net).duplicate,
        fragment=own.fragment,
        pieces=own.pieces,
        defragment=reassembly.add,
        to_many=own.to_many,
        conf=net.sysctl.conf,
        kind_of=ip4_kind,
        resolves=_RESOLVES,
        came_up=own.came_up,
    )
    table = NeighTable(net.clock, _NeighLimits(net)) if machine is None else machine.ipv4.neighbours
    return Family(net, AF_INET, ETH_P_IP, 32, "ipv4", "net.ipv4.ip_default_ttl", ops, reassembly, table)


_RESOLVES = partial(neighbour.resolves, AF_INET)


class _Inet:
    """Those of IPv4's operations that are functions of a namespace."""

    __slots__ = ("_net",)

    def __init__(self, net: Netns) -> None:
        self._net = net

    def constructor(self, entry: neighbour.Neighbour) -> None:
        arp.constructor(self._net, entry)

    def solicit(self, entry: neighbour.Neighbour, waiting: Frame | None) -> None:
        arp.solicit(self._net, entry, waiting)

    def error_report(self, frame: Frame, entry: neighbour.Neighbour) -> None:
        _link_failure(self._net, frame, entry)

    def reject(self, frame: Frame, with_: str, hook: int) -> None:
        reject.reject(self._net, frame, with_, hook)

    def fragment(self, frame: Frame, route: Route, interruptible: bool) -> str:
        return fragment.fragment(self._net, frame, route, interruptible)

    def pieces(self, frame: Frame, size: int) -> list[Frame]:
        return fragment.pieces(self._net, frame, size)

    def to_many(self, dst: int, src: int, mark: int, oif: Device | None, flow: Flow) -> Route | None:
        return multicast.route(self._net, dst, src, mark, oif, flow)

    def came_up(self, device: Device) -> None:
        arp.came_up(self._net, device)


class _NeighLimits:
    """What the sysctls of `net.ipv4.neigh.default` limit, read anew after a write."""

    def __init__(self, net: Netns) -> None:
        self._net = net
        self._known: Limits | None = None
        net.sysctl.on_change(self._written)

    def _written(self, name: str) -> None:
        if name.startswith("net.ipv4.neigh.default."):
            self._known = None

    def __call__(self) -> Limits:
        if self._known is None:
            number = self._net.sysctl.number
            self._known = Limits(
                number("net.ipv4.neigh.default.gc_thresh1"),
                number("net.ipv4.neigh.default.gc_thresh2"),
                number("net.ipv4.neigh.default.gc_thresh3"),
                number("net.ipv4.neigh.default.base_reachable_time_ms") * MS // 2,
            )
        return self._known


def _link_failure(net: Netns, frame: Frame, entry: neighbour.Neighbour) -> None:
    """arp_error_report and ipv4_link_failure: no host answered for the address; send the packet's sender an ICMP error.

    The packet's options are read once more: they have this host's address and time twice. What a program gave another version
    is dropped in silence."""
    wrong = int(ipv4.version(frame) != 4)
    if not wrong and frame.l4 != ETH_HLEN + IP_HLEN:
        frame.options, wrong = ip_options.compile(net, frame, entry.device, frame.route)
    if not wrong:
        icmp.send(net, frame, wire_icmp.DEST_UNREACH, wire_icmp.HOST_UNREACH)
    net.drop(frame, "NEIGH_FAILED", entry, entry.device)


def netfilter(net: Netns) -> None:
    """Switch connection tracking and NAT on, as loading rules that need them does. Idempotent."""
    if net.conntrack is not None:
        return
    net.ipv4.hooks.register(PRE_ROUTING, PRI_DEFRAG, net.ipv4.reassembly.hook)
    net.ipv4.hooks.register(LOCAL_OUT, PRI_DEFRAG, net.ipv4.reassembly.hook)
    net.conntrack = Conntrack(net.name, net.clock, net.sysctl, net.ipv4.hooks, net.receives)
    net.conntrack.recorder = net.recorder
    net.conntrack.enable()
    net.nat = Nat(net.ipv4.hooks, net.ipv4.tables, net.nat_listeners)
    net.nat.enable()


def iptables_restore(net: Netns, text: str, file: str | None = None) -> None:
    """`iptables-restore` of a whole text, with conntrack and NAT switched on. Raises InputError with the line."""
    netfilter(net)
    net.ipv4.tables.restore(text, file=file)


def veth(
    net: Netns,
    name: str,
    peer_net: Netns,
    peer_name: str,
    mac: str | bytes,
    peer_mac: str | bytes,
    mtu: int = 1500,
) -> tuple[Veth, Veth]:
    """A veth pair, one end in each namespace, both up. Raises InputError for a taken name or a bad MAC."""
    one, other = pair(net.clock, name, to_mac(mac), peer_name, to_mac(peer_mac), mtu)
    net.attach(one)
    peer_net.attach(other)
    return one, other


def cable(
    net: Netns, name: str, peer_net: Netns, peer_name: str, mac: str | bytes, peer_mac: str | bytes, mtu: int = 1500
) -> tuple[Veth, Veth]:
    """A cable between two machines: a veth pair that carries bytes alone, and nothing that a kernel notes beside them."""
    ends = veth(net, name, peer_net, peer_name, mac, peer_mac, mtu)
    for end in ends:
        end.cable = True
    return ends


def bridge(net: Netns, name: str, mac: str | bytes, mtu: int = 1500, ageing_s: int = 300) -> Bridge:
    """A bridge with a fixed MAC. br_netfilter registers at its hooks (and obeys its sysctl)."""
    device = Bridge(net.clock, name, to_mac(mac), mtu, ageing_s * SECOND)
    net.attach(device)
    br_netfilter.install(net)
    return device


def vxlan(net: Netns, name: str, mac: str | bytes, text: str, mtu: int | None = None) -> Vxlan:
    """`ip link add NAME address MAC type vxlan TEXT`, and up. `mtu` None: the kernel's. Raises InputError: cannot be parsed,
    a taken name, port or VNI."""
    if net.vxlan is None:
        net.vxlan = VxlanUdp(net, partial(_bind_tunnel, net), net.sockets.udp_table.end_encapsulation)
    device = Vxlan(net.clock, name, to_mac(mac), parse_vxlan(text, net.device), mtu)
    net.vxlan.check(device)
    net.attach(device)
    device.underlay = net.vxlan
    try:
        device.open()
    except InputError:
        net.detach(device)
        raise
    return device


def ipip(net: Netns, name: str, text: str = "", mtu: int | None = None) -> Ipip:
    """`ip link add NAME type ipip TEXT`, and up. `tunl0` is the namespace's own, which has no words: it comes with the kernel's
    module. `mtu` None: the kernel's. Raises InputError: cannot be parsed, a taken name, or ends that another device has."""
    if name == FALLBACK and text:
        raise InputError(f"{FALLBACK} takes no words", expected="another name")
    config = IpipConfig(pmtudisc=False) if name == FALLBACK else parse_ipip(text, net.device)
    if net.ipip is None:
        net.ipip = IpipTunnels(net)
    device = Ipip(net.clock, name, config, mtu)
    net.ipip.check(device)
    net.attach(device)
    net.ipip.add(device)
    return device


def _bind_tunnel(net: Netns, port: int, receive: Receive, knows: Knows) -> None:
    """Open the UDP socket of a tunnel. Raises InputError: another socket has the port."""
    try:
        net.sockets.udp_table.encapsulate(port, receive, knows)
    except SocketError:
        raise InputError(f"{net.name}: a socket has UDP port {port}", expected="another dstport") from None


def fdb(net: Netns, text: str) -> None:
    """`bridge fdb TEXT` for a VXLAN device: `append 00:00:00:00:00:00 dev vxlan0 dst 10.0.0.2`. Raises InputError."""
    entry = parse_fdb(text, net.device)
    device = net.device(entry.device)
    if not isinstance(device, Vxlan):
        raise InputError(f"{net.name}: {entry.device} is a {device.kind}", expected="a vxlan device")
    if entry.remote is None or entry.verb == "del":
        device.delete(entry.mac, entry.remote)
    else:
        {"add": device.add, "append": device.append, "replace": device.replace}[entry.verb](
            entry.mac, entry.remote, entry.state
        )


def neigh(net: Netns, device: str, addr: int, lladdr: bytes) -> None:
    """`ip neigh replace ADDR lladdr LLADDR dev DEVICE nud permanent`. Raises InputError for an unknown device."""
    entry = neighbour.lookup(net.ipv4, net.device(device), addr)
    if entry is None:
        raise InputError(f"{net.name}: the table of neighbours is full")
    entry.update(lladdr, neighbour.PERMANENT)


def address(net: Netns, device: str | Device, cidr: str) -> Address:
    """`ip addr add CIDR dev DEVICE`, with the routes that the kernel adds. Raises InputError."""
    link = net.device(device) if isinstance(device, str) else device
    host, slash, length = cidr.partition("/")
    width = decimal(length) if slash else 32
    if width is None or width > 32:
        raise InputError(f"{cidr!r} is not an address with a prefix length", expected="such as 10.244.1.1/24")
    return net.ipv4.add_address(link, ip4(host), width)


def route(net: Netns, text: str, *, prepend: bool = False) -> Route:
    """`ip route add TEXT`, or `ip route prepend TEXT`. Raises InputError: cannot be parsed, unknown device, gateway not on a
    link, or it exists."""
    return put_route(net, parse_route(text, net.device), text, prepend=prepend)


def put_route(net: Netns, new: Route, text: str, *, prepend: bool = False) -> Route:
    """The same with a route that was read before; `text` is for messages. Raises InputError."""
    if new.hops:
        new = with_hops(new, [_reached(net, hop, text) for hop in new.hops])
    elif new.kind == "unicast":
        new = _reached(net, new, text)
    net.ipv4.fib.add(new, prepend=prepend)
    return new


def rule(net: Netns, text: str) -> IpRule:
    """`ip rule add TEXT`. Without a priority it comes before the rules that were added until now. Raises InputError."""
    new = parse_rule(text, net.ipv4.fib.rules)
    net.ipv4.fib.add_rule(new)
    return new


def _reached(net: Netns, hop: Route, text: str) -> Route:
    """fib_check_nh: a next hop with its device. Raises InputError if its gateway is not on a link."""
    if not hop.gateway:
        return hop
    if hop.onlink:
        wrong = hop.device is None or net.ipv4.addr_type(hop.gateway) != "UNICAST"
        way = hop
    else:
        found = net.ipv4.fib.gateway_route(hop.gateway, hop.table, hop.device)
        wrong, way = found is None, found or hop
    if wrong:
        raise InputError(f"route {text!r}: the gateway is not on a link", expected="a gateway in a connected subnet")
    return hop if hop.device is not None else out_of(way.device, hop)
