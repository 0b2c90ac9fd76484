"""Frames as bytes that repeat: the first sight of a packet is whole, each later one has what differs from the one before.

Must not know interfaces or words.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable

Patch = tuple[int, str]  # offset, and the new bytes as hex


def changes(old: bytes, new: bytes) -> list[Patch]:
    """What makes `new` of `old`, which is as long. Bytes that differ with one equal byte between them are one patch."""
    found: list[Patch] = []
    start = 0
    while start < len(new):
        if new[start] == old[start]:
            start += 1
            continue
        end = start
        while end < len(new) and (new[end] != old[end] or new[end + 1 : end + 2] != old[end + 1 : end + 2]):
            end += 1
        found.append((start, new[start:end].hex()))
        start = end
    return found


def patched(old: bytes, found: Iterable[Patch]) -> bytes:
    """The bytes with the patches in them."""
    data = bytearray(old)
    for at, text in found:
        new = bytes.fromhex(text)
        data[at : at + len(new)] = new
    return bytes(data)


def text(data: bytes) -> str:
    """Bytes as base64."""
    return b64encode(data).decode()


def whole(shown: str) -> bytes:
    """The bytes of a text that `text` made."""
    return b64decode(shown)
