"""What `bridge fdb show` prints, as text or with -j: which MAC is behind which port, or at which tunnel's other end.

Must not know what is made of the entries.
"""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any, NamedTuple

from emu.errors import InputError
from emu.pasted.lines import blocks
from emu.wire.addr import ip4, mac


class FdbLine(NamedTuple):
    """`dst` 0: none is shown; `master` "" for an entry of the device itself. `state` is permanent, static or ""."""

    mac: bytes
    device: str
    dst: int = 0
    master: str = ""
    state: str = ""
    line: int = 0


def fdb(text: str, file: str | None = None) -> list[FdbLine]:
    """The entries of a text. Addresses of groups (33:33:...) are left out. Raises InputError."""
    if text.lstrip().startswith("["):
        return _json(text, file)
    found = []
    for block in blocks(text):
        if block.command and block.command.split()[0] != "bridge":
            continue
        for number, raw in block.lines:
            words = raw.split()
            try:
                after = dict(pairwise(words))
                if "dev" not in after:
                    raise InputError(f"{raw.strip()[:80]!r} is no entry")
                address = mac(words[0])
                dst = ip4(after["dst"]) if ":" not in after.get("dst", ":") else 0
            except InputError as error:
                raise InputError(error.what, file=file, line=number, expected="what `bridge fdb show` prints") from None
            state = next((word for word in ("permanent", "static") if word in words), "")
            if not address[0] & 1:
                found.append(FdbLine(address, after["dev"], dst, after.get("master", ""), state, number))
    return found


def _json(text: str, file: str | None) -> list[FdbLine]:
    try:
        values: list[dict[str, Any]] = json.loads(text)
        found = [
            FdbLine(
                mac(each["mac"]), each["ifname"], ip4(each["dst"]) if ":" not in each.get("dst", ":") else 0,
                each.get("master", ""), each.get("state", ""),
            )
            for each in values
        ]  # fmt: skip
    except (ValueError, TypeError, KeyError, AttributeError, InputError):
        raise InputError("is not what `bridge -j fdb` prints", file=file, expected="a list of objects") from None
    return [each for each in found if not each.mac[0] & 1]
