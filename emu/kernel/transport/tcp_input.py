"""One segment arrives: the checks of RFC 9293 section 3.10.7 in Linux's order, state by state.

The states of a full socket are here; requests (SYN_RECV of a listener) and TIME_WAIT are in tcp_minisocks.
Sequence numbers are unwrapped on arrival. Must not know frames or the clock.
"""

from __future__ import annotations

import errno

from emu.kernel.transport.seqnum import expand
from emu.kernel.transport.tcp_ack import ACCEPTED, TOO_OLD, UNSENT, handle_ack, update_rtt
from emu.kernel.transport.tcp_data import ack_check, enter_quickack_mode, queue_payload
from emu.kernel.transport.tcp_minisocks import enter_time_wait, misses, request_ack, syn_ack, time_wait_segment
from emu.kernel.transport.tcp_options import TS_LENGTH, Segment, reset_for
from emu.kernel.transport.tcp_output import ack_limited, push, send_ack, sync_mss, timestamp, transmit_syn
from emu.kernel.transport.tcp_sndbuf import check_space, sndbuf_expand
from emu.kernel.transport.tcp_sock import INFINITE_SSTHRESH, INIT_CWND, TICK_NS, TcpSock
from emu.kernel.transport.tcp_states import Event
from emu.kernel.transport.tcp_window import init_buffer_space
from emu.wire.tcp import ACK, FIN, PSH, RST, SYN


def receive(tp: TcpSock, segment: Segment, now_ns: int) -> None:
    """Everything one segment causes; answers are on `tp.out` afterwards."""
    tp.mstamp = now_ns
    tp.rcv_cut, tp.rcv_gso_size = segment.burst, segment.gso_size
    if tp.state == "CLOSE":
        if not tp.from_backlog:  # what waited for the end of a call has found the socket
            _refuse(tp, segment)
    elif tp.mini:
        if tp.state == "SYN_RECV":
            _request(tp, segment, now_ns)
        else:
            time_wait_segment(tp, segment, now_ns)
    elif tp.state == "SYN_SENT":
        _syn_sent(tp, segment, now_ns)
    else:
        _synchronized(tp, segment, now_ns)


def _refuse(tp: TcpSock, segment: Segment) -> None:
    answer = reset_for(segment)
    if answer is not None:
        tp.out.append(answer)


def _challenge(tp: TcpSock, now_ns: int) -> None:
    """RFC 5961: an ACK with our numbers, and nothing of the segment is taken."""
    if not ack_limited(tp, now_ns):
        send_ack(tp, now_ns)


def _duplicate_ack(tp: TcpSock, seq: int, end_seq: int, now_ns: int) -> None:
    if end_seq != seq and seq < tp.rcv_nxt:
        enter_quickack_mode(tp)
        if tp.sack_ok:
            tp.dsack = (seq, min(end_seq, tp.rcv_nxt))
    send_ack(tp, now_ns)


def take_options(tp: TcpSock, segment: Segment) -> None:
    """Take the peer's options of its SYN or SYN-ACK; what it did not offer is off."""
    tp.mss_clamp = segment.mss if segment.mss is not None else 536
    tp.wscale_ok = tp.wscale_ok and segment.wscale is not None
    tp.snd_wscale = segment.wscale if tp.wscale_ok and segment.wscale is not None else 0
    tp.sack_ok = tp.sack_ok and segment.sack_ok
    tp.ts_ok = tp.ts_ok and segment.ts is not None
    if segment.ts is not None and tp.ts_ok:
        tp.ts_recent, tp.ts_recent_stamp = segment.ts[0], True


def take_syn(tp: TcpSock, segment: Segment) -> None:
    """The peer's first sequence number, window and options."""
    tp.irs = segment.seq
    tp.rcv_nxt = tp.rcv_wup = tp.copied_seq = segment.seq + 1
    tp.snd_wl1 = segment.seq
    tp.snd_wnd = tp.max_window = segment.window
    take_options(tp, segment)


def _syn_sent(tp: TcpSock, segment: Segment, now_ns: int) -> None:
    flags = segment.flags
    if flags & ACK:
        ack = expand(segment.ack, tp.snd_una)
        stale_echo = (
            tp.ts_ok
            and segment.ts is not None
            and segment.ts[1] != 0
            and (timestamp(tp, now_ns) - segment.ts[1]) & 0xFFFFFFFF > 0x7FFFFFFF
        )
        if not tp.snd_una < ack <= tp.snd_nxt or stale_echo:
            _refuse(tp, segment)
            return
        if flags & RST:
            tp.done("rcv RST", errno.ECONNREFUSED)
            return
        if not flags & SYN:
            return
        take_syn(tp, segment)
        if tp.ts_ok:
            tp.advmss -= TS_LENGTH
        handle_ack(tp, segment, segment.seq, ack, now_ns)
        _established(tp, segment, now_ns, "rcv SYN,ACK")
        send_ack(tp, now_ns)
        push(tp, now_ns)
        return
    if flags & RST or not flags & SYN:
        return
    take_syn(tp, segment)  # simultaneous open
    tp.go("rcv SYN")
    transmit_syn(tp, now_ns)


