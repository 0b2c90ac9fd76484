"""Wireshark's programs with emu's profile and script installed, as `emu wireshark install` does it."""

from __future__ import annotations

from pathlib import Path

from emu.wireshark.folders import Folders, folders
from emu.wireshark.install import plan, write
from tshark import Tshark


def places(home: Path) -> Folders:
    return folders("linux", {"XDG_CONFIG_HOME": str(home / ".config")}, home)


def profiled(home: Path) -> Tshark:
    """`home` is an empty folder."""
    write(plan(places(home), {}))
    return Tshark(home)
