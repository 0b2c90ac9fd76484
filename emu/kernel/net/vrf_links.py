"""VRFs in a namespace: `ip link add NAME type vrf table N`, `ip link set DEVICE master NAME`, and a packet's way through one.

The first VRF brings the rule `l3mdev`, which looks into the table of a packet's VRF (drivers/net/vrf.c,
net/l3mdev/l3mdev.c). Must not know who asks, or sockets.
"""

from __future__ import annotations

from emu.errors import InputError
from emu.kernel.link.device import Device
from emu.kernel.link.vrf import Vrf
from emu.kernel.net.fib_rules import IpRule
from emu.kernel.net.netns import Netns
from emu.kernel.netfilter.hooks import PRE_ROUTING
from emu.wire.addr import is_multicast
from emu.wire.frame import LOOPBACK, Frame

RULE_PRIORITY = 1000


def vrf(net: Netns, name: str, mac: bytes, table: int) -> Vrf:
    """A VRF, down. Raises InputError."""
    if name in net.devices:
        raise InputError("file exists", expected="a name that no device bears")
    device = Vrf(net.clock, name, mac, table)
    net.attach(device)
    fib = net.ipv4.fib
    if not any(rule.l3mdev for rule in fib.rules):  # vrf_add_fib_rules; the rule stays when the VRF goes
        fib.add_rule(IpRule(RULE_PRIORITY, l3mdev=True))
    return device


def enslave(net: Netns, master: Vrf, device: Device) -> None:
    """vrf_add_slave: the device's routes are gone, and those of its addresses are in the VRF's table. Raises InputError."""
    if device.loopback or isinstance(device, Vrf):
        raise InputError("invalid argument", expected="a device that can be in a VRF")
    if device.l3_master is not None or device.master is not None:
        raise InputError("device or resource busy", expected="a device without a master")
    _flush(net, device)
    device.l3_master = master
    device.l3_rcv = receive
    master.slaves.append(device)
    _cycle(net, device)


def release(net: Netns, device: Device) -> None:
    """vrf_del_slave: the device is in no VRF any more."""
    master = device.l3_master
    if master is None:
        return
    _flush(net, device)
    master.slaves.remove(device)
    device.l3_master = device.l3_rcv = None
    _cycle(net, device)


def delete(net: Netns, master: Vrf) -> None:
    """`ip link del`: its slaves are released."""
    for device in list(master.slaves):
        release(net, device)
    net.set_link(master.name, up=False)
    net.detach(master)


def _flush(net: Netns, device: Device) -> None:
    """fib_disable_ip by force: local routes go, too."""
    fib = net.ipv4.fib
    for table in list(fib.tables.values()):
        for route in [each for each in table if each.uses(device)]:
            fib.remove(route)
    device.forget_neighbours()


def _cycle(net: Netns, device: Device) -> None:
    """cycle_netdev: down and up, so that addresses have their routes again."""
    if device.up:
        net.set_link(device.name, up=False)
        net.set_link(device.name, up=True)


def receive(frame: Frame, device: Device) -> bool:
    """vrf_ip_rcv, when PREROUTING of the slave is behind the packet: it crosses PREROUTING once more. True: that was its end."""
    master = device.l3_master
    net: Netns = device.net
    frame.indev = master
    if is_multicast(frame.dst) or frame.pkt_type == LOOPBACK:
        return False
    master.tapped(frame, own=False)
    return bool(net.ipv4.fns[PRE_ROUTING] and net.ipv4.nf_hook(PRE_ROUTING, frame))
