"""The sender's side of an incoming segment: what its ACK, window and SACK report, and the round-trip time.

After RFC 9293 section 3.10.7.4 (fifth check), RFC 6298, and Linux's tcp_ack. Must not know payloads.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from emu.kernel.transport import tcp_recovery as recovery
from emu.kernel.transport.tcp_options import Segment
from emu.kernel.transport.tcp_output import rearm_rto, restart_after_idle, schedule_loss_probe, sync_mss, timestamp
from emu.kernel.transport.tcp_sock import MS, TICK_NS, TcpSock
from emu.wire.tcp import SYN

ACCEPTED: Final = "accepted"
OLD: Final = "old"
TOO_OLD: Final = "too old"  # answered with a challenge ACK (RFC 5961 section 5)
UNSENT: Final = "unsent"  # acknowledges what was never sent
Judgement: TypeAlias = Literal["accepted", "old", "too old", "unsent"]


def rtt_sample(tp: TcpSock, rtt_ns: int) -> None:
    """RFC 6298, but the variance never counts for less than rto_min, and falls slowly (tcp_rtt_estimator)."""
    if not tp.srtt_ns:
        tp.srtt_ns = max(rtt_ns, 1000)
        tp.mdev_ns = rtt_ns // 2
        tp.rttvar_ns = tp.mdev_max_ns = max(2 * rtt_ns, tp.config.rto_min_ns)
        tp.rtt_seq = tp.snd_nxt
    else:
        srtt_ns, mdev_ns = tp.srtt_ns, tp.mdev_ns
        error = rtt_ns - srtt_ns
        srtt_ns += error >> 3
        tp.srtt_ns = srtt_ns
        if srtt_ns < 1000:
            tp.srtt_ns = 1000
        # `mdev` here is the mean deviation; Linux keeps four times it.
        deviation = (error if error > 0 else -error) - mdev_ns
        if error < 0 and deviation > 0:
            deviation //= 8  # a falling round-trip time should not raise the timeout
        tp.mdev_ns = mdev_ns = mdev_ns + (deviation >> 2)
        most = tp.mdev_max_ns
        if 4 * mdev_ns > most:
            tp.mdev_max_ns = most = 4 * mdev_ns
        if most > tp.rttvar_ns:
            tp.rttvar_ns = most
        if tp.snd_una > tp.rtt_seq:
            if most < tp.rttvar_ns:
                tp.rttvar_ns -= (tp.rttvar_ns - most) // 4
            tp.rtt_seq = tp.snd_nxt
            tp.mdev_max_ns = tp.config.rto_min_ns
    if not tp.min_rtt_ns or rtt_ns < tp.min_rtt_ns:
        tp.min_rtt_ns = rtt_ns
    tp.rto_ns = -(-(tp.srtt_ns + tp.rttvar_ns) // TICK_NS) * TICK_NS  # `in_ticks`
    tp.backoff = 0


def update_window(tp: TcpSock, window: int, seq: int, ack: int) -> bool:
    """Take the peer's window, in bytes, from the newest segment (SND.WL1 and SND.WL2 of RFC 9293)."""
    if ack > tp.snd_una or seq > tp.snd_wl1 or (seq == tp.snd_wl1 and (window > tp.snd_wnd or not window)):
        tp.snd_wl1 = seq
        if window != tp.snd_wnd:
            tp.snd_wnd = window
            if window > tp.max_window:
                tp.max_window = window
                sync_mss(tp)
            if tp.write_queue:
                restart_after_idle(tp, tp.mstamp)
            return True
    return False


