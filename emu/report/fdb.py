"""What a namespace's bridges have learned, as `bridge fdb show` lists it. Must not know IP."""

from __future__ import annotations

from emu.kernel.link.bridge import Bridge
from emu.kernel.net.netns import Netns
from emu.report import Report, views
from emu.wire.addr import mac_text


@views.add("fdb")
def fdb(net: Netns) -> Report:
    """What the bridges have learned, as `bridge fdb show` lists it. Data: the age of learned entries, in seconds."""
    data = []
    lines = []
    for bridge in net.devices.values():
        if not isinstance(bridge, Bridge):
            continue
        learned = set(map(id, bridge.learned()))
        for entry in bridge.fdb.values():
            if not entry.static and id(entry) not in learned:
                continue
            owner = next((port.device.name for port in bridge.ports if port.device.mac == entry.mac), bridge.name)
            device = owner if entry.port is None else entry.port.device.name
            age_s = None if entry.static else (net.clock.now - entry.updated_ns) // 1_000_000_000
            data.append(
                {
                    "mac": mac_text(entry.mac),
                    "dev": device,
                    "master": bridge.name,
                    "static": entry.static,
                    "age_s": age_s,
                }
            )
            lines.append(
                f"{mac_text(entry.mac)} dev {device} master {bridge.name}{' permanent' if entry.static else ''}"
            )
    return Report(data, "\n".join(lines))
