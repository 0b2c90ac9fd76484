"""Addresses as the hot path holds them: IPv4 as an int in host order, MACs as 6 bytes.

Text is for people and for input. Must not know frames.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import IPv4Address
from typing import NamedTuple

from emu.errors import InputError

BROADCAST_MAC = b"\xff" * 6
ZERO_MAC = b"\0" * 6
_MAC = re.compile(r"[0-9a-f]{2}([:-][0-9a-f]{2}){5}", re.I)


def decimal(text: str) -> int | None:
    """A number of 1 to 20 ASCII digits; None for any other text (other scripts' digits, superscripts)."""
    return int(text) if len(text) <= 20 and text.isascii() and text.isdigit() else None


def ip4(text: str | int) -> int:
    """`"10.0.0.1"` as an int. Raises InputError."""
    return text if isinstance(text, int) else _ip4(text)


@lru_cache(maxsize=65536)
def _ip4(text: str) -> int:
    try:
        return int(IPv4Address(text))
    except ValueError:
        raise InputError(f"{text!r} is not an IPv4 address", expected="four decimal octets") from None


@lru_cache(maxsize=65536)
def ip4_text(addr: int) -> str:
    return f"{addr >> 24}.{addr >> 16 & 255}.{addr >> 8 & 255}.{addr & 255}"


def mac(text: str | bytes) -> bytes:
    """`"02:42:0a:00:00:01"` as 6 bytes. Raises InputError."""
    if isinstance(text, bytes):
        return text
    if not _MAC.fullmatch(text):
        raise InputError(f"{text!r} is not a MAC address", expected="six hexadecimal octets with colons")
    return bytes.fromhex(text.replace(":", "").replace("-", ""))


@lru_cache(maxsize=65536)
def mac_text(addr: bytes) -> str:
    return addr.hex(":")


def mask(length: int) -> int:
    """The netmask of a prefix length, as an int."""
    return (0xFFFFFFFF << (32 - length)) & 0xFFFFFFFF


class Prefix(NamedTuple):
    """An IPv4 prefix: network address (host bits zero) and length 0 to 32."""

    net: int
    length: int

    @classmethod
    def parse(cls, text: str, *, strict: bool = False) -> Prefix:
        """`10.0.0.0/8`; without a length /32; `default` is 0.0.0.0/0. `strict` refuses host bits. Raises InputError."""
        if text == "default":
            return cls(0, 0)
        host, slash, bits = text.partition("/")
        width = decimal(bits) if slash else 32
        if width is None or width > 32:
            raise InputError(f"{text!r} is not a CIDR", expected="an address, a slash and a length of 0 to 32")
        addr = ip4(host)
        net = addr & mask(width)
        if strict and net != addr:
            raise InputError(f"{text!r} has host bits set", expected=str(cls(net, width)))
        return cls(net, width)

    def __contains__(self, addr: object) -> bool:
        return isinstance(addr, int) and addr & mask(self.length) == self.net

    def overlaps(self, other: Prefix) -> bool:
        short = min(self.length, other.length)
        return self.net & mask(short) == other.net & mask(short)

    @property
    def broadcast(self) -> int:
        return self.net | ~mask(self.length) & 0xFFFFFFFF

    def __str__(self) -> str:
        return f"{ip4_text(self.net)}/{self.length}"
