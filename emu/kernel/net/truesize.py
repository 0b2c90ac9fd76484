"""What a packet costs its socket and the queues that it waits in: skb->truesize, bytes (include/linux/skbuff.h).

As a sender's kernel made it; what a receiver is charged is tcp_rmem.py. Measured by how many packets a queue of
unres_qlen_bytes holds. Must not know sockets or queues.
"""

from __future__ import annotations

from typing import Final

from emu.wire.frame import ETH_HLEN, TCP, Frame

SK_BUFF: Final = 256
SHARED: Final = 320  # skb_shared_info, behind the data
SMALL_HEAD: Final = 576  # the least that the allocator gives (skb_small_head_cache)
LINK_ROOM: Final = 31  # LL_RESERVED_SPACE of an Ethernet device, and 15 to align (ip_append_data)
SHORT: Final = SMALL_HEAD + SK_BUFF


def head(size: int) -> int:
    """What the allocator gives for a head of `size` bytes (kmalloc_size_roundup)."""
    return SMALL_HEAD if size <= SMALL_HEAD else max(1 << (size - 1).bit_length(), 1024)


def datagram(length: int) -> int:
    """The truesize of an IP packet of `length` bytes, or of a fragment, that ip_append_data made."""
    return head(LINK_ROOM + length + SHARED) + SK_BUFF


def truesize(frame: Frame) -> int:
    """The truesize of a packet. TCP's payload lies in pages behind a small head."""
    if frame.proto == TCP:
        return SHORT + len(frame.buf) - frame.l4 - (frame.buf[frame.l4 + 12] >> 4) * 4 if _whole(frame) else SHORT
    return datagram(max(frame.tot_len, len(frame.buf) - ETH_HLEN))


def _whole(frame: Frame) -> bool:
    return not frame.frag and len(frame.buf) >= frame.l4 + 20
