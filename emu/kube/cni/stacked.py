"""What vlan, macvlan and ipvlan have in common: the device below (`master`), the new device's name, CHECK and STATUS.

Raises CniError in the reference plugins' words. Must not know how one of the devices works.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from emu.errors import InputError
from emu.kernel.link.device import Device
from emu.kernel.link.stacked import Stacked
from emu.kernel.net import link_change
from emu.kernel.net.netns import Netns
from emu.kube.cni import invoke, links
from emu.kube.cni.spec import Attachment, Config, Host, Interface, Result, failure
from emu.wire.addr import mac_text

D = TypeVar("D", bound=Stacked)


def place(attachment: Attachment, *, in_container: bool) -> Netns:
    """Where the device below is: on the machine, or (`linkInContainer`) in the container."""
    return links.open_netns(attachment) if in_container else attachment.host.netns


def default_master(net: Netns) -> str:
    """getDefaultRouteInterfaceName: the device of the first default route. Raises CniError."""
    for route in net.ipv4.fib.main:
        if not route.prefix.length and route.device is not None:
            name: str = route.device.name
            return name
    raise failure("no default route interface found")


def check_mtu(net: Netns, master: str, mtu: int) -> None:
    """The device below is there, and `mtu` (0: its own) is no more than its. Raises CniError."""
    if master not in net.devices:
        raise failure("Link not found")
    most = net.devices[master].mtu
    if not 0 <= mtu <= most:
        raise failure(f"invalid MTU {mtu}, must be [0, master MTU({most})]")


def find_master(net: Netns, master: str) -> Device:
    """The device below. Raises CniError."""
    if master not in net.devices:
        raise failure(f'failed to lookup master "{master}": Link not found')
    return net.devices[master]


def create(
    attachment: Attachment, kind: str, make: Callable[[Netns, str], D], *, keep_unnamed: bool
) -> tuple[D, Interface]:
    """A new device in the container, IFNAME. It is made under a drawn name and renamed; where IFNAME is taken it cannot be, and
    `keep_unnamed` states whether it stays so. Raises CniError."""
    netns, host, name = links.open_netns(attachment), attachment.host.netns, attachment.ifname
    taken = name in netns.devices
    drawn = f"veth{netns.clock.random(f'veth/{host.name}').getrandbits(32):08x}"
    try:
        device = make(netns, drawn if taken else name)
    except InputError as error:
        raise failure(f"failed to create {kind}: {error.what}") from None
    if taken:
        if not keep_unnamed:
            link_change.delete(device)
        raise failure(f'failed to rename {kind} to "{name}": file exists')
    return device, Interface(name, mac_text(device.mac), sandbox=attachment.sandbox)


def remove(attachment: Attachment) -> None:
    """Delete IFNAME. One that is gone is no error."""
    netns = attachment.netns
    if netns is not None and attachment.ifname in netns.devices:
        links.delete_device(attachment.host, netns.devices[attachment.ifname])


def announce(netns: Netns, name: str) -> None:
    """The kernel is to announce the addresses when the link comes up."""
    netns.sysctl[f"net.ipv4.conf.{name}.arp_notify"] = 1


def check_there(netns: Netns, attachment: Attachment, result: Result) -> None:
    """The addresses and routes of the result. Raises CniError."""
    links.check_addresses(netns, attachment.ifname, result.ips)
    links.check_routes(netns, result.routes)


def status(kind: str, config: Config, host: Host) -> None:
    """Ready when its IPAM is."""
    if kind:
        invoke.status(kind, config, host)
