"""What a TCP connection does when time has passed: retransmission, probes, delayed ACK, FIN_WAIT2 and TIME_WAIT.

After RFC 6298 section 5, RFC 8985 section 7, RFC 9293 section 3.8 and Linux's tcp_timer.c. Times here are exact: the
clock's timer wheel rounds them up.
Must not know the clock's timers: times are arguments.
"""

from __future__ import annotations

import errno

from emu.kernel.transport import tcp_recovery as recovery
from emu.kernel.transport.tcp_minisocks import syn_ack
from emu.kernel.transport.tcp_output import (
    NAGLE_OFF,
    current_mss,
    rearm_rto,
    send_ack,
    write_xmit,
)
from emu.kernel.transport.tcp_retransmit import retransmit, write_wakeup
from emu.kernel.transport.tcp_sock import ATO_MIN_NS, Deadline, TcpSock, in_ticks


def expire(tp: TcpSock, now_ns: int, which: Deadline | None) -> None:
    """Run every timer that is due, or only one of them."""
    tp.mstamp = now_ns
    if which in (None, "ack") and tp.delack_at is not None and tp.delack_at <= now_ns:
        _delayed_ack(tp, now_ns)
    if which in (None, "transmit") and tp.xmit_at is not None and tp.xmit_at <= now_ns:
        what = tp.xmit_timer
        tp.stop_xmit_timer()
        if tp.mini:
            _request(tp, now_ns)
        elif what == "retransmit":
            retransmission(tp, now_ns)
        elif what == "tail loss probe":
            _tail_loss_probe(tp, now_ns)
        elif what == "reordering":
            _reordering(tp, now_ns)
        else:
            _zero_window_probe(tp, now_ns)
    if which in (None, "compressed") and tp.compressed_at is not None and tp.compressed_at <= now_ns:
        send_ack(tp, now_ns)  # for all that waited (tcp_compressed_ack_kick)
    if which in (None, "linger") and tp.linger_at is not None and tp.linger_at <= now_ns:
        tp.done("timeout")


def _delayed_ack(tp: TcpSock, now_ns: int) -> None:
    tp.delack_at = None
    if not tp.ack_scheduled:
        return
    if tp.in_pingpong:
        tp.pingpong, tp.ato_ns = 0, ATO_MIN_NS  # it was no answer after all
    else:
        tp.ato_ns = min(tp.ato_ns << 1, tp.rto_ns)
    send_ack(tp, now_ns)


def _request(tp: TcpSock, now_ns: int) -> None:
    """A listener's request: the SYN-ACK again, after 1, 2, 4 ... s."""
    if tp.retransmits >= tp.config.synack_retries:
        tp.done("timeout")
        return
    tp.retransmits += 1
    tp.total_retrans += 1
    syn_ack(tp, now_ns)
    wait = min(tp.config.timeout_init_ns << tp.retransmits, tp.config.rto_max_ns)
    tp.start_xmit_timer("retransmit", now_ns + wait)


