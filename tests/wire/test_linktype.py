"""From a frame of any link type to its packet."""

from __future__ import annotations

import pytest

from emu.wire.linktype import COOKED, COOKED2, ETHERNET, LOOP, NULL, RAW, packet

IP = bytes.fromhex("450000140001000040110000" + "0a0000010a000002")
ETHER = bytes(12)


@pytest.mark.parametrize(
    ("linktype", "data", "tags"),
    [
        (ETHERNET, ETHER + b"\x08\x00" + IP, ()),
        (ETHERNET, ETHER + b"\x81\x00\x20\x05\x08\x00" + IP, (0x2005,)),
        (ETHERNET, ETHER + b"\x88\xa8\x00\x07\x81\x00\x00\x08\x08\x00" + IP, (7, 8)),
        (ETHERNET, ETHER + b"\x00\x1c\xaa\xaa\x03\x00\x00\x00\x08\x00" + IP, ()),
        (RAW, IP, ()),
        (COOKED, bytes(14) + b"\x08\x00" + IP, ()),
        (COOKED, bytes(14) + b"\x81\x00\x00\x09\x08\x00" + IP, (9,)),
        (COOKED2, b"\x08\x00" + bytes(18) + IP, ()),
        (NULL, b"\x02\x00\x00\x00" + IP, ()),
        (NULL, b"\x00\x00\x00\x02" + IP, ()),
        (LOOP, b"\x00\x00\x00\x02" + IP, ()),
    ],
)
def test_ipv4_behind_each(linktype: int, data: bytes, tags: tuple[int, ...]) -> None:
    found = packet(linktype, data, len(data) + 3)
    assert (found.ethertype, found.data, found.tags, found.missing, found.why) == (0x0800, IP, tags, 3, "")


@pytest.mark.parametrize(
    ("linktype", "data", "why"),
    [
        (ETHERNET, bytes(13), "shorter than an Ethernet header"),
        (COOKED, bytes(15), "shorter than a Linux cooked header"),
        (COOKED2, bytes(19), "shorter than a Linux cooked header"),
        (NULL, bytes(3), "shorter than a loopback header"),
        (NULL, b"\x07\0\0\0", "address family is 7"),
        (RAW, b"", "no IP header"),
        (RAW, b"\x00", "no IP header"),
        (105, bytes(50), "link type is 105, IEEE 802.11"),
        (9999, b"", "link type is 9999"),
    ],
)
def test_what_has_no_packet_has_a_reason(linktype: int, data: bytes, why: str) -> None:
    assert why in packet(linktype, data, len(data)).why
