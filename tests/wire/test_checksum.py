"""The Internet checksum against the worked example of RFC 1071, and its incremental form against the whole one."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emu.testing.strategies import examples
from emu.wire.checksum import adjust, checksum, crc32c, ones_sum, pseudo_sum
from emu.wire.frame import Frame
from emu.wire.rewrite import decrease_ttl


@pytest.mark.parametrize(
    ("data", "total"),
    [
        (bytes.fromhex("0001f203f4f5f6f7"), 0xDDF2),  # RFC 1071, section 3
        (bytes.fromhex("f201"), 0xF201),
        (bytes.fromhex("f2"), 0xF200),  # an odd byte is padded with a zero
        (b"", 0),
    ],
)
def test_the_sum_of_words(data: bytes, total: int) -> None:
    assert ones_sum(data) == total


def test_a_header_with_its_checksum_sums_to_nothing() -> None:
    header = bytearray.fromhex("4500003044224000800600008c7c19acae241e2b")
    header[10:12] = checksum(header).to_bytes(2, "big")
    assert header[10:12].hex() == "442e"
    assert checksum(header) == 0


def test_the_crc_of_sctp() -> None:
    assert crc32c(b"123456789") == 0xE3069283


def slow_sum(data: bytes) -> int:
    """RFC 1071 word by word, with end-around carry."""
    total = 0
    for (word,) in struct.iter_unpack("!H", data + b"\0" * (len(data) & 1)):
        total += word
        total = (total & 0xFFFF) + (total >> 16)
    return total


@examples(100)
@given(st.binary(min_size=1, max_size=200))
def test_the_big_integer_sums_as_the_words_do(data: bytes) -> None:
    assert ones_sum(data) % 0xFFFF == slow_sum(data) % 0xFFFF


@examples(200)
@given(st.binary(min_size=8, max_size=60).filter(any), st.integers(0, 2**32 - 1), st.data())
def test_an_adjusted_checksum_is_the_whole_one(data: bytes, new: int, draw: st.DataObject) -> None:
    at = draw.draw(st.integers(0, (len(data) - 4) // 2)) * 2
    changed = bytearray(data)
    changed[at : at + 4] = new.to_bytes(4, "big")
    if not any(changed):
        return
    old = int.from_bytes(data[at : at + 4], "big")
    assert adjust(checksum(data), old, new) % 0xFFFF == checksum(changed) % 0xFFFF


@examples(50)
@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.integers(0, 255), st.integers(0, 65535))
def test_the_pseudo_header(src: int, dst: int, proto: int, length: int) -> None:
    header = struct.pack("!IIBBH", src, dst, 0, proto, length)
    assert pseudo_sum(src, dst, proto, length) % 0xFFFF == slow_sum(header) % 0xFFFF


@pytest.mark.parametrize("total", [0x0000, 0x00FF, 0xFD00, 0xFDFF, 0xFE00, 0xFEFE, 0xFEFF, 0xFF00, 0xFFFE])
def test_a_decreased_ttl_carries_round(total: int) -> None:
    """Each checksum that ip_decrease_ttl treats on its own: what it adds is 0x0100, and 0xFFFF stands for zero."""
    buf = bytearray(34)
    buf[12:15], buf[22] = b"\x08\x00\x45", 64
    rest = (0xFFFF - total - sum(struct.unpack("!10H", buf[14:34]))) % 0xFFFF
    buf[18:20] = rest.to_bytes(2, "big")  # the identification: what makes the checksum `total`
    buf[24:26] = total.to_bytes(2, "big")
    frame = Frame.parse(buf)
    assert ones_sum(frame.buf[14:34]) == 0
    decrease_ttl(frame)
    assert (frame.ttl, frame.buf[22]) == (63, 63)
    assert ones_sum(frame.buf[14:34]) == 0
    assert frame.buf[24:26] != b"\xff\xff"