def handle_ack(tp: TcpSock, segment: Segment, seq: int, ack: int, now_ns: int) -> Judgement:
    """Work off an acknowledgement; `seq`, `ack` are unwrapped."""
    prior_una = tp.snd_una
    prior_fack = tp.fackets_high if tp.sacked_out and tp.sack_ok else prior_una  # tcp_highest_sack_seq
    if ack < prior_una:
        if ack < prior_una - (tp.max_window or 1):
            return TOO_OLD
        if segment.sack and tp.sack_ok and tp.rtx_queue:
            tagged, _ = recovery.sack_tag(tp, segment.sack, prior_una, prior_una, now_ns)
            recovery.process(tp, 0, tagged, duplicate=False, advanced=False, now_ns=now_ns)
        return OLD
    if ack > tp.snd_nxt:
        return UNSENT
    advanced = ack > prior_una
    if advanced:
        tp.retransmits = 0
    window = segment.window if segment.flags & SYN else segment.window << tp.snd_wscale
    window_changed = update_window(tp, window, seq, ack)
    tp.snd_una = ack
    tp.rcv_tstamp = now_ns
    tp.probes_out = 0
    tp.soft_error = None
    if not tp.rtx_queue:
        if tp.write_queue:
            probe_answered(tp, now_ns)
        return ACCEPTED

    tagged, sack_sent = 0, -1
    if segment.sack and tp.sack_ok:
        tagged, sack_sent = recovery.sack_tag(tp, segment.sack, ack, prior_una, now_ns)
    acked, first_sent = _clean_rtx_queue(tp, ack, prior_fack, now_ns)
    update_rtt(tp, segment, first_sent if first_sent >= 0 else sack_sent, advanced, now_ns)
    queue = tp.rtx_queue

    duplicate = not advanced and not segment.payload and not window_changed and not segment.flags & SYN
    if advanced or tagged or duplicate:
        tp.progress = True
    if advanced or tagged:
        if not queue:
            tp.stop_xmit_timer()
        elif not schedule_loss_probe(tp, now_ns, advancing=True):
            rearm_rto(tp, now_ns)
    if tp.tlp_high_seq:
        _probe_acknowledged(tp, ack, advanced=advanced, duplicate=duplicate and not segment.sack)
    recovery.process(tp, acked, tagged, duplicate=duplicate, advanced=advanced, now_ns=now_ns)
    if not queue:
        if tp.write_queue:
            probe_answered(tp, now_ns)
    elif advanced and tp.xmit_timer == "retransmit" and tp.ca_state == "open":
        schedule_loss_probe(tp, now_ns, advancing=True)
    return ACCEPTED


def _clean_rtx_queue(tp: TcpSock, ack: int, prior_fack: int, now_ns: int) -> tuple[int, int]:
    """Forget what is acknowledged: (how many newly, when the first of them was sent; -1 when a copy makes that doubtful).

    What arrives after something behind it was reported (`prior_fack`), and was never sent again, was overtaken on the way."""
    acked, first_sent, doubtful = 0, -1, False
    queue = tp.rtx_queue
    while queue:
        skb = queue[0]
        end_seq = skb.end_seq
        if end_seq > ack:
            break
        queue.popleft()
        if skb.ever_retrans:
            doubtful = True
        if not skb.sacked:
            acked += 1
            if not skb.ever_retrans:
                if first_sent < 0:
                    first_sent = skb.sent_ns
                if skb.seq < prior_fack:
                    tp.reordering_seen = True
            recovery.rack_advance(tp, skb, end_seq, now_ns)
        if skb.sacked or skb.lost or skb.retrans:
            recovery.forget(tp, skb)
    return acked, -1 if doubtful else first_sent


def update_rtt(tp: TcpSock, segment: Segment, sent_ns: int, advanced: bool, now_ns: int) -> None:
    """One round-trip sample: from the send time, else (Karn) from the echoed timestamp."""
    if sent_ns >= 0:
        rtt_sample(tp, now_ns - sent_ns)
    elif advanced and tp.ts_ok and segment.ts is not None and segment.ts[1]:
        rtt_sample(tp, max((timestamp(tp, now_ns) - segment.ts[1]) & 0xFFFFFFFF, 1) * MS)


def _probe_acknowledged(tp: TcpSock, ack: int, *, advanced: bool, duplicate: bool) -> None:
    """After a tail loss probe: was something lost that the probe repaired? Then slow down (RFC 8985 section 7.4)."""
    if ack < tp.tlp_high_seq:
        return
    if not tp.tlp_retrans:
        tp.tlp_high_seq = 0
    elif ack > tp.tlp_high_seq:
        tp.ssthresh = tp.cwnd = max(tp.cwnd >> 1, 2)
        tp.tlp_high_seq = 0
    elif duplicate and not advanced:
        tp.tlp_high_seq = 0


def probe_answered(tp: TcpSock, now_ns: int) -> None:
    """Nothing is out, and something waits: a window that takes the next piece ends the probing, else the next probe is due (tcp_ack_probe)."""
    if tp.write_queue[0].end_seq <= tp.wnd_end:
        tp.backoff = 0
        if tp.xmit_timer == "zero window probe":
            tp.stop_xmit_timer()
    else:
        wait = min(max(tp.rto_ns, tp.config.rto_min_ns) << tp.backoff, tp.config.rto_max_ns)
        tp.start_xmit_timer("zero window probe", now_ns + wait)
