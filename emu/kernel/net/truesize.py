"""What a packet costs its socket and the queues that it waits in: skb->truesize, bytes (include/linux/skbuff.h).

As a sender's kernel made it; what a receiver is charged is tcp_rmem.py. Measured by how many packets a queue of
unres_qlen_bytes holds. Must not know sockets or queues.
"""

from __future__ import annotations

from typing import Final

from emu.wire import tcp
from emu.wire.frame import TCP, Frame

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
    if frame.proto == TCP and not frame.frag:
        return SHORT + max(len(frame.buf) - frame.l4 - (tcp.header_length(frame) or len(frame.buf)), 0)
    return datagram(frame.tot_len)
