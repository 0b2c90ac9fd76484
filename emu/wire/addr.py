"""Addresses in the form of the hot path: IPv4 as an int in host order, MACs as 6 bytes.

Text is for output and input. Must not know frames.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address
from typing import NamedTuple

from emu.errors import InputError

BROADCAST_MAC = b"\xff" * 6
ZERO_MAC = b"\0" * 6
_MAC = re.compile(r"[0-9a-f]{2}([:-][0-9a-f]{2}){5}", re.I)


def decimal(text: str) -> int | None:
    """A number of 1 to 20 ASCII digits; None for any other text (digits of other scripts, superscripts)."""
    return int(text) if len(text) <= 20 and text.isascii() and text.isdigit() else None


def ip4(text: str | int) -> int:
    """`"10.0.0.1"` as an int. Raises InputError."""
    if text.__class__ is int:
        return text  # the walk's own, and most of all
    return int(text) if isinstance(text, int) else _ip4(text)


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


def addr_text(addr: int, width: int = 32) -> str:
    """An address of `width` bits as text."""
    return ip4_text(addr) if width == 32 else f"{addr:#x}"


def mask(length: int, width: int = 32) -> int:
    """The netmask of a prefix length, as an int."""
    return (1 << width) - (1 << width - length)


# IPv4's special addresses (RFC 1122 section 3.2.1.3, RFC 5735)
LIMITED_BROADCAST = 0xFFFFFFFF


def is_multicast(addr: int) -> bool:
    """224.0.0.0/4."""
    return addr >> 28 == 14


def is_loopback(addr: int) -> bool:
    """127.0.0.0/8."""
    return addr >> 24 == 127


def multicast_mac(addr: int) -> bytes:
    """The MAC of an IPv4 group (RFC 1112 section 6.4)."""
    return b"\x01\0\x5e" + (addr & 0x7FFFFF).to_bytes(3, "big")


def ip4_kind(addr: int) -> str:
    """MULTICAST or BROADCAST for an IPv4 address that is one without regard to any subnet; else ""."""
    if addr >> 28 == 14:
        return "MULTICAST"
    return "BROADCAST" if addr in (0, LIMITED_BROADCAST) else ""


class Prefix(NamedTuple):
    """A prefix: network address (host bits zero), length, and the bits of an address (32: IPv4)."""

    net: int
    length: int
    width: int = 32

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
        return isinstance(addr, int) and addr & mask(self.length, self.width) == self.net

    def overlaps(self, other: Prefix) -> bool:
        if self.width != other.width:
            return False
        netmask = mask(min(self.length, other.length), self.width)
        return self.net & netmask == other.net & netmask

    @property
    def broadcast(self) -> int:
        return self.net | (1 << self.width - self.length) - 1

    def __str__(self) -> str:
        return f"{addr_text(self.net, self.width)}/{self.length}"

    def __repr__(self) -> str:
        return str(self)


def covering(prefixes: Iterable[Prefix]) -> Prefix:
    """The smallest IPv4 prefix that has all of these; 0.0.0.0/0 for none."""
    found = [(each.net, each.broadcast) for each in prefixes]
    if not found:
        return Prefix(0, 0)
    low, high = min(net for net, _ in found), max(last for _, last in found)
    length = 32 - (low ^ high).bit_length()
    return Prefix(low & mask(length), length)
