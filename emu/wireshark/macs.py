"""Names for the MACs of a capture, from the descriptions of its interfaces. Must not know where they are written."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from emu.capture.reader import Described, reading

PORT = ", a port of "  # how a description names a bridge's port
ZERO = bytes(6)


def macs_of(files: Iterable[Path]) -> dict[bytes, str]:
    """The name of each MAC's interface in these captures. A MAC that several interfaces have, but for a bridge and its ports, has
    none: Wireshark shows its number. Raises InputError: no such file, or it is no capture."""
    found: dict[bytes, dict[str, Described]] = {}
    for path in files:
        with reading(path) as capture:
            for _ in capture:
                pass  # interfaces may be described between frames
            for each in capture.interfaces:
                if each.mac and each.mac != ZERO:
                    found.setdefault(each.mac, {})[each.name] = each
    names: dict[bytes, str] = {}
    for mac, interfaces in found.items():
        owners = list(interfaces)
        if len(owners) > 1:
            owners = [name for name, each in interfaces.items() if PORT not in each.description]
        if len(owners) == 1:
            names[mac] = owners[0].replace(" ", "_")
    return names
