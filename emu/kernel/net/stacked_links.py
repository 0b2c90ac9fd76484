"""`ip link add link LOWER NAME type vlan|macvlan|ipvlan`: devices on top of others, and what ipvlan asks of IP.

What the kernel refuses is an InputError whose `what` is the errno's text in lower case. Must not know who asks.
"""

from __future__ import annotations

from emu.errors import InputError
from emu.kernel.link.device import Device
from emu.kernel.link.ipvlan import L3, Ipvlan
from emu.kernel.link.macvlan import BRIDGE, Macvlan
from emu.kernel.link.stacked import Stacked
from emu.kernel.link.vlan import Vlan
from emu.kernel.net import ip_input, ip_output
from emu.kernel.net.fib_rules import NO_FLOW, Flow
from emu.kernel.net.netns import Netns
from emu.kernel.netfilter.hooks import LOCAL_IN
from emu.wire.frame import Frame


def vlan(net: Netns, name: str, lower: Device, vid: int, mac: bytes | None = None, mtu: int | None = None) -> Vlan:
    """A VLAN device, down. Raises InputError."""
    device = Vlan(net.clock, name, lower, vid, mac, mtu)
    _add(net, device)
    return device


def macvlan(net: Netns, name: str, lower: Device, mac: bytes, mode: str = BRIDGE, mtu: int | None = None) -> Macvlan:
    """A macvlan device, down. Raises InputError."""
    device = Macvlan(net.clock, name, lower, mac, mode, mtu)
    _add(net, device)
    return device


def ipvlan(net: Netns, name: str, lower: Device, mode: str = L3, mtu: int | None = None) -> Ipvlan:
    """An ipvlan device, down. Raises InputError."""
    device = Ipvlan(net.clock, name, lower, IpvlanStack(), mode, mtu)
    _add(net, device)
    return device


def _add(net: Netns, device: Stacked) -> None:
    if device.name in net.devices:
        raise InputError("file exists", expected="a name that no device bears")
    device.stack()
    net.attach(device)


class IpvlanStack:
    """What the children of an ipvlan's lower device ask of IP."""

    def owns(self, child: Ipvlan, addr: int) -> bool:
        net: Netns | None = child.net
        return net is not None and any(each.addr == addr and each.device is child for each in net.ipv4.addresses)

    def outbound(self, lower: Device, frame: Frame) -> None:
        """ipvlan_process_v4_outbound: the packet crosses OUTPUT and POSTROUTING of the lower device's namespace, whatever its
        source (FLOWI_FLAG_ANYSRC)."""
        net: Netns = lower.net
        family = net.ipv4
        flow = Flow(frame.tos) if family.fib.asks_flow else NO_FLOW
        route = family.lookup_output(frame.dst, frame.src, frame.mark, lower, flow)
        if route is None or route.kind not in ("unicast", "local"):
            net.drop(frame, "NOT_SPECIFIED", route, lower)
            return
        frame.route = route
        ip_output.local_out(net, frame)

    def receive(self, child: Ipvlan, lower: Device, frame: Frame) -> bool:
        """ipvlan_l3_rcv and ipvlan_nf_input: the child's namespace routes the packet and has its sockets; INPUT is that of the
        lower device's namespace."""
        net: Netns = lower.net
        pod: Netns = child.net
        reason, route = ip_input.route_input(pod, frame, child)
        if reason or route is None or route.kind != "local":
            return False
        frame.route, family = route, net.ipv4
        if frame.frag:
            whole = family.ops.defragment(frame)
            if whole is None:
                return True
            frame = whole
        frame.outdev = None
        if family.fns[LOCAL_IN] and family.nf_hook(LOCAL_IN, frame):
            return True
        frame.indev = child
        ip_input.deliver_finish(pod, frame)
        return True
