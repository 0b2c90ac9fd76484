"""The receive window: how it opens, grows with what arrives, and follows the receive buffer.

After Linux's tcp_select_initial_window, tcp_select_window, tcp_grow_window and tcp_rcv_space_adjust, checked against the
window fields a kernel sent. A window once announced is never taken back. Must not know sent segments.
"""

from __future__ import annotations

from emu.kernel.transport.tcp_options import MAX_WSCALE
from emu.kernel.transport.tcp_rmem import RxSkb
from emu.kernel.transport.tcp_sock import INIT_CWND, MIN_MSS, MSS_DEFAULT, TcpSock


def select_initial_window(tp: TcpSock, mss: int) -> None:
    """The window of a SYN or SYN-ACK: whole segments of `mss` in half the default buffer; and the scale that rmem's maximum needs."""
    space = tp.full_space
    if space > mss:
        space -= space % mss
    tp.rcv_wnd = space
    limit = 0xFFFF << MAX_WSCALE
    if tp.wscale_ok:
        reach = max(space, tp.config.rmem[2], tp.config.rmem_max)
        tp.rcv_wscale = min(max(reach.bit_length() - 1 - 15, 0), MAX_WSCALE)
        limit = 0xFFFF << tp.rcv_wscale
    else:
        tp.rcv_wscale = 0
        limit = 0xFFFF
        tp.rcv_wnd = min(tp.rcv_wnd, 0xFFFF)
    tp.window_clamp = limit
    tp.rcv_ssthresh = tp.rcv_wnd


