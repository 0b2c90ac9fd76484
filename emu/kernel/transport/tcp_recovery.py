"""What is lost, and how fast to repair it: SACK scoreboard, RACK (RFC 8985), PRR (RFC 6937), Reno (RFC 5681), undo.

After Linux's tcp_input.c and tcp_recovery.c. Without SACK, duplicate ACKs count (RFC 6582). Must not know segments, only
what an ACK reported.
"""

from __future__ import annotations

from emu.kernel.transport.seqnum import expand
from emu.kernel.transport.tcp_output import rearm_rto
from emu.kernel.transport.tcp_retransmit import retransmit
from emu.kernel.transport.tcp_sock import INFINITE_SSTHRESH, REORDERING, TIMEOUT_MIN_NS, Skb, TcpSock
from emu.wire.tcp import PSH


def mark_lost(tp: TcpSock, skb: Skb) -> None:
    if skb.retrans:
        skb.retrans = False
        tp.retrans_out -= 1
    if not skb.lost and not skb.sacked:
        skb.lost = True
        tp.lost_out += 1


def forget(tp: TcpSock, skb: Skb) -> None:
    """`skb` leaves the retransmission queue."""
    tp.sacked_out -= skb.sacked
    tp.lost_out -= skb.lost
    tp.retrans_out -= skb.retrans


def rack_advance(tp: TcpSock, skb: Skb, end_seq: int, now_ns: int) -> None:
    """`skb` was delivered: remember the most recently sent one that was (RACK.xmit_ts)."""
    rtt = now_ns - skb.sent_ns
    if skb.ever_retrans and rtt < tp.min_rtt_ns:
        return  # acknowledged sooner than a round trip: it was the first copy
    tp.rack_advanced, tp.rack_rtt_ns = True, rtt
    if (skb.sent_ns, end_seq) > (tp.rack_mstamp, tp.rack_end_seq):
        tp.rack_mstamp, tp.rack_end_seq = skb.sent_ns, end_seq


def sack_tag(
    tp: TcpSock, blocks: tuple[tuple[int, int], ...], ack: int, prior_una: int, now_ns: int
) -> tuple[int, int]:
    """Mark what SACK blocks (wire numbers) report: (how many newly, oldest sent_ns of a first-sent one or -1)."""
    ranges: list[tuple[int, int]] = []
    for index, (wire_left, wire_right) in enumerate(blocks):
        left = expand(wire_left, tp.snd_una)
        right = expand(wire_right, left)
        if index == 0 and (left < ack or (len(blocks) > 1 and _inside(left, right, blocks[1], tp.snd_una))):
            _duplicate_reported(tp, left, right, prior_una)
            continue
        if left < right <= tp.snd_nxt and left >= ack:
            ranges.append((left, right))
    if not ranges:
        return 0, -1
    tagged, first_sent = 0, -1
    for skb in tp.rtx_queue:
        if skb.sacked:
            continue
        end = skb.end_seq
        if any(left <= skb.seq and end <= right for left, right in ranges):
            if not skb.ever_retrans:
                if skb.seq < tp.fackets_high:
                    tp.reordering_seen = True
                if first_sent < 0:
                    first_sent = skb.sent_ns
            tp.lost_out -= skb.lost
            tp.retrans_out -= skb.retrans
            skb.lost = skb.retrans = False
            skb.sacked = True
            tp.sacked_out += 1
            tagged += 1
            rack_advance(tp, skb, end, now_ns)
    tp.fackets_high = max(tp.fackets_high, *(right for _, right in ranges))
    return tagged, first_sent


def _inside(left: int, right: int, block: tuple[int, int], near: int) -> bool:
    other = expand(block[0], near)
    return other <= left and right <= expand(block[1], other)


def _duplicate_reported(tp: TcpSock, left: int, right: int, prior_una: int) -> None:
    """D-SACK (RFC 2883): a copy was superfluous; when all were, the reduction was for nothing."""
    if tp.undo_marker and tp.undo_retrans > 0 and right <= prior_una + tp.max_window:
        tp.undo_retrans -= 1
    if tp.tlp_high_seq and tp.tlp_retrans and right == tp.tlp_high_seq:
        tp.tlp_high_seq = 0


