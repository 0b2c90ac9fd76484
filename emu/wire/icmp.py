"""ICMP messages made from templates (RFC 792). Must not know when one is sent."""

from __future__ import annotations

from struct import Struct
from typing import Any

from emu.wire.checksum import ones_sum
from emu.wire.frame import ICMP, ICMP_QUERY, IP_HLEN, IP_OFFSET, Frame
from emu.wire.ipv4 import stamp

ECHO_REPLY, DEST_UNREACH, REDIRECT, ECHO, TIME_EXCEEDED, PARAMETER_PROBLEM = 0, 3, 5, 8, 11, 12
SOURCE_QUENCH, TIMESTAMP, TIMESTAMP_REPLY, ADDRESS, ADDRESS_REPLY = 4, 13, 14, 17, 18
NR_ICMP_TYPES, EXT_ECHO, EXT_ECHO_REPLY = 18, 42, 43
HLEN = 8
ERRORS = frozenset((DEST_UNREACH, SOURCE_QUENCH, REDIRECT, TIME_EXCEEDED, PARAMETER_PROBLEM))
NET_UNREACH, HOST_UNREACH, PROT_UNREACH, PORT_UNREACH, FRAG_NEEDED, SR_FAILED = range(6)
PKT_FILTERED = 13
REDIRECT_HOST = 1
HEADERS = IP_HLEN + 8  # bytes of an IPv4 packet with an ICMP message, without the message's data

# errors by type and code: the words of sentences, and the names in iptables' --reject-with and in expectations
ERROR_WORDS = {
    (3, 0): "network unreachable", (3, 1): "host unreachable", (3, 2): "protocol unreachable",
    (3, 3): "port unreachable", (3, 4): "fragmentation needed", (3, 5): "source route failed", (3, 9): "network prohibited",
    (3, 10): "host prohibited", (3, 13): "administratively prohibited", (5, 1): "redirect to another gateway",
    (11, 0): "time to live exceeded", (11, 1): "reassembly time exceeded", (12, 0): "parameter problem",
}  # fmt: skip
ERROR_NAMES = {
    (3, 0): "net-unreachable", (3, 1): "host-unreachable", (3, 2): "proto-unreachable", (3, 3): "port-unreachable",
    (3, 4): "frag-needed", (3, 5): "source-route-failed", (3, 9): "net-prohibited", (3, 10): "host-prohibited", (3, 13): "admin-prohibited",
    (11, 0): "ttl-exceeded", (11, 1): "reassembly-timeout", (12, 0): "parameter-problem",
}  # fmt: skip

_HEADER = Struct("!BBHI")


def build(
    template: bytes,
    src: int,
    dst: int,
    kind: int,
    code: int,
    rest: int,
    payload: bytes,
    *,
    ident: int,
    frag: int,
    ttl: int,
    tos: int,
    flow: int,
    trail: list[Any] | None,
) -> Frame:
    """A message of type `kind`; `rest` is the second header word (id and seq, next-hop MTU, gateway); `payload` follows it."""
    buf = bytearray(template[:42])
    total = ((kind << 8 | code) + (rest >> 16) + (rest & 0xFFFF) + ones_sum(payload)) % 0xFFFF
    check = 0xFFFF - total if total else 0
    _HEADER.pack_into(buf, 34, kind, code, check, rest)
    buf += payload
    frame = stamp(buf, ICMP, src, dst, ident=ident, frag=frag, ttl=ttl, tos=tos, flow=flow, trail=trail)
    frame.dport = kind << 8 | code
    if not total:
        # csum_partial_copy_nocheck begins with all ones: where all is zero, the checksum is, too, which no receiver takes
        frame.valid = any(buf[34:])
    if kind in ICMP_QUERY:
        frame.sport = rest >> 16
    return frame


def checksum_ok(frame: Frame) -> bool:
    """Does its checksum hold? That of a message of zeros does not (csum_fold)."""
    data = frame.buf[frame.l4 : 14 + frame.tot_len]
    return ones_sum(data) == 0 and any(data)


def all_zero(frame: Frame) -> bool:
    """Is the whole message of zeros?"""
    return not any(frame.buf[frame.l4 : 14 + frame.tot_len])


def second_word(frame: Frame) -> int:
    """The second header word: id and sequence number, next-hop MTU or gateway."""
    return int.from_bytes(frame.buf[frame.l4 + 4 : frame.l4 + 8], "big")


def sequence(frame: Frame) -> int:
    """The sequence number of an echo."""
    return frame.buf[frame.l4 + 6] << 8 | frame.buf[frame.l4 + 7]


def body(frame: Frame) -> bytes:
    """The bytes after the two header words: an echo's data, an error's quote."""
    return bytes(frame.buf[frame.l4 + 8 : 14 + frame.tot_len])


def type_code(frame: Frame) -> tuple[int, int] | None:
    """Type and code; None in a later fragment and in a packet that is too short."""
    if frame.frag & IP_OFFSET or len(frame.buf) < frame.l4 + 2:
        return None
    return frame.buf[frame.l4], frame.buf[frame.l4 + 1]