def patience_ns(tp: TcpSock, retries: int) -> int:
    """How long `retries` exponential retransmissions from rto_min take: when Linux gives up (924.6 s for 15)."""
    base, most = tp.config.rto_min_ns, tp.config.rto_max_ns
    doublings = (most // base).bit_length() - 1
    if retries <= doublings:
        return ((2 << retries) - 1) * base
    return ((2 << doublings) - 1) * base + (retries - doublings) * most


def _hopeless(tp: TcpSock, now_ns: int) -> bool:
    """Give up now? (tcp_write_timeout)"""
    config = tp.config
    if tp.state == "SYN_SENT":
        hopeless = tp.retransmits >= config.syn_retries + config.syn_linear_timeouts
    elif tp.state == "SYN_RECV":
        hopeless = tp.retransmits >= config.synack_retries
    else:
        retries = config.orphan_retries if tp.orphan else config.retries2
        hopeless = bool(tp.retransmits) and now_ns - tp.retrans_stamp >= patience_ns(tp, retries)
    if hopeless:
        tp.done("timeout", tp.soft_error or errno.ETIMEDOUT)
    return hopeless


def retransmission(tp: TcpSock, now_ns: int) -> None:
    """The retransmission timeout: the oldest segment again, and twice as long to wait."""
    if not tp.rtx_queue:
        return
    tp.tlp_high_seq = 0
    config = tp.config
    if not tp.snd_wnd and tp.state not in ("SYN_SENT", "SYN_RECV") and not tp.orphan:
        # The peer shrank its window to nothing: what is out becomes a probe, and the peer's silence counts.
        if now_ns - tp.rcv_tstamp > config.rto_max_ns and now_ns - max(tp.retrans_stamp, 1) > patience_ns(
            tp, config.retries2
        ):
            tp.done("timeout", tp.soft_error or errno.ETIMEDOUT)
            return
        recovery.enter_loss(tp)
        retransmit(tp, tp.rtx_queue[0], now_ns)
    else:
        if _hopeless(tp, now_ns):
            return
        recovery.enter_loss(tp)
        tp.retransmits += 1
        tp.total_rto += 1
        retransmit(tp, tp.rtx_queue[0], now_ns)
    if tp.state != "SYN_SENT" or tp.total_rto > config.syn_linear_timeouts:
        tp.backoff += 1
        tp.rto_ns = min(tp.rto_ns << 1, config.rto_max_ns)
    tp.start_xmit_timer("retransmit", now_ns + tp.rto_ns)


def _tail_loss_probe(tp: TcpSock, now_ns: int) -> None:
    """New data if there is any, else the last segment again: it makes the receiver report what it lacks."""
    if not tp.rtx_queue or tp.tlp_high_seq:
        rearm_rto(tp, now_ns)
        return
    tp.tlp_retrans = False
    if tp.write_queue and write_xmit(tp, current_mss(tp), NAGLE_OFF, 2, now_ns):
        tp.tlp_high_seq = tp.snd_nxt
    elif retransmit(tp, tp.rtx_queue[-1], now_ns):
        tp.tlp_retrans = True
        tp.tlp_high_seq = tp.snd_nxt
    tp.start_xmit_timer("retransmit", now_ns + tp.rto_ns)


def _reordering(tp: TcpSock, now_ns: int) -> None:
    """RACK waited long enough for what may only have been overtaken."""
    lost = recovery.rack_detect_loss(tp, now_ns)
    if lost:
        if tp.ca_state in ("open", "disorder"):
            recovery.enter_recovery(tp)
            recovery.reduce_cwnd(tp, 1, lost, False)
        recovery.retransmit_lost(tp, now_ns)
    if not tp.xmit_timer:
        rearm_rto(tp, now_ns)


def _zero_window_probe(tp: TcpSock, now_ns: int) -> None:
    if tp.rtx_queue or not tp.write_queue:
        return
    config = tp.config
    if tp.probes_out >= (config.orphan_retries if tp.orphan else config.retries2):
        tp.done("timeout", tp.soft_error or errno.ETIMEDOUT)
        return
    write_wakeup(tp, now_ns)
    tp.probing = True
    if tp.rtx_queue:
        return
    tp.backoff = min(tp.backoff + 1, config.retries2)
    tp.probes_out += 1
    wait = min(max(tp.rto_ns, config.rto_min_ns) << tp.backoff, config.rto_max_ns)
    tp.start_xmit_timer("zero window probe", now_ns + wait)


def revert_backoff(tp: TcpSock, now_ns: int) -> None:
    """RFC 6069: an ICMP unreachable for the segment in doubt was not congestion. One backoff less; retransmit if that is due."""
    if not tp.retransmits or not tp.backoff or not tp.rtx_queue:
        return
    tp.backoff -= 1
    base = in_ticks(tp.srtt_ns + tp.rttvar_ns) if tp.srtt_ns else tp.config.timeout_init_ns
    tp.rto_ns = min(base << tp.backoff, tp.config.rto_max_ns)
    due = tp.rtx_queue[0].sent_ns + tp.rto_ns
    if due > now_ns:
        tp.start_xmit_timer("retransmit", due)
    else:
        retransmission(tp, now_ns)
