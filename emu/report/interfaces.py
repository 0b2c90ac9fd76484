"""A namespace's interfaces and their addresses, a line each. Must not know captures."""

from __future__ import annotations

from typing import Any

from emu.kernel.link.device import Device
from emu.kernel.net.netns import Netns
from emu.report import Report, columns, views
from emu.wire.addr import ip4_text, mac_text


@views.add("interfaces")
def interfaces(net: Netns) -> Report:
    """The interfaces with their kind, state, MTU, MAC, bridge and addresses, by index."""
    rows = [
        {
            "index": device.ifindex,
            "name": device.name,
            "kind": device.kind,
            "state": "UP" if device.up else "DOWN",
            "mtu": device.mtu,
            "mac": mac_text(device.mac),
            "master": device.master.bridge.name if device.master is not None else None,
            "addresses": [str(each) for each in net.ipv4.addresses if each.device is device],
        }
        for device in net.devices.values()
    ]
    headings = ("INDEX", "NAME", "KIND", "STATE", "MTU", "MAC", "BRIDGE", "ADDRESSES")
    keys = ("index", "name", "kind", "state", "mtu", "mac", "master", "addresses")
    return Report([_as_ip_prints(net, device) for device in net.devices.values()], columns(headings, rows, keys))


def _as_ip_prints(net: Netns, device: Device) -> dict[str, Any]:
    """An interface as `ip -j -d addr` prints it; what does not apply is no key."""
    flags = ["LOOPBACK" if device.kind == "loopback" else "BROADCAST"]
    if device.up:
        flags = [*flags, "UP", "LOWER_UP"] if device.carrier else ["NO-CARRIER", *flags, "UP"]
    found: dict[str, Any] = {"ifindex": device.ifindex, "ifname": device.name, "flags": flags, "mtu": device.mtu}
    if device.master is not None:
        found["master"] = device.master.bridge.name
    found |= {
        "operstate": "UP" if device.up and device.carrier else "DOWN",
        "address": mac_text(device.mac),
        "linkinfo": {"info_kind": device.kind},
    }
    found["addr_info"] = [
        {"family": "inet", "local": ip4_text(each.addr), "prefixlen": each.length, "scope": each.scope}
        for each in net.ipv4.addresses
        if each.device is device
    ]
    return found
