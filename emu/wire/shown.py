"""Addresses as people meet them in results: they are ints, and print themselves as addresses.

A file of its own, because a compiled module has no subclass of int. Must not be met by the walk.
"""

from __future__ import annotations

from emu.wire.addr import ip4_text


class Ip4(int):
    """An IPv4 address that is shown as one. It is for people: the walk has plain ints, which `ip4` makes of it."""

    __slots__ = ()

    def __str__(self) -> str:
        return ip4_text(int(self))

    __repr__ = __str__
