"""How people write which app listens on which port: `APP@PORT` or `APP@PORT/udp`. Must not know what the apps do."""

from __future__ import annotations

from collections.abc import Iterable

from emu.apps import apps
from emu.errors import InputError
from emu.wire.addr import decimal


def chosen(words: Iterable[str], path: str) -> dict[tuple[int, str], str]:
    """The app by port and protocol. Raises InputError: unreadable, a port that is none, an unknown app; `path` is its place."""
    found: dict[tuple[int, str], str] = {}
    for word in words:
        app, at, place = word.partition("@")
        port, _, protocol = place.partition("/")
        if not (at and decimal(port) is not None and protocol.upper() in ("", "TCP", "UDP")):
            raise InputError(f"cannot read {word!r}", path=path, expected="APP@PORT or APP@PORT/udp")
        if not 1 <= int(port) <= 65535:
            raise InputError(f"{port} is not a port", path=path, expected="1 to 65535")
        apps[app]  # an unknown app is an InputError with the nearest name
        found[int(port), protocol.upper() or "TCP"] = app
    return found
