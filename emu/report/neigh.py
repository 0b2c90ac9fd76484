"""A namespace's neighbours, as `ip neigh show` lists them. Must not know ARP."""

from __future__ import annotations

from typing import Any

from emu.kernel.net.netns import Netns
from emu.report import Report, views
from emu.wire.addr import ZERO_MAC, ip4_text, mac_text


@views.add("neigh")
def neigh(net: Netns) -> Report:
    """The neighbours, as `ip neigh show` lists them. No entries of broadcast, multicast or lo."""
    data: list[dict[str, Any]] = [
        {
            "dst": ip4_text(entry.addr),
            "dev": entry.device.name,
            **({"lladdr": mac_text(entry.lladdr)} if entry.lladdr != ZERO_MAC else {}),
            "state": [entry.state],
        }
        for entry in net.neighbours
        if entry.state not in ("NOARP", "NONE")
    ]
    lines = [
        " ".join(
            [each["dst"], "dev", each["dev"], *(["lladdr", each["lladdr"]] if "lladdr" in each else []), *each["state"]]
        )
        for each in data
    ]
    return Report(data, "\n".join(lines))
