"""Fragments: made on output, reassembled for conntrack or for local delivery (net/ipv4/ip_output.c, ip_fragment.c,
inet_fragment.c).

RFC 791 section 3.2. A reassembled datagram keeps the size of its largest fragment (`frag_max_size`) and is sent in no
larger ones; if they fit the link, in fragments of the same sizes (`Frame.cause`). Must not know what a datagram carries.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from emu.clock import SECOND, Timer
from emu.kernel.net import icmp, ip_input, ip_output
from emu.kernel.net.drop import drop
from emu.kernel.net.fib_semantics import Route
from emu.kernel.net.ip_options import later_fragment
from emu.kernel.net.truesize import truesize
from emu.kernel.netfilter.hooks import PRE_ROUTING, STOLEN, HookState, Verdict
from emu.wire import icmp as wire_icmp
from emu.wire.frame import ETH_HLEN, IP_DF, IP_MF, IP_OFFSET, TCP, Frame
from emu.wire.ipv4 import datagram
from emu.wire.offload import segments
from emu.wire.rewrite import replace, set_options

if TYPE_CHECKING:
    from emu.kernel.net.netns import Netns

MAX_DATAGRAM = 65535
QUEUE_SIZE = 200  # sizeof(struct ipq)
TCP_HLEN = 20
# Pieces that came in have no room in front for what these add, and are cut anew (LL_RESERVED_SPACE)
TUNNELS = ("vxlan", "ipip")


def fragment(net: Netns, frame: Frame, route: Route, interruptible: bool) -> str:
    """ip_fragment and ip_do_fragment: send fragments, or report that DF forbids it. In a system call of a program
    (`interruptible`) each fragment travels before the next is sent. Gives "", or EMSGSIZE for a local sender."""
    mtu = route.mtu or frame.outdev.mtu
    largest = frame.frag_max_size
    if frame.largest <= (min(mtu, largest) if largest > 0 else mtu):
        ip_output.finish(frame, route)
        return ""
    if not frame.gso_size:
        return _fragment(net, frame, route, mtu, interruptible)
    parts = segments(frame)  # ip_finish_output_gso: DF holds for the last one, too, however short it is
    net.copied += len(parts) - 1
    return max([_fragment(net, part, route, mtu, interruptible) for part in parts])


def _fragment(net: Netns, frame: Frame, route: Route, mtu: int, interruptible: bool) -> str:
    if frame.df and not frame.ignore_df and (not frame.frag_max_size or frame.frag_max_size > mtu):
        icmp.send(net, frame, wire_icmp.DEST_UNREACH, wire_icmp.FRAG_NEEDED, mtu)
        drop(net, frame, "PKT_TOO_BIG")
        return "EMSGSIZE"
    for piece in pieces(net, frame, mtu):
        ip_output.finish(piece, route)
        if interruptible:
            net.clock.drain()
    return ""


def pieces(net: Netns, frame: Frame, mtu: int) -> list[Frame]:
    """The fragments of a datagram for links of `mtu` bytes, in order; the frame itself where none is needed.

    In the sizes of the fragments that it was reassembled from, if they fit; else all but the last of equal size. A
    fragment may be fragmented again, unless all of the largest had DF set (IPSKB_FRAG_PMTU).
    """
    header, largest = frame.l4 - ETH_HLEN, frame.frag_max_size
    if 0 < largest < mtu:
        mtu = largest
    payload = frame.payload
    step = (mtu - header) & ~7
    if len(payload) + header <= mtu or step < 8:
        return [frame]
    word = frame.frag_word
    first, last_more = word & IP_OFFSET, word & IP_MF
    came: tuple[int, ...] = frame.cause or ()
    if frame.outdev is not None and frame.outdev.kind in TUNNELS:
        came = ()
    if came and max(came) <= mtu - header and not any(size & 7 for size in came[:-1]) and sum(came) == len(payload):
        sizes, flags = came, 0
    else:
        sizes = cut(len(payload), step)
        flags = word & IP_DF if largest > 0 else 0
    made: list[Frame] = []
    start, head = 0, frame
    for size in sizes:
        part = payload[start : start + size]
        more = IP_MF if start + size < len(payload) else last_more
        piece = frame.clone()
        if made and piece.trail is not None:
            piece.trail.clear()
        replace(piece, datagram(head, part, flags | more | (first + start // 8)))
        piece.frag_max_size, piece.ignore_df, piece.cause = 0, False, None
        made.append(piece)
        start += size
        if frame.options is not None and head is frame and not first:
            head = frame.clone()
            set_options(head, later_fragment(frame.option_bytes), frame.dst)
    net.copied += len(made) - 1
    return made


def cut(length: int, most: int) -> tuple[int, ...]:
    """The sizes of the pieces of a payload: all but the last are `most` bytes, less what is not a multiple of 8."""
    step = most & ~7
    return tuple(min(step, length - start) for start in range(0, length, step))


class _Queue:
    """struct ipq: the fragments by offset, the runs that came in order, and the length of the whole if known. `size` is what
    is charged for it, bytes; `number` that of its last fragment among those of its source."""

    __slots__ = ("last_in", "length", "max_df_size", "max_size", "meat", "number", "parts", "runs", "size", "timer")

    def __init__(self, timer: Timer) -> None:
        self.size, self.number = QUEUE_SIZE, 0
        self.parts: dict[int, tuple[Frame, int]] = {}
        self.runs: list[list[int]] = []
        self.length = self.meat = self.max_size = self.max_df_size = 0
        self.last_in = False
        self.timer = timer

    def insert(self, start: int, end: int) -> str:
        """inet_frag_queue_insert: a place for [start, end), or the reason why there is none."""
        last = self.runs[-1] if self.runs else None
        if last is None or last[1] < end:
            if last is not None and start < last[1]:
                return "overlap"
            if last is not None and start == last[1]:
                last[1] = end
            else:
                self.runs.append([start, end])
            return ""
        for run in self.runs:
            if start < run[1] and end > run[0]:
                return "duplicate" if start >= run[0] and end <= run[1] else "overlap"
        self.runs.append([start, end])
        self.runs.sort()
        return ""

    @property
    def complete(self) -> bool:
        return self.last_in and self.meat == self.length and 0 in self.parts


class Reassembly:
    """The datagrams of one namespace that are not whole yet. `memory` is what is charged for them, bytes of truesize."""

    __slots__ = ("memory", "net", "queues")

    def __init__(self, net: Netns) -> None:
        self.net = net
        self.memory = 0
        self.queues: dict[tuple[int, ...], _Queue] = {}

    @property
    def waiting(self) -> int:
        return sum(len(queue.parts) for queue in self.queues.values())

    def hook(self, frame: Frame, state: HookState) -> Verdict:
        """nf_defrag_ipv4: conntrack needs whole datagrams. Fragments from a bridge's ports have a queue of their own."""
        if not frame.frag:
            return None
        # the fragment that came last becomes the whole datagram; the others wait in it
        user = state.hook + 1 if frame.physin is None else -1
        whole = self.add(frame, user)
        if whole is None:
            return STOLEN
        if whole.proto == TCP and user == PRE_ROUTING + 1 and whole.cause[0] < TCP_HLEN and self._early_demux():
            whole.cause = None
        return None

    def _early_demux(self) -> bool:
        """Does tcp_v4_early_demux look at what comes in? It needs the whole TCP header in the first piece, and moves it there:
        the pieces do not have the sizes any more in which they came."""
        number = self.net.sysctl.number
        return bool(number("net.ipv4.ip_early_demux") and number("net.ipv4.tcp_early_demux"))

    def add(self, frame: Frame, user: int = 0) -> Frame | None:
        """ip_defrag: the whole datagram, or None while fragments are missing."""
        key = (frame.src, frame.dst, frame.proto, frame.ip_id, user)
        queue = self.queues.get(key)
        if queue is None:
            if self.memory > self.net.sysctl.number("net.ipv4.ipfrag_high_thresh"):
                drop(self.net, frame, "NOT_SPECIFIED")  # inet_frag_alloc: no memory for another datagram
                return None
            queue = self.queues[key] = self._queue(key)
        elif self._too_far(queue, frame.src):
            queue = self._again(key, queue)
        header = frame.l4 - ETH_HLEN
        start = (frame.frag & IP_OFFSET) * 8
        end = start + frame.tot_len - header
        if frame.frag & IP_MF:
            end &= ~7
            broken = end > queue.length and queue.last_in
        else:
            broken = end < queue.length or (queue.last_in and end != queue.length)
        if broken or end <= start:
            self._kill(key, frame)
            return None
        queue.last_in = queue.last_in or not frame.frag & IP_MF
        queue.length = max(queue.length, end)
        refused = queue.insert(start, end)
        if refused == "duplicate":
            drop(self.net, frame, "DUP_FRAG")
            return None
        if refused:
            self._kill(key, frame)  # RFC 5722's rule, which Linux took over for IPv4
            return None
        queue.parts[start] = (frame, end - start)
        queue.size += truesize(frame)
        self.memory += truesize(frame)
        queue.meat += end - start
        queue.max_size = max(queue.max_size, end - start + header)
        if frame.df:
            queue.max_df_size = max(queue.max_df_size, end - start + header)
        return self._whole(key, queue, frame) if queue.complete else None

    def _queue(self, key: tuple[int, ...]) -> _Queue:
        """ip_find: an empty queue, charged, with the time in which it must be whole."""
        wait_ns = self.net.sysctl.number("net.ipv4.ipfrag_time") * SECOND
        queue = _Queue(self.net.clock.call_later(wait_ns, partial(self._expire, key)))
        self.memory += queue.size
        self._too_far(queue, key[0])
        return queue

    def _too_far(self, queue: _Queue, source: int) -> bool:
        """ip_frag_too_far: have more than ipfrag_max_dist fragments of other datagrams come from the source since the last one
        of this? Then IP's number of the datagram may have come round."""
        most = self.net.sysctl.number("net.ipv4.ipfrag_max_dist")
        if not most:
            return False
        peer = self.net.ipv4.peers[source]
        peer.fragments += 1
        before, queue.number = queue.number, peer.fragments
        return bool(queue.parts) and queue.number - before > most

    def _again(self, key: tuple[int, ...], queue: _Queue) -> _Queue:
        """ip_frag_reinit: what came is dropped, and the datagram begins anew."""
        number = queue.number
        for part, _ in self._forget(key).parts.values():
            drop(self.net, part, "FRAG_TOO_FAR")
        self.queues[key] = new = self._queue(key)
        new.number = self.net.ipv4.peers[key[0]].fragments = number
        return new

    def _forget(self, key: tuple[int, ...]) -> _Queue:
        queue = self.queues.pop(key)
        queue.timer.cancel()
        self.memory -= queue.size
        return queue

    def _whole(self, key: tuple[int, ...], queue: _Queue, last: Frame) -> Frame | None:
        """ip_frag_reasm: the fragment that came last becomes the datagram, with the header of the first."""
        first = queue.parts[0][0]
        if first.l4 - ETH_HLEN + queue.length > MAX_DATAGRAM:
            self._kill(key)
            return None
        self._forget(key)
        parts = [queue.parts[start] for start in sorted(queue.parts)]
        payload = b"".join(part.payload[:size] for part, size in parts)
        whole = datagram(first, payload, IP_DF if queue.max_df_size == queue.max_size else 0)
        self.net.absorbed += len(parts) - 1
        replace(last, whole)
        last.frag_max_size = max(queue.max_size, queue.max_df_size)
        last.cause = tuple(size for _, size in parts)
        last.options = first.options
        return last

    def _kill(self, key: tuple[int, ...], frame: Frame | None = None) -> None:
        """inet_frag_kill: the fragments contradict each other, so that all are dropped."""
        for part, _ in self._forget(key).parts.values():
            drop(self.net, part, "NOT_SPECIFIED")
        if frame is not None:
            drop(self.net, frame, "NOT_SPECIFIED")

    def _expire(self, key: tuple[int, ...]) -> None:
        """ip_expire: an ICMP error quotes the first fragment, if that came. Conntrack's queue sends one only for packets to
        the host itself."""
        queue, user = self._forget(key), key[4]
        if 0 in queue.parts:
            first = queue.parts[0][0]
            if user and first.indev is not None:
                first.route = ip_input.route_input(self.net, first, first.indev)[1]
            if not user or (first.route is not None and first.route.kind == "local"):
                icmp.send(self.net, first, wire_icmp.TIME_EXCEEDED, 1)
        for part, _ in queue.parts.values():
            drop(self.net, part, "FRAG_REASM_TIMEOUT")