def init_buffer_space(tp: TcpSock, now_ns: int) -> None:
    """At the end of the handshake (tcp_init_buffer_space): keep one segment in reserve, begin to measure."""
    if not tp.wscale_ok:
        tp.rcv_wscale = tp.snd_wscale = 0
        tp.window_clamp = min(tp.window_clamp, 0xFFFF)
    most = tp.full_space
    tp.window_clamp = min(tp.window_clamp, most)
    if tp.window_clamp > 2 * tp.advmss and tp.window_clamp + tp.advmss > most:
        tp.window_clamp = max(2 * tp.advmss, most - tp.advmss)
    tp.rcv_ssthresh = min(tp.rcv_ssthresh, tp.window_clamp)
    tp.rcvq_space = min(tp.rcv_ssthresh, tp.rcv_wnd, INIT_CWND * tp.advmss)
    tp.rcvq_time, tp.rcvq_seq = now_ns, tp.copied_seq
    hint = min(tp.advmss, tp.mss_cache, tp.rcv_wnd // 2, MSS_DEFAULT)
    tp.rcv_mss = max(hint, MIN_MSS)


def offered_window(tp: TcpSock) -> int:
    """What could be announced now, in bytes (__tcp_select_window); 0 when the room is too small to announce."""
    mss, ratio, full = tp.rcv_mss, tp.scaling_ratio, tp.window_clamp
    free = tp.rcvbuf
    allowed = free * ratio >> 8  # full_space and space, without their calls: each segment that is sent passes here
    free -= tp.backlog_bytes + tp.rmem_alloc
    free = free * ratio >> 8 if free > 0 else 0
    if full > allowed:
        full = allowed
    if mss > full:
        mss = full
    if mss <= 0:
        return 0
    if free < full >> 1:
        tp.quick = 0
        free -= free % (1 << tp.rcv_wscale)
        if free < allowed >> 4 or free < mss:
            return 0
    if free > tp.rcv_ssthresh:
        free = tp.rcv_ssthresh
    scale = tp.rcv_wscale
    if scale:
        return -(-free >> scale) << scale
    window = tp.rcv_wnd
    if window <= free - mss or window > free:
        return free - free % mss
    if mss == full and free > window + (full >> 1):
        return free
    return window


def select_window(tp: TcpSock) -> int:
    """Announce a window: remember it, and give the 16-bit field."""
    scale, rcv_nxt = tp.rcv_wscale, tp.rcv_nxt
    current = tp.rcv_wup + tp.rcv_wnd - rcv_nxt
    if scale and not tp.rmem_alloc and not tp.backlog_bytes and tp.window_clamp > 0:
        # `offered_window` of an empty queue, which most segments leave behind an empty one
        window = tp.rcvbuf * tp.scaling_ratio >> 8
        if window > tp.rcv_ssthresh:
            window = tp.rcv_ssthresh
        window = -(-window >> scale) << scale
    else:
        window = offered_window(tp)
    if window < current:
        window = -(-current >> scale) << scale
    if not scale and window > 0xFFFF:
        window = 0xFFFF
    tp.rcv_wnd, tp.rcv_wup = window, rcv_nxt
    window >>= scale
    if window > 0xFFFF:
        return 0xFFFF
    return window


def set_window_clamp(tp: TcpSock, value: int) -> None:
    old = tp.window_clamp
    if value == old:
        return
    tp.window_clamp = value
    if value < old:
        tp.rcv_ssthresh = min(tp.rcv_ssthresh, value)
    else:
        tp.rcv_ssthresh = max(tp.rcv_ssthresh, min(tp.rcv_wnd, value))


def measure_rcv_mss(tp: TcpSock, skb: RxSkb, pushed: bool) -> None:
    """Guess the peer's segment size from what came; small ones mark the end of a write (tcp_measure_rcv_mss)."""
    last, tp.last_seg_size = tp.last_seg_size, 0
    length = tp.rcv_gso_size or skb.length
    if length >= tp.rcv_mss:
        if length != tp.rcv_mss:
            ratio = min(max((skb.length << 8) // skb.truesize, 1), 255)
            if ratio != tp.scaling_ratio:
                tp.scaling_ratio = ratio
                set_window_clamp(tp, tp.full_space)
                tp.rcvq_space = min(tp.rcvq_space, tp.window_clamp)
        tp.rcv_mss = min(length, tp.advmss)
        if length == tp.rcv_mss and pushed:
            tp.ack_pushed = True
        return
    if length + 20 + tp.header_options >= MSS_DEFAULT + 20:
        tp.last_seg_size = length
        if length == last:
            tp.rcv_mss = length
            return
    if tp.ack_pushed:
        tp.ack_pushed2 = True
    tp.ack_pushed = True


def grow_window(tp: TcpSock, skb: RxSkb, truesize: int) -> None:
    """Offer more after a payload that cost `truesize`, as far as the buffer has room (tcp_grow_window)."""
    if skb.length < 128:
        return
    room = min(tp.window_clamp, tp.space) - tp.rcv_ssthresh
    if room <= 0:
        return
    if tp.win_from_space(truesize) <= skb.length:
        more = 2 * tp.advmss
    else:
        more = _grow_small(tp, skb.length, truesize)
    if more:
        tp.rcv_ssthresh += min(room, max(more, 2 * skb.length))
        tp.quick |= 1


def _grow_small(tp: TcpSock, length: int, truesize: int) -> int:
    """A payload that costs more than it brings may still grow a window that is far below its maximum."""
    cost = tp.win_from_space(truesize) >> 1
    window = tp.win_from_space(tp.config.rmem[2]) >> 1
    while tp.rcv_ssthresh <= window:
        if cost <= length:
            return 2 * tp.rcv_mss
        cost >>= 1
        window >>= 1
    return 0


def measure_rcv_rtt(tp: TcpSock, now_ns: int) -> None:
    """The time in which one window arrives: the receiver's bound of the round-trip time (tcp_rcv_rtt_measure)."""
    if tp.rcv_rtt_seq:
        if tp.rcv_nxt < tp.rcv_rtt_seq:
            return
        sample = max(now_ns - tp.rcv_rtt_time, 1000)
        tp.rcv_rtt_ns = min(tp.rcv_rtt_ns or sample, sample)
    tp.rcv_rtt_seq = tp.rcv_nxt + tp.rcv_wnd
    tp.rcv_rtt_time = now_ns


def rcv_space_adjust(tp: TcpSock) -> None:
    """Grow the buffer when the application read more in a round trip than ever before (dynamic right-sizing).

    Called for each buffer that is read. What is still in the queue counts against what was read, and time is that of the
    last segment: a program that reads several buffers at once is judged by the first (tcp_rcv_space_adjust).
    """
    if tp.rcv_rtt_ns == 0 or tp.mstamp - tp.rcvq_time < tp.rcv_rtt_ns:
        return
    copied = tp.copied_seq - tp.rcvq_seq - (tp.rcv_nxt - tp.copied_seq)
    if copied > tp.rcvq_space:
        rcvbuf_grow(tp, copied)
    tp.rcvq_seq, tp.rcvq_time = tp.copied_seq, tp.mstamp


def rcvbuf_grow(tp: TcpSock, copied: int) -> None:
    """Make room for twice what was read in a round trip, for a sender that doubles its rate, and for what waits behind a gap
    (tcp_rcvbuf_grow)."""
    old, tp.rcvq_space = tp.rcvq_space, copied
    if not tp.config.moderate_rcvbuf:
        return
    window = 2 * copied
    window += window * (copied - old) // old << 1
    if tp.ofo:
        window += tp.ofo[-1].end_seq - tp.rcv_nxt
    rcvbuf = min((window << 8) // tp.scaling_ratio, tp.config.rmem[2])
    if rcvbuf > tp.rcvbuf:
        tp.rcvbuf = rcvbuf
        tp.window_clamp = tp.full_space
