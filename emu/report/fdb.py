"""Which MAC is where: what a namespace's bridges and VXLAN devices know, as `bridge fdb show` lists it. Must not know IP."""

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
    """The MACs that bridges and VXLAN devices know, as `bridge fdb show` lists them. Data: the age of learned entries, in seconds."""
    lines: list[Line] = []
    for device in net.devices.values():
        if isinstance(device, Bridge):
            lines += _ports(device)
        elif isinstance(device, Vxlan):
            lines += _remotes(device)
    return Report([data for data, _ in lines], "\n".join(text for _, text in lines))


def _ports(bridge: Bridge) -> Iterator[Line]:
    for entry in bridge.listed():
        age_s = None if entry.static else (bridge.clock.now - entry.updated_ns) // SECOND
        data = {
            "mac": mac_text(entry.mac),
            "dev": bridge.fdb_device(entry),
            **({"vlan": entry.vid} if entry.vid else {}),
            "master": bridge.name,
            "static": entry.static,
            "age_s": age_s,
        }
        yield data, bridge.fdb_text(entry)


def _remotes(device: Vxlan) -> Iterator[Line]:
    """Each host behind a MAC is a line."""
    for entry, remote in device.entries():
        learned = entry.state == LEARNED
        data = {
            "mac": mac_text(entry.mac),
            "dev": device.name,
            "dst": ip4_text(remote.addr),
            **({"port": remote.port} if remote.port not in (0, device.config.dstport) else {}),
            **({"vni": remote.vni} if remote.vni not in (0, device.config.vni) else {}),
            **({"via": remote.device.name} if remote.device is not None else {}),
            "static": not learned,
            "age_s": (device.clock.now - entry.updated_ns) // SECOND if learned else None,
        }
        yield data, device.fdb_line(entry, remote)
