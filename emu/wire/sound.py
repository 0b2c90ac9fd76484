"""Whether a transport header is valid: the lengths and checksums that conntrack verifies before it tracks (nf_checksum).

Must not know connections.
"""

from __future__ import annotations

from emu.wire.checksum import ones_sum, pseudo_sum
from emu.wire.frame import ETH_HLEN, ICMP, TCP, UDP, Frame


def sound(frame: Frame) -> bool:
    """Are the lengths and the transport checksum right (TCP, UDP, ICMP; other protocols are not checked)?"""
    buf, l4, proto = frame.buf, frame.l4, frame.proto
    stop = ETH_HLEN + frame.tot_len
    length = stop - l4
    if length < 0 or len(buf) < stop:
        return False
    if proto == ICMP:
        return length >= 8 and ones_sum(buf[l4:stop]) == 0
    if proto == UDP:
        if length < 8 or not 8 <= buf[l4 + 4] << 8 | buf[l4 + 5] <= length:
            return False
        if not (buf[l4 + 6] or buf[l4 + 7]):
            return True
        length = buf[l4 + 4] << 8 | buf[l4 + 5]
        return (ones_sum(buf[l4 : l4 + length]) + pseudo_sum(frame.src, frame.dst, UDP, length)) % 0xFFFF == 0
    if proto == TCP:
        return length >= 20 and (ones_sum(buf[l4:stop]) + pseudo_sum(frame.src, frame.dst, TCP, length)) % 0xFFFF == 0
    return True
