"""A namespace's neighbours, as `ip neigh show` lists them. Must not know ARP."""

from __future__ import annotations

from typing import Any

from emu.kernel.net.listed import neighbours
from emu.kernel.net.neighbour import VALID
from emu.kernel.net.netns import Netns
from emu.report import Report, views
from emu.wire.addr import ip4_text, mac_text


@views.add("neigh")
def neigh(net: Netns) -> Report:
    """The neighbours, as `ip neigh show` lists them. No entries of broadcast, multicast or lo."""
    found = neighbours(net)
    data: list[dict[str, Any]] = [
        {
            "dst": ip4_text(entry.addr),
            "dev": entry.device.name,
            **({"lladdr": mac_text(entry.lladdr)} if entry.state in VALID else {}),
            "state": [entry.state],
        }
        for entry in found
    ]
    return Report(data, "\n".join(found.values()))
