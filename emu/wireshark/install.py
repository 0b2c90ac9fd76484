"""Puts the profile and the script in their places: what would be written, and writing it.

A file that was changed by its owner, or by Wireshark when it saved its settings, is kept. Each file of the profile begins with
a line that names emu; Wireshark's own files do not. Must not know where folders are, or how Wireshark is started.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from emu.capture.atomic import whole_file
from emu.wire.addr import mac_text
from emu.wireshark.folders import Folders

SCRIPT = "emu.lua"
SETTINGS = ("preferences", "recent", "colorfilters", "dfilter_buttons", "decode_as_entries")
ETHERS = "ethers"
ETHERS_HEAD = "# emu's names for the MACs of a capture; see `emu wireshark --help`.\n"
_OWN = re.compile(rb"(#|--) emu's ")


@dataclass(frozen=True, slots=True)
class Placed:
    """One file to be written to `path`. `kept`: another file is there that is to stay; `same`: it is there already."""

    path: Path
    content: bytes
    kept: bool
    same: bool

    @property
    def word(self) -> str:
        """What happens to it: `written`, `kept` or `there`."""
        return "there" if self.same else "kept" if self.kept else "written"


def shipped(name: str) -> bytes:
    """A file of the profile, as it comes with emu."""
    return (resources.files(__package__) / "profile" / name).read_bytes()


def plan(folders: Folders, macs: Mapping[bytes, str], *, force: bool = False) -> list[Placed]:
    """What an installation writes; nothing is written yet. `macs` are names for the personal `ethers`, none: it is left alone.
    `force` replaces also what is not emu's, but never an `ethers` that is not."""
    wanted = [(folders.profile / name, shipped(name)) for name in SETTINGS]
    wanted.append((folders.plugins / SCRIPT, shipped(SCRIPT)))
    placed = [_placed(path, content, force) for path, content in wanted]
    if macs:
        placed.append(_placed(folders.configuration / ETHERS, ethers(macs), False))
    return placed


def _placed(path: Path, content: bytes, force: bool) -> Placed:
    there = path.read_bytes() if path.is_file() else None
    return Placed(path, content, there is not None and not force and not is_own(there), there == content)


def is_own(content: bytes) -> bool:
    """Did emu write this file, or is there nothing in it?"""
    return not content.strip() or _OWN.match(content) is not None


def write(placed: Iterable[Placed]) -> None:
    """Write what is not kept or there already. Raises InputError."""
    for each in placed:
        if not each.kept and not each.same:
            with whole_file(each.path, lambda path: True) as file:
                file.write(each.content)


def ethers(macs: Mapping[bytes, str]) -> bytes:
    """The file `ethers`: a MAC and its name on each line."""
    lines = (f"{mac_text(mac)} {name}\n" for mac, name in sorted(macs.items()))
    return (ETHERS_HEAD + "".join(lines)).encode()


def missing(folders: Folders) -> Iterator[Path]:
    """The files that an installation would make anew."""
    for path in (*(folders.profile / name for name in SETTINGS), folders.plugins / SCRIPT):
        if not path.is_file():
            yield path