def rack_detect_loss(tp: TcpSock, now_ns: int) -> bool:
    """Mark lost what was sent long enough before something delivered; arm the reordering timer for the rest."""
    if not tp.rack_mstamp and not tp.sacked_out:
        return False
    if not tp.reordering_seen and (tp.ca_state in ("recovery", "loss") or tp.sacked_out >= REORDERING):
        window = 0
    else:
        window = min(tp.min_rtt_ns >> 2, tp.srtt_ns)
    lost, wait = False, 0
    for skb in tp.rtx_queue:
        if skb.sacked or (skb.lost and not skb.retrans):
            continue
        if (skb.sent_ns, skb.end_seq) >= (tp.rack_mstamp, tp.rack_end_seq):
            continue
        left = skb.sent_ns + tp.rack_rtt_ns + window - now_ns
        if left <= 0:
            mark_lost(tp, skb)
            lost = True
        else:
            wait = max(wait, left)
    if wait:
        tp.start_xmit_timer("reordering", now_ns + wait + TIMEOUT_MIN_NS)
    return lost


def _init_reduction(tp: TcpSock) -> None:
    tp.prior_cwnd, tp.prr_delivered, tp.prr_out = tp.cwnd, 0, 0
    tp.prior_ssthresh = tp.ssthresh
    tp.ssthresh = max(tp.cwnd >> 1, 2)
    tp.tlp_high_seq = 0
    tp.high_seq = tp.snd_nxt
    tp.cwnd_count = 0


def enter_recovery(tp: TcpSock) -> None:
    _init_reduction(tp)
    tp.undo_marker, tp.undo_retrans = True, 0
    tp.ca_state = "recovery"


def enter_loss(tp: TcpSock) -> None:
    """The retransmission timer ran out: everything unacknowledged is lost, begin anew (RFC 5681 section 3.1)."""
    if tp.ca_state in ("open", "disorder") or tp.snd_una >= tp.high_seq:
        tp.prior_ssthresh, tp.prior_cwnd = tp.ssthresh, tp.cwnd
        tp.ssthresh = max(tp.cwnd >> 1, 2)
        tp.undo_marker, tp.undo_retrans = True, 0
    if not tp.sack_ok:
        tp.sacked_out = 0
    for skb in tp.rtx_queue:
        mark_lost(tp, skb)
    tp.cwnd = tp.in_flight + 1
    tp.cwnd_count = 0
    tp.ca_state = "loss"
    tp.high_seq = tp.snd_nxt


def _undo(tp: TcpSock) -> None:
    for skb in tp.rtx_queue:
        skb.lost = False
    tp.lost_out = 0
    tp.cwnd = max(tp.cwnd, tp.prior_cwnd)
    tp.ssthresh = max(tp.ssthresh, tp.prior_ssthresh)
    tp.undo_marker = False


def reduce_cwnd(tp: TcpSock, delivered: int, lost: bool, advanced: bool) -> None:
    """Proportional rate reduction."""
    if delivered <= 0 or not tp.prior_cwnd:
        return
    in_flight = tp.in_flight
    room = tp.ssthresh - in_flight
    tp.prr_delivered += delivered
    if room < 0:
        count = (tp.ssthresh * tp.prr_delivered + tp.prior_cwnd - 1) // tp.prior_cwnd - tp.prr_out
    else:
        count = max(tp.prr_delivered - tp.prr_out, delivered)
        if advanced and not lost:
            count += 1
        count = min(room, count)
    tp.cwnd = in_flight + max(count, 0 if tp.prr_out else 1)


def grow_cwnd(tp: TcpSock, acked: int) -> None:
    """Slow start, then one segment a window (Reno); only when the window was what held us back."""
    slow = tp.cwnd < tp.ssthresh
    if not (tp.cwnd_limited or (slow and tp.cwnd < 2 * tp.max_packets_out)):
        return
    if slow:
        more = min(acked, tp.ssthresh - tp.cwnd) if tp.ssthresh < INFINITE_SSTHRESH else acked
        tp.cwnd += more
        acked -= more
        if not acked:
            return
    if tp.cwnd_count >= tp.cwnd:
        tp.cwnd_count = 0
        tp.cwnd += 1
    tp.cwnd_count += acked
    if tp.cwnd_count >= tp.cwnd:
        tp.cwnd += tp.cwnd_count // tp.cwnd
        tp.cwnd_count %= tp.cwnd


