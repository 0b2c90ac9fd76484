"""A recorded IPv4 packet with other ends, and what of a packet stays the same when NAT rewrites it.

Must not know frames on their way, or who sends them.
"""

from __future__ import annotations

from emu.wire import udp
from emu.wire.checksum import checksum, pseudo_sum
from emu.wire.frame import ETH_HLEN, ICMP, IP_OFFSET, SCTP, TCP, UDP, Frame
from emu.wire.sctp import checksum_of

Half = tuple[int, int]
PORTED = frozenset((TCP, UDP, SCTP))
HEADS = {TCP: 20, UDP: 8, SCTP: 12, ICMP: 8}  # bytes of the transport's header, without options
_SUM_AT = {TCP: 16, UDP: 6}


def packet_in(frame: Frame) -> bytes:
    """The IP packet of a frame, without padding."""
    return bytes(frame.buf[ETH_HLEN : ETH_HLEN + frame.tot_len])


def key_of(packet: bytes | bytearray, proto: int, l4: int) -> bytes:
    """What of a whole packet NAT does not rewrite: the transport's bytes without addresses, ports and checksums."""
    part = bytes(packet[l4:])
    if proto == TCP:
        return part[4:16] + part[18:]
    if proto == UDP:
        return part[4:6] + part[8:]
    if proto == ICMP:
        return part[:2] + part[6:]
    return part[4:8] + part[12:] if proto == SCTP else part


def addressed(packet: bytes, source: Half, target: Half, *, fix: bool, whole: bool) -> bytes:
    """The packet with other ends. Its checksums are adjusted, so that a wrong one stays wrong; with `fix` they are computed. `whole`: it is
    no fragment. The IP header's own checksum is left to who sends it."""
    buf = bytearray(packet)
    l4, proto = (buf[0] & 15) * 4, buf[9]
    first = not (buf[6] << 8 | buf[7]) & IP_OFFSET
    before = bytes(buf[12:20]) + (bytes(buf[l4 : l4 + 4]) if first and proto in PORTED else b"")
    buf[12:16], buf[16:20] = source[0].to_bytes(4, "big"), target[0].to_bytes(4, "big")
    if first and proto in PORTED and len(buf) >= l4 + 4:
        buf[l4 : l4 + 4] = source[1].to_bytes(2, "big") + target[1].to_bytes(2, "big")
        after = bytes(buf[12:20]) + bytes(buf[l4 : l4 + 4])
    else:
        after = bytes(buf[12:20])
    if fix and whole:
        _summed(buf, l4, proto)
    elif first and proto in _SUM_AT and len(buf) >= l4 + _SUM_AT[proto] + 2:
        _adjust(buf, l4 + _SUM_AT[proto], before, after, optional=proto == UDP)
    return bytes(buf)


def _adjust(buf: bytearray, at: int, before: bytes, after: bytes, *, optional: bool) -> None:
    """RFC 1624: what left the sum, and what came."""
    old = buf[at] << 8 | buf[at + 1]
    if optional and not old:
        return
    total = 0xFFFF - old
    for index in range(0, len(before), 2):
        total += 0xFFFF - (before[index] << 8 | before[index + 1]) + (after[index] << 8 | after[index + 1])
    new = 0xFFFF - (total % 0xFFFF) if total % 0xFFFF else 0
    buf[at : at + 2] = (new or (0xFFFF if optional else 0)).to_bytes(2, "big")


def _summed(buf: bytearray, l4: int, proto: int) -> None:
    """Compute the transport's checksum."""
    if proto in _SUM_AT and len(buf) >= l4 + _SUM_AT[proto] + 2:
        at = l4 + _SUM_AT[proto]
        if proto == UDP and not buf[at] | buf[at + 1]:
            return
        buf[at : at + 2] = b"\0\0"
        src, dst = int.from_bytes(buf[12:16], "big"), int.from_bytes(buf[16:20], "big")
        total = checksum(buf[l4:], pseudo_sum(src, dst, proto, len(buf) - l4))
        buf[at : at + 2] = (total or (0xFFFF if proto == UDP else 0)).to_bytes(2, "big")
    elif proto == ICMP and len(buf) >= l4 + 4:
        buf[l4 + 2 : l4 + 4] = b"\0\0"
        buf[l4 + 2 : l4 + 4] = checksum(buf[l4:]).to_bytes(2, "big")
    elif proto == SCTP and len(buf) >= l4 + 12:
        buf[l4 + 8 : l4 + 12] = checksum_of(bytes(buf[l4:]))


def broken(frame: Frame) -> str:
    """The kernel's reason to drop a whole packet at its end: a checksum that is wrong; "" for none."""
    buf, l4, end = frame.buf, frame.l4, ETH_HLEN + frame.tot_len
    if frame.proto == TCP:
        wrong = checksum(buf[l4:end], pseudo_sum(frame.src, frame.dst, TCP, end - l4)) != 0
        return "TCP_CSUM" if wrong else ""
    if frame.proto == UDP:
        return "" if udp.checksum_ok(frame) else "UDP_CSUM"
    if frame.proto == ICMP:
        return "ICMP_CSUM" if checksum(buf[l4:end]) else ""
    return ""
