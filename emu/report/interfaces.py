"""A namespace's interfaces and their addresses, a line each. Must not know captures."""

from __future__ import annotations

from emu.kernel.net.netns import Netns
from emu.report import Report, columns, views
from emu.wire.addr import mac_text


@views.add("interfaces")
def interfaces(net: Netns) -> Report:
    """The interfaces with their kind, state, MTU, MAC, bridge and addresses, by index."""
    data = [
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
    return Report(data, columns(headings, data, keys))