def process(tp: TcpSock, acked: int, tagged: int, *, duplicate: bool, advanced: bool, now_ns: int) -> None:
    """The reaction to one ACK: `acked` segments left the queue, `tagged` were SACKed, `duplicate`: it reports nothing new."""
    if not tp.sack_ok:
        if duplicate and tp.rtx_queue:
            tp.sacked_out = min(tp.sacked_out + 1, max(len(tp.rtx_queue) - 1, 0))
        elif advanced:
            # duplicate ACKs have reported as many of these before, and they count once (tcp_remove_reno_sacks)
            delivered = max(acked - tp.sacked_out, 1) if acked else 0
            tp.sacked_out = max(tp.sacked_out - acked + 1, 0) if tp.ca_state == "recovery" else 0
            acked = delivered
    _leave(tp)
    if tp.ca_state == "open" and not (tp.sacked_out or tp.lost_out or tp.retrans_out):
        grow_cwnd(tp, acked)
        return
    if tp.sack_ok:
        lost = tp.rack_advanced and rack_detect_loss(tp, now_ns)
        tp.rack_advanced = False
    else:
        lost = _newreno_loss(tp, advanced)
    if lost and tp.ca_state in ("open", "disorder"):
        enter_recovery(tp)
    elif tp.ca_state in ("open", "disorder"):
        tp.ca_state = "disorder" if tp.sacked_out else "open"
    if tp.ca_state == "recovery":
        reduce_cwnd(tp, acked + tagged + (duplicate and not tp.sack_ok), lost, advanced)
    elif acked:
        grow_cwnd(tp, acked)
    if tp.ca_state in ("recovery", "loss"):
        retransmit_lost(tp, now_ns)


def _leave(tp: TcpSock) -> None:
    """Recovery ends when what was out at its beginning has arrived (NewReno: one more)."""
    if tp.ca_state == "recovery" and (tp.snd_una > tp.high_seq or (tp.sack_ok and tp.snd_una == tp.high_seq)):
        if tp.undo_marker and tp.undo_retrans == 0:
            _undo(tp)
        else:
            tp.cwnd = tp.ssthresh
        tp.undo_marker = False
        tp.ca_state, tp.retrans_stamp = "open", 0
        if not tp.sack_ok:
            tp.sacked_out = 0
    elif tp.ca_state == "loss" and tp.snd_una >= tp.high_seq:
        if tp.undo_marker and tp.undo_retrans == 0:
            _undo(tp)
        tp.undo_marker = False
        tp.ca_state, tp.retrans_stamp = "open", 0


def _newreno_loss(tp: TcpSock, advanced: bool) -> bool:
    """Three duplicate ACKs, or a partial one in recovery, condemn the head."""
    if not tp.rtx_queue:
        return False
    head = tp.rtx_queue[0]
    if head.lost:
        return False
    if (tp.ca_state == "recovery" and advanced) or (
        tp.ca_state != "loss" and tp.sacked_out >= REORDERING and not head.retrans
    ):
        mark_lost(tp, head)
        return True
    return False


def retransmit_lost(tp: TcpSock, now_ns: int) -> None:
    """Send lost pieces again, oldest first, as the congestion window allows (tcp_xmit_retransmit_queue)."""
    if not tp.lost_out:
        return
    armed = False
    index = 0
    run: list[Skb] = []
    while index < len(tp.rtx_queue) and tp.in_flight < tp.cwnd:  # `retransmit` may cut or join what follows
        skb = tp.rtx_queue[index]
        index += 1
        if not skb.lost or skb.retrans or skb.sacked:
            continue
        if not (run and skb.burst and run[-1].end_seq == skb.seq):
            _end_run(tp, run)
        if not retransmit(tp, skb, now_ns):
            index -= 1
            break
        run.append(skb)
        if tp.ca_state == "recovery":
            tp.prr_out += 1
        armed = armed or skb is tp.rtx_queue[0]
    if run and index < len(tp.rtx_queue):
        tp.rtx_queue[index].burst = False  # whatever is sent next of this buffer is a buffer of its own
    _end_run(tp, run)
    if armed and tp.xmit_timer != "reordering":
        rearm_rto(tp, now_ns)


def _end_run(tp: TcpSock, run: list[Skb]) -> None:
    """Pieces of one buffer go as one, and several of them end with PSH as every burst does."""
    if len(run) > 1:
        tp.out[-1].flags |= PSH
    run.clear()
