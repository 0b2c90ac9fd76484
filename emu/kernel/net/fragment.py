"""Fragments: cut at the exit, put together at conntrack's door or at the end (net/ipv4/ip_output.c, ip_fragment.c).

RFC 791 section 3.2. A whole datagram remembers the largest fragment it came in (`frag_max_size`) and
leaves in no larger ones. Must not know what a datagram carries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emu.clock import SECOND, Timer
from emu.kernel.net import icmp, ip_output
from emu.kernel.net.drop import drop
from emu.kernel.net.fib import Route
from emu.kernel.netfilter.hooks import STOLEN, HookState, Verdict
from emu.wire import icmp as wire_icmp
from emu.wire.checksum import checksum
from emu.wire.frame import IP_DF, IP_MF, IP_OFFSET, Frame
from emu.wire.rewrite import replace

if TYPE_CHECKING:
    from emu.kernel.net.netns import Netns


def fragment(net: Netns, frame: Frame, route: Route) -> None:
    """ip_fragment and ip_do_fragment: send in pieces, or say that DF forbids it."""
    mtu = route.mtu or frame.outdev.mtu
    if frame.frag_max_size and frame.frag_max_size < mtu:
        mtu = frame.frag_max_size
    if len(frame.buf) - 14 <= mtu:
        ip_output.finish(frame, route)
        return
    if frame.df and not frame.frag_max_size:
        icmp.send(net, frame, wire_icmp.DEST_UNREACH, wire_icmp.FRAG_NEEDED, mtu)
        drop(net, frame, "PKT_TOO_BIG")
        return
    for piece in pieces(net, frame, mtu):
        ip_output.finish(piece, route)


def pieces(net: Netns, frame: Frame, mtu: int) -> list[Frame]:
    """The fragments of a datagram for links of `mtu` bytes, in order; the frame itself where none is needed."""
    header = frame.l4 - 14
    payload = bytes(frame.buf[frame.l4 : 14 + frame.ip_length])
    step = (mtu - header) & ~7
    if len(payload) + header <= mtu or step < 8:
        return [frame]
    word = frame.buf[20] << 8 | frame.buf[21]
    first, last_more = word & IP_OFFSET, word & IP_MF
    made: list[Frame] = []
    for start in range(0, len(payload), step):
        part = payload[start : start + step]
        more = IP_MF if start + step < len(payload) else last_more
        piece = frame.clone()
        if made and piece.trail is not None:
            piece.trail.clear()
        replace(piece, _datagram(frame, part, more | (first + start // 8)))
        piece.frag_max_size = 0
        made.append(piece)
    net.copied += len(made) - 1
    return made


def _datagram(frame: Frame, payload: bytes, word: int) -> bytearray:
    """A frame with the header of `frame`, another payload and fragment word, and a right header checksum."""
    buf = frame.buf[: frame.l4] + payload
    length = len(buf) - 14
    buf[16:18] = length.to_bytes(2, "big")
    buf[20:22] = word.to_bytes(2, "big")
    buf[24:26] = b"\0\0"
    buf[24:26] = checksum(buf[14 : frame.l4]).to_bytes(2, "big")
    return buf


class _Queue:
    __slots__ = ("first", "parts", "timer", "total")

    def __init__(self, timer: Timer) -> None:
        self.parts: dict[int, Frame] = {}
        self.first: Frame | None = None
        self.total: int | None = None
        self.timer = timer


class Reassembly:
    """The datagrams of one namespace that are not whole yet."""

    __slots__ = ("net", "queues")

    def __init__(self, net: Netns) -> None:
        self.net = net
        self.queues: dict[tuple[int, ...], _Queue] = {}

    def hook(self, frame: Frame, state: HookState) -> Verdict:
        """nf_defrag_ipv4: conntrack wants whole datagrams."""
        if not frame.frag:
            return None
        # the last piece carries the whole datagram on; the others wait inside
        return None if self.add(frame, user=state.hook + 1) is not None else STOLEN

    def add(self, frame: Frame, user: int = 0) -> Frame | None:
        """ip_defrag: the frame made whole, or None while pieces are missing."""
        key = (frame.src, frame.dst, frame.proto, frame.ip_id, user)
        queue = self.queues.get(key)
        if queue is None:
            wait_ns = self.net.sysctl.number("net.ipv4.ipfrag_time") * SECOND
            timer = self.net.clock.call_later(wait_ns, lambda: self._expire(key))
            queue = self.queues[key] = _Queue(timer)
        offset = (frame.frag & IP_OFFSET) * 8
        if offset in queue.parts:
            drop(self.net, frame, "DUP_FRAG")
            return None
        queue.parts[offset] = frame
        if offset == 0:
            queue.first = frame
        if not frame.frag & IP_MF:
            queue.total = offset + frame.ip_length - (frame.l4 - 14)
        return self._finish(key, queue, frame)

    def _finish(self, key: tuple[int, ...], queue: _Queue, last: Frame) -> Frame | None:
        if queue.total is None or queue.first is None:
            return None
        payload = bytearray()
        largest = 0
        for offset in sorted(queue.parts):
            part = queue.parts[offset]
            if offset != len(payload):
                return None
            payload += part.buf[part.l4 : 14 + part.ip_length]
            largest = max(largest, part.ip_length)
        if len(payload) != queue.total:
            return None
        queue.timer.cancel()
        del self.queues[key]
        whole = _datagram(queue.first, bytes(payload), (queue.first.buf[20] << 8) & IP_DF)
        self.net.absorbed += len(queue.parts) - 1
        replace(last, whole)
        last.frag_max_size = largest
        return last

    def _expire(self, key: tuple[int, ...]) -> None:
        """ip_expire: the first piece is quoted back, if it came."""
        queue = self.queues.pop(key)
        if queue.first is not None and key[4] == 0:
            icmp.send(self.net, queue.first, wire_icmp.TIME_EXCEEDED, 1)
        for part in queue.parts.values():
            drop(self.net, part, "FRAG_REASM_TIMEOUT")
