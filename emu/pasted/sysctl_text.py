"""What `sysctl -a` prints, `name = value` a line. Must not know which variables there are."""

from __future__ import annotations

from typing import NamedTuple

from emu.errors import InputError


class Setting(NamedTuple):
    """One variable, and its line."""

    value: str
    line: int


def sysctls(text: str, file: str | None = None) -> dict[str, Setting]:
    """The variables by name, as printed (`net/ipv4/conf/eth0.100/rp_filter` with slashes stays so). What could not be read, and what
    sysctl complains of, is left out. Raises InputError for a line that is none."""
    found: dict[str, Setting] = {}
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith(("#", ";", "sysctl:")):
            continue
        name, equals, value = line.partition("=")
        if not equals:
            raise InputError(
                f"{line[:80]!r} is no variable", file=file, line=number, expected="NAME = VALUE, as `sysctl -a` prints"
            )
        found[name.strip()] = Setting(value.strip(), number)
    return found
