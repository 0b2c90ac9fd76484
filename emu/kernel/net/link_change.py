"""What `ip link set` changes of a device besides up and down: its address, MTU, promiscuous mode, name and namespace.

The kernel refuses some values; that is an InputError whose `what` is the errno's text in lower case. Must not know who asks.
"""

from __future__ import annotations

from emu.errors import InputError
from emu.kernel.link.bridge import Bridge
from emu.kernel.link.device import Device, check_name
from emu.kernel.link.ipvlan import Ipvlan
from emu.kernel.link.macvlan import Macvlan
from emu.kernel.link.stacked import Stacked
from emu.kernel.link.veth import Veth
from emu.kernel.link.vrf import Vrf
from emu.kernel.net import vrf_links
from emu.kernel.net.netns import Netns
from emu.wire.addr import ZERO_MAC

MIN_MTU, MAX_MTU = 68, 65535  # ether_setup's ETH_MIN_MTU, and ETH_MAX_MTU of veths and bridges


def set_mac(net: Netns, device: Device, mac: bytes) -> None:
    """dev_set_mac_address: neighbours on the device are forgotten (neigh_changeaddr); with arp_notify it announces its
    addresses (inetdev_event). Raises InputError for an address of a group, and for zeros."""
    if mac == ZERO_MAC or mac[0] & 1:
        raise InputError("cannot assign requested address", expected="the address of one device")
    old = device.mac
    if isinstance(device, Bridge):
        device.set_mac(mac)
    elif isinstance(device, Ipvlan):  # ipvlan_link_setup: it has no ndo_set_mac_address
        raise InputError("operation not supported", expected="the address of the device below")
    else:
        if isinstance(device, Macvlan):
            device.set_address(mac)
        device.mac = mac
        device.forget_neighbours()
    for upper in device.uppers:
        upper.lower_mac_changed(old)
    if device.up:
        for family in net.families.values():
            family.ops.came_up(device)


def set_mtu(device: Device, mtu: int) -> None:
    """dev_validate_mtu: veths and bridges have bounds. Raises InputError. `mtu` in bytes."""
    if isinstance(device, Veth | Bridge) and not MIN_MTU <= mtu <= MAX_MTU:
        raise InputError("invalid argument", expected=f"an MTU of {MIN_MTU} to {MAX_MTU}")
    device.set_mtu(mtu)
    for upper in device.uppers:
        upper.lower_mtu_changed()


def set_promisc(device: Device, *, on: bool) -> None:
    """IFF_PROMISC: a flag, which counts once however often it is set."""
    if device.promisc is not on:
        device.set_promisc(on)


def move(device: Device, source: Netns, target: Netns, name: str) -> None:
    """dev_change_net_namespace and dev_change_name: the device goes down, loses its addresses, routes and sysctls, and is in
    `target` as `name`, down. Raises InputError if the name is taken there, and then it stays as it was."""
    if name in target.devices:
        raise InputError("file exists", expected="a name that no device bears")
    source.set_link(device.name, up=False)
    source.detach(device)
    device.name = name
    target.attach(device)


def rename(net: Netns, device: Device, name: str) -> None:
    """dev_change_name: the device stays as it is, in its place. Raises InputError for a name that is taken, or is none."""
    check_name(name)
    if name in net.devices:
        raise InputError("file exists", expected="a name that no device bears")
    old, device.name = device.name, name
    devices = [*net.devices.values()]
    net.devices.clear()
    net.devices.update((each.name, each) for each in devices)
    net.sysctl.rename_device(old, name)
    device.forget_neighbours(permanent=False)
    for family in net.families.values():
        family.cache_device(device)


def delete(device: Device) -> None:
    """`ip link del`: a device goes, and with it the devices that are stacked on it, and the other end of a pair."""
    net: Netns = device.net
    for upper in list(device.uppers):
        if upper.net is not None:
            delete(upper)
    if isinstance(device, Vrf):
        vrf_links.delete(net, device)
        return
    vrf_links.release(net, device)
    net.set_link(device.name, up=False)
    if isinstance(device, Stacked):
        device.unstack()
    net.detach(device)
    peer = device.peer if isinstance(device, Veth) else None
    if peer is not None and peer.attached:
        delete(peer)
