"""Which MAC is where: what a namespace's bridges and VXLAN devices know, as `bridge fdb show` lists it.

As data it has the keys of `bridge -j fdb show`, so that what reads the one reads the other. Must not know IP.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from emu.clock import SECOND
from emu.kernel.link.bridge import Bridge
from emu.kernel.link.vxlan import LEARNED, Vxlan
from emu.kernel.net.netns import Netns
from emu.report import Report, views
from emu.wire.addr import ip4_text, mac_text

Line = tuple[dict[str, Any], str]


@views.add("fdb")
def fdb(net: Netns) -> Report:
    """The MACs that bridges and VXLAN devices know, as `bridge fdb show` lists them. Data: `updated` is the age of learned entries, seconds."""
    lines: list[Line] = []
    for device in net.devices.values():
        if isinstance(device, Bridge):
            lines += _ports(device)
        elif isinstance(device, Vxlan):
            lines += _remotes(device)
    return Report([data for data, _ in lines], "\n".join(text for _, text in lines))


def _ports(bridge: Bridge) -> Iterator[Line]:
    for entry in bridge.listed():
        data = {
            "mac": mac_text(entry.mac),
            "ifname": bridge.fdb_device(entry),
            **({"vlan": entry.vid} if entry.vid else {}),
            **({} if entry.static else {"updated": (bridge.clock.now - entry.updated_ns) // SECOND}),
            "flags": [],
            "master": bridge.name,
            "state": bridge.fdb_state(entry),
        }
        yield data, bridge.fdb_text(entry)


def _remotes(device: Vxlan) -> Iterator[Line]:
    """Each host behind a MAC is a line."""
    for entry, remote in device.entries():
        learned = entry.state == LEARNED
        data = {
            "mac": mac_text(entry.mac),
            "ifname": device.name,
            "dst": ip4_text(remote.addr),
            **({"port": remote.port} if remote.port not in (0, device.config.dstport) else {}),
            **({"vni": remote.vni} if remote.vni not in (0, device.config.vni) else {}),
            **({"viaIf": remote.device.name} if remote.device is not None else {}),
            **({"updated": (device.clock.now - entry.updated_ns) // SECOND} if learned else {}),
            "flags": ["self"],
            "state": "" if learned else entry.state,
        }
        yield data, device.fdb_line(entry, remote)
