"""The offloads of a network card: completing a checksum, and cutting a large TCP segment (net/core/gso.c).

Must not know devices.
"""

from __future__ import annotations

from emu.wire.frame import Frame
from emu.wire.ipv4 import header_checksum
from emu.wire.rewrite import complete_checksum, replace
from emu.wire.tcp import FIN, PSH


def segments(frame: Frame) -> list[Frame]:
    """The packets that a device sends for `frame` (partial, perhaps larger than any link), checksums done (tcp_gso_segment)."""
    size, l4 = frame.gso_size, frame.l4
    if not size:
        complete_checksum(frame)
        return [frame]
    data, plain = l4 + (frame.buf[l4 + 12] >> 4) * 4, frame.plain
    head, payload = frame.buf[:data], bytes(frame.buf[data:])
    seq, ident = int.from_bytes(head[l4 + 4 : l4 + 8], "big"), frame.ip_id
    made: list[Frame] = []
    for number, start in enumerate(range(0, len(payload), size)):
        part = payload[start : start + size]
        buf = head + part
        length, each = len(buf) - 14, (ident + number) & 0xFFFF
        buf[16:20] = length.to_bytes(2, "big") + each.to_bytes(2, "big")
        buf[24:26] = header_checksum(
            buf[14] << 8 | buf[15], length, each, buf[20] << 8 | buf[21], buf[22] << 8 | buf[23], frame.src, frame.dst
        ).to_bytes(2, "big")
        buf[l4 + 4 : l4 + 8] = ((seq + start) & 0xFFFFFFFF).to_bytes(4, "big")
        if start + size < len(payload):
            buf[l4 + 13] &= ~(FIN | PSH)
        piece = frame.clone()  # each segment has the trail of the whole
        replace(piece, buf)
        piece.gso_size, piece.burst = 0, True
        if plain is not None:
            piece.plain = seq + start & 0xFFFFFFFF, plain[1], buf[l4 + 13], plain[3], part, plain[5]
        complete_checksum(piece)
        made.append(piece)
    return made


def wire_size(frame: Frame) -> int:
    """qdisc_pkt_len_init: the bytes of a frame, those of each segment's headers among them."""
    size = len(frame.buf)
    if frame.gso_size:
        head = frame.l4 + (frame.buf[frame.l4 + 12] >> 4) * 4
        size += (-(-(size - head) // frame.gso_size) - 1) * head
    return size