def _needless(tp: TcpSock, segment: Segment) -> bool:
    """Does `segment` echo the first SYN (or SYN-ACK), so that it was not lost? (tcp_try_undo_spurious_syn)"""
    return tp.ts_ok and segment.ts is not None and segment.ts[1] == timestamp(tp, tp.lsndtime)


def _established(tp: TcpSock, segment: Segment, now_ns: int, event: Event, *, timed_out: bool = True) -> None:
    tp.go(event)
    tp.pushed_seq = tp.write_seq
    tp.snd_sml = tp.snd_una
    if not tp.wscale_ok:
        tp.rcv_wnd = min(tp.rcv_wnd, 0xFFFF)
    sync_mss(tp)
    init_buffer_space(tp, now_ns)
    sndbuf_expand(tp)
    tp.ssthresh = INFINITE_SSTHRESH  # the handshake's losses do not count (tcp_init_metrics)
    # one SYN lost forgives Linux, whatever the timeout did to the window (RFC 5681 section 3.1, tcp_init_transfer)
    tp.cwnd = 1 if tp.total_retrans > 1 and timed_out and not _needless(tp, segment) else INIT_CWND
    tp.ca_state = "open"
    tp.lrcvtime, tp.lsndtime = now_ns - now_ns % TICK_NS, now_ns
    tp.retrans_stamp = 0


def _request(tp: TcpSock, segment: Segment, now_ns: int) -> None:
    """A segment for a listener's request (tcp_check_req)."""
    flags = segment.flags
    seq = expand(segment.seq, tp.rcv_nxt)
    if flags & (SYN | RST | ACK) == SYN and seq == tp.irs:  # the SYN again: our answer was lost
        if not ack_limited(tp, now_ns):
            syn_ack(tp, now_ns)
            tp.total_retrans += 1
            tp.start_xmit_timer("retransmit", now_ns + (tp.config.timeout_init_ns << tp.retransmits))
        return
    if misses(tp, segment):
        if not flags & RST:
            _refuse(tp, segment)
        return
    if not (seq <= tp.rcv_nxt + tp.rcv_wnd and seq + segment.length >= tp.rcv_nxt):
        if not flags & RST:
            request_ack(tp, now_ns)
        return
    if flags & (RST | SYN):
        tp.done("rcv RST", errno.ECONNRESET)
        _refuse(tp, segment)
    elif flags & ACK:
        _establish_child(tp, segment, now_ns)


def _establish_child(tp: TcpSock, segment: Segment, now_ns: int) -> None:
    """The third segment of the handshake reached a request: a full socket from here (tcp_v4_syn_recv_sock)."""
    tp.snd_una = tp.snd_nxt = tp.write_seq = tp.iss + 1
    tp.high_seq = tp.cwnd_usage_seq = tp.rtt_seq = tp.fackets_high = tp.snd_nxt
    tp.stop_xmit_timer()
    tp.mini = False
    if tp.ts_ok:
        tp.advmss -= TS_LENGTH
    update_rtt(tp, segment, -1 if tp.total_retrans else tp.lsndtime, True, now_ns)
    timed_out, tp.retransmits = bool(tp.retransmits), 0
    tp.last_oow_ack = None
    tp.rcv_tstamp = now_ns
    tp.snd_wnd = segment.window << tp.snd_wscale
    tp.max_window = max(tp.max_window, tp.snd_wnd)
    _established(tp, segment, now_ns, "rcv ACK of SYN", timed_out=timed_out)
    _synchronized(tp, segment, now_ns)


