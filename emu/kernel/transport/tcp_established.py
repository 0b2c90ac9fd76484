"""Header prediction: the segment that an established connection expects next, in one function.

After the fast path of tcp_rcv_established in net/ipv4/tcp_input.c (RFC 1323 section 4.2.1's receiver, after Van Jacobson). It
does what tcp_input, tcp_ack, tcp_data and tcp_recovery do to such a segment, with their steps in their order, and calls
them for what is rarer. Must not know frames or the clock.
"""

from __future__ import annotations

from typing import Final

from emu.kernel.transport.seqnum import MASK
from emu.kernel.transport.tcp_ack import handle_ack, rtt_sample, update_window
from emu.kernel.transport.tcp_data import ack_check, append, estimate_ato
from emu.kernel.transport.tcp_options import TS_LENGTH, of_plain
from emu.kernel.transport.tcp_output import send_delayed_ack
from emu.kernel.transport.tcp_recovery import grow_cwnd
from emu.kernel.transport.tcp_rmem import RxSkb
from emu.kernel.transport.tcp_sock import ATO_MIN_NS, MSS_DEFAULT, TICK_NS, TcpSock
from emu.kernel.transport.tcp_window import grow_window, measure_rcv_mss, measure_rcv_rtt
from emu.wire.frame import Plain
from emu.wire.tcp import ACK, PSH

_QUIET: Final = 0x1F & ~PSH  # of the flags that a segment may have
OLDER: Final = 0x80000000  # half of the numbers: a difference from here on is negative
SMALL: Final = 128  # a payload below this many bytes never grows the window
UNUSUAL: Final = MSS_DEFAULT - TS_LENGTH  # one from this many bytes on may be a peer's full segment


def rcv_established(tp: TcpSock, plain: Plain, burst: bool, gso_size: int, now_ns: int) -> bool:
    """Take a segment in state ESTABLISHED, if it is the one expected next; False: not such a one, and nothing was changed.

    Expected is an ACK (PSH may be set) at rcv_nxt: it acknowledges what was sent, its timestamp is not old, and no loss, gap,
    probe or unsent data is on the books. `burst` and `gso_size` are as a Segment's.
    """
    seq, acked, flags, window, payload, ts = plain
    rcv_nxt, snd_una = tp.rcv_nxt, tp.snd_una
    newly = acked - snd_una
    if newly < 0:
        newly &= MASK
    if (
        flags & _QUIET != ACK
        or (seq != rcv_nxt and seq != rcv_nxt & MASK)
        or newly > tp.snd_nxt - snd_una
        or tp.write_queue
        or tp.ofo
        or tp.ca_state != "open"
        or tp.sacked_out
        or tp.lost_out
        or tp.retrans_out
        or tp.tlp_high_seq
        or tp.no_space
        or tp.sack_blocks
        or not tp.sack_ok
    ):
        return False
    if tp.ts_ok:
        if ts is None or not tp.ts_recent_stamp:
            return False
        age = ts[0] - tp.ts_recent
        if not 0 <= age < OLDER and age & MASK >= OLDER:
            return False
    else:
        ts = None
    if payload and tp.rcv_wup + tp.rcv_wnd <= rcv_nxt:
        return False  # beyond the window

    tp.mstamp = now_ns
    tp.rcv_cut, tp.rcv_gso_size = burst, gso_size
    ack = snd_una + newly
    window <<= tp.snd_wscale
    if newly or tp.rtx_queue:
        _acknowledged(tp, plain, window, rcv_nxt, ack, now_ns)
    else:
        if window != tp.snd_wnd:
            update_window(tp, window, rcv_nxt, ack)
        elif rcv_nxt > tp.snd_wl1:
            tp.snd_wl1 = rcv_nxt
        tp.rcv_tstamp = now_ns
        tp.probes_out = 0
        tp.soft_error = None
    if ts is not None and rcv_nxt <= tp.rcv_wup:
        tp.ts_recent = ts[0]  # tcp_store_ts_recent

    if payload:
        _queue(tp, payload, flags & PSH != 0, now_ns)
    if tp.ack_scheduled:  # __tcp_ack_snd_check
        if tp.ack_now or tp.rcv_nxt - tp.rcv_wup > tp.rcv_mss or tp.quick:
            ack_check(tp, now_ns)
        else:
            send_delayed_ack(tp, now_ns)
    return True


def _acknowledged(tp: TcpSock, plain: Plain, window: int, seq: int, ack: int, now_ns: int) -> None:
    """tcp_ack for all that is out, in one piece that was sent once; `handle_ack` does the rest."""
    queue = tp.rtx_queue
    skb = queue[0] if len(queue) == 1 else None
    if skb is None or skb.ever_retrans or skb.seq + len(skb.data) != ack or skb.seq != tp.snd_una:
        handle_ack(tp, of_plain(plain), seq, ack, now_ns)
        return
    tp.retransmits = 0
    if window != tp.snd_wnd:
        update_window(tp, window, seq, ack)
    else:
        tp.snd_wl1 = seq
    tp.snd_una = ack
    tp.rcv_tstamp = now_ns
    tp.probes_out = 0
    tp.soft_error = None
    queue.popleft()
    sent_ns = skb.sent_ns
    rtt_ns = now_ns - sent_ns
    tp.rack_advanced = True  # tcp_rack_advance
    tp.rack_rtt_ns = rtt_ns
    if sent_ns > tp.rack_mstamp or (sent_ns == tp.rack_mstamp and ack > tp.rack_end_seq):
        tp.rack_mstamp, tp.rack_end_seq = sent_ns, ack
    rtt_sample(tp, rtt_ns)
    tp.progress = True
    tp.xmit_timer = ""
    tp.xmit_at = None
    if tp.cwnd_limited or tp.cwnd < 2 * tp.max_packets_out:
        grow_cwnd(tp, 1)


def _queue(tp: TcpSock, payload: bytes, pushed: bool, now_ns: int) -> None:
    """tcp_queue_rcv and tcp_event_data_recv: to the end of the receive queue, and into the estimates."""
    skb = RxSkb(payload, tp.rcv_cut, tp.rcv_gso_size)
    if tp.from_backlog:
        skb.condense()
    length, queue = skb.length, tp.receive_queue
    if queue:
        append(tp, skb)
    else:
        tp.rcv_nxt += length
        queue.append(skb)
        tp.rmem_alloc += skb.truesize
    tp.ack_scheduled = True
    if length >= tp.rcv_mss or length >= UNUSUAL:
        measure_rcv_mss(tp, skb, pushed)
    else:  # the end of a write
        tp.last_seg_size = 0
        if tp.ack_pushed:
            tp.ack_pushed2 = True
        tp.ack_pushed = True
    if not tp.rcv_rtt_seq or tp.rcv_nxt >= tp.rcv_rtt_seq:
        measure_rcv_rtt(tp, now_ns)
    if tp.ato_ns != ATO_MIN_NS or now_ns - tp.lrcvtime >= TICK_NS:
        estimate_ato(tp, now_ns)  # else it stays
    if length >= SMALL:
        grow_window(tp, skb, skb.payload_truesize)
