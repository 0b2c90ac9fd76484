"""Where Wireshark looks for a person's profiles and scripts, and for itself, by the system that it runs on.

The rules are those of the User's Guide, appendix B ("Files and Folders"). Pure: the system, its environment and the home folder
are arguments, so that each system's rule is tested on any other. Must not know what is put there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath

PROFILE = "emu"


@dataclass(frozen=True, slots=True)
class Folders:
    """A person's configuration, and their scripts in Lua."""

    configuration: Path
    plugins: Path

    @property
    def profile(self) -> Path:
        return self.configuration / "profiles" / PROFILE


def folders(system: str, environment: Mapping[str, str], home: Path) -> Folders:
    """The folders on a `sys.platform`. They need not be there."""
    given = environment.get("WIRESHARK_CONFIG_DIR", "")
    if system == "win32":
        roaming = environment.get("APPDATA", "")
        base = Path(roaming) if roaming else home / "AppData" / "Roaming"
        configuration = base / "Wireshark"
        return Folders(Path(given) if given else configuration, configuration / "plugins")
    xdg = environment.get("XDG_CONFIG_HOME", "")
    # a relative path is to be ignored (XDG base directory specification)
    base = Path(xdg) if PurePath(xdg).is_absolute() else home / ".config"
    configuration, before = base / "wireshark", home / ".wireshark"
    if not configuration.is_dir() and before.is_dir():
        configuration = before
    return Folders(Path(given) if given else configuration, home / ".local" / "lib" / "wireshark" / "plugins")


def programs(system: str, environment: Mapping[str, str]) -> Iterator[str]:
    """What to look for, in this order: names for PATH, then full paths."""
    yield "wireshark"
    if system == "darwin":
        yield "/Applications/Wireshark.app/Contents/MacOS/Wireshark"
    if system == "win32":
        for name in ("ProgramFiles", "ProgramW6432", "ProgramFiles(x86)"):
            if environment.get(name):
                yield str(Path(environment[name]) / "Wireshark" / "Wireshark.exe")


HOW_TO_GET_IT = {
    "darwin": "brew install --cask wireshark, or https://www.wireshark.org/download.html",
    "win32": "winget install WiresharkFoundation.Wireshark, or https://www.wireshark.org/download.html",
}


def how_to_get_it(system: str) -> str:
    """How Wireshark is installed there, in one line."""
    return HOW_TO_GET_IT.get(system, "apt install wireshark, dnf install wireshark-qt, or your system's own package")