def _acceptable(tp: TcpSock, segment: Segment, seq: int, end_seq: int, now_ns: int) -> bool:
    """PAWS, sequence, RST and SYN (tcp_validate_incoming). What is not acceptable is answered here."""
    flags = segment.flags
    if tp.ts_ok and segment.ts is not None and tp.ts_recent_stamp:
        behind = (tp.ts_recent - segment.ts[0]) & 0xFFFFFFFF
        pure_ack = end_seq == seq and flags & ACK
        if 0 < behind < 0x80000000 and not flags & RST and not (pure_ack and seq == tp.rcv_nxt and behind <= 1):
            if not (end_seq == seq and ack_limited(tp, now_ns)):
                _duplicate_ack(tp, seq, end_seq, now_ns)
            return False
    # beyond the window that was announced, which may be used up
    if end_seq < tp.rcv_wup or (seq > tp.rcv_nxt and seq > tp.rcv_wup + tp.rcv_wnd):
        if flags & RST:
            return False
        if flags & SYN:
            _challenge(tp, now_ns)
        elif end_seq != seq or not ack_limited(tp, now_ns):
            _duplicate_ack(tp, seq, end_seq, now_ns)
        return False
    if not flags & (RST | SYN):
        return True
    if flags & RST:
        if seq == tp.rcv_nxt or (tp.sack_blocks and seq == max(right for _, right in tp.sack_blocks)):
            if tp.state == "CLOSE_WAIT":
                error = errno.EPIPE
            else:
                error = errno.ECONNREFUSED if tp.state == "SYN_RECV" else errno.ECONNRESET
            tp.done("rcv RST", error)
        else:
            _challenge(tp, now_ns)
        return False
    if tp.state == "SYN_RECV" and flags & ACK and seq + 1 == tp.rcv_nxt:
        return True  # the other half of a simultaneous open
    _challenge(tp, now_ns)
    return False


def _synchronized(tp: TcpSock, segment: Segment, now_ns: int) -> None:
    flags = segment.flags
    seq = expand(segment.seq, tp.rcv_nxt)
    end_seq = seq + len(segment.payload) + (flags & FIN) + (flags >> 1 & 1)  # segment.length
    if not flags & (ACK | RST | SYN):
        return
    if not _acceptable(tp, segment, seq, end_seq, now_ns):
        return
    if not flags & ACK:
        return
    ack = expand(segment.ack, tp.snd_una)
    verdict = handle_ack(tp, segment, seq, ack, now_ns)
    if verdict is UNSENT or verdict is TOO_OLD:
        if tp.state == "SYN_RECV":
            _refuse(tp, segment)
        else:
            _challenge(tp, now_ns)
        return
    if tp.ts_ok and segment.ts is not None and seq <= tp.rcv_wup:
        stamp = segment.ts[0]
        behind = (tp.ts_recent - stamp) & 0xFFFFFFFF
        if behind == 0 or behind > 0x7FFFFFFF:
            tp.ts_recent, tp.ts_recent_stamp = stamp, True
    if (
        verdict is ACCEPTED
        and (tp.send_shutdown or tp.state == "SYN_RECV")
        and not _acknowledged(tp, segment, seq, end_seq, now_ns)
    ):
        return
    fin = flags & FIN
    if tp.state in ("CLOSE_WAIT", "CLOSING", "LAST_ACK"):
        if end_seq > tp.rcv_nxt or not (fin or segment.payload):
            pass
        else:
            queue_payload(tp, seq, segment.payload, fin=bool(fin), pushed=False, now_ns=now_ns)
    elif segment.payload or fin:
        if tp.receive_shutdown and segment.payload and end_seq - (fin and 1) > tp.rcv_nxt and tp.orphan:
            tp.done("abort", errno.ECONNRESET)  # data for an application that has closed
            _refuse(tp, segment)
            return
        was = tp.state
        queue_payload(tp, seq, segment.payload, fin=bool(fin), pushed=bool(flags & PSH), now_ns=now_ns)
        if was in ("FIN_WAIT1", "FIN_WAIT2") and tp.state != was:
            send_ack(tp, now_ns)
            if tp.state == "TIME_WAIT":
                enter_time_wait(tp, now_ns)
                return
    if tp.write_queue:
        push(tp, now_ns)
    if tp.no_space:
        check_space(tp)
    if tp.ack_scheduled:
        ack_check(tp, now_ns)


def _acknowledged(tp: TcpSock, segment: Segment, seq: int, end_seq: int, now_ns: int) -> bool:
    """Steps of the state machine that an ACK takes. False: the segment is done with."""
    state = tp.state
    if state == "SYN_RECV":  # simultaneous open
        _established(tp, segment, now_ns, "rcv ACK of SYN")
        tp.snd_wnd = segment.window if segment.flags & SYN else segment.window << tp.snd_wscale
        tp.max_window = max(tp.max_window, tp.snd_wnd)
        sync_mss(tp)
        return True
    if not tp.send_shutdown or tp.snd_una != tp.write_seq:
        return True
    if state == "FIN_WAIT1":
        tp.go("rcv ACK of FIN")
        tp.progress = True
        if not tp.orphan:
            return True
        fin = segment.flags & FIN
        if segment.payload and end_seq - fin > tp.rcv_nxt:
            tp.done("abort", errno.ECONNRESET)
            _refuse(tp, segment)
            return False
        if not fin:
            enter_time_wait(tp, now_ns)
            return False
    elif state == "CLOSING":
        tp.go("rcv ACK of FIN")
        enter_time_wait(tp, now_ns)
        return False
    elif state == "LAST_ACK":
        tp.done("rcv ACK of FIN")
        return False
    return True
