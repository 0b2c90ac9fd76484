"""What received bytes cost their receiver: the buffers that the sender's kernel made for them, and which of those join.

After Linux's skb->truesize, skb_segment, __skb_linearize, skb_try_coalesce and skb_condense; sizes as `ss -m` showed
them on veth and lo. Must not know sequence numbers or windows.
"""

from __future__ import annotations

from typing import Final

SK_BUFF: Final = 256
SMALL_HEAD: Final = 576  # the least that the allocator gives (skb_small_head_cache)
AROUND: Final = 192 + 320  # of every head: MAX_TCP_HEADER before the payload, skb_shared_info behind it
LINEAR_MORE: Final = 128  # what __pskb_pull_tail allocates beyond what it needs
SMALL_ROOM: Final = SMALL_HEAD - AROUND
SHORT: Final = SMALL_HEAD + SK_BUFF  # a buffer whose payload lies in pages
PAGES: Final = 32768  # one fragment of a socket's page (SKB_FRAG_PAGE_ORDER)
MAX_FRAGS: Final = 17  # MAX_SKB_FRAGS


class RxSkb:
    """One buffer of a receive queue: `data`, of `length` bytes when it came; `truesize`, what it is charged.

    `room`: bytes that its head still takes; `frags`: how many pieces of pages hold the data, 0 if the head does.
    """

    __slots__ = ("data", "frags", "length", "room", "truesize")

    def __init__(self, data: bytes, cut: bool, gso_size: int) -> None:
        """A segment that was `cut` from a burst by software GSO, came as a burst of segments of `gso_size` bytes or by
        lo, or (neither) was sent alone and made linear for a device without scatter-gather."""
        self.data: bytes | bytearray = data
        self.length = length = len(data)
        self.frags = 0
        if gso_size:
            self.frags = 1 + length // PAGES
            self.truesize, self.room = length + SHORT, 0
            return
        if cut:
            head = _head(length + AROUND)
            self.truesize = head + SK_BUFF
        else:
            head = _head(length + AROUND + LINEAR_MORE) if length > SMALL_ROOM else SMALL_HEAD
            self.truesize = length + SHORT  # the pages are gone, but stay charged
        self.room = head - AROUND - length

    @property
    def payload_truesize(self) -> int:
        """Without the head that a joined buffer gives up (truesize_adjust)."""
        return self.truesize - SHORT if self.frags else self.truesize

    def condense(self) -> None:
        """Charge what is held, not what was (skb_condense)."""
        if not self.frags:
            self.truesize = self.length + self.room + AROUND + SK_BUFF

    def join(self, other: RxSkb) -> int | None:
        """Take the data of the buffer behind this one: what is charged more for it, or None if both must stay."""
        if len(other.data) <= self.room:
            self.room -= len(other.data)
            more = 0
        elif other.frags and self.frags + other.frags <= MAX_FRAGS:
            self.frags, self.room = self.frags + other.frags, 0
            more = other.payload_truesize
        else:
            return None
        self.data = bytearray(self.data) if isinstance(self.data, bytes) else self.data
        self.data += other.data
        self.length += other.length
        self.truesize += more
        return more


def _head(size: int) -> int:
    return SMALL_HEAD if size <= SMALL_HEAD else 1 << (size - 1).bit_length()
