"""A write, or a FIN, that leaves at once as one segment, in one function.

After tcp_sendmsg_locked, tcp_send_fin, tcp_write_xmit, __tcp_transmit_skb, tcp_event_new_data_sent and tcp_schedule_loss_probe in net/ipv4,
as far as they go when nothing waits and nothing is out: no burst to measure, no Nagle, no sum over queues, and the timer is
set once. Everything else is `queue_data` and `queue_fin` of tcp_output. Must not know frames, ports or a clock.
"""

from __future__ import annotations

from emu.kernel.transport.seqnum import MASK
from emu.kernel.transport.tcp_output import restart_after_idle, sent
from emu.kernel.transport.tcp_sock import MS, Skb, TcpSock
from emu.kernel.transport.tcp_window import select_window
from emu.wire.frame import Plain
from emu.wire.tcp import ACK, FIN


def push_one(tp: TcpSock, data: bytes, flags: int, now_ns: int) -> Plain | None:
    """The segment of `data`, written in state ESTABLISHED or CLOSE_WAIT (`flags` is PSH), or that of the FIN of a connection that
    ends (FIN, and no data), which leaves now. None: there is none or too much, or something stands in the way, and nothing was
    changed."""
    size, seq = len(data), tp.write_seq
    end_seq = seq + size + (flags & FIN)
    if (
        end_seq == seq
        or size > tp.mss_cache
        or tp.write_queue
        or tp.rtx_queue
        or end_seq > tp.snd_una + tp.snd_wnd
        or tp.ca_state != "open"
        or tp.sack_blocks
        or tp.dsack is not None
        or tp.no_space
        or tp.sacked_out
        or not tp.cwnd
        or not tp.sndbuf
    ):
        return None
    if size:
        if now_ns - tp.lsndtime > tp.rto_ns:
            restart_after_idle(tp, now_ns)
        tp.pushed_seq = end_seq
    skb = Skb(seq, data, flags)
    tp.write_seq = tp.snd_nxt = end_seq
    tp.probing = False
    tp.mstamp = skb.sent_ns = now_ns
    ts = ((now_ns // MS + tp.ts_offset) & MASK, tp.ts_recent) if tp.ts_ok else None
    plain = seq & MASK, tp.rcv_nxt & MASK, flags | ACK, select_window(tp), data, ts
    sent(tp, size, now_ns)
    if size != tp.mss_cache:
        tp.snd_sml = end_seq
    tp.rtx_queue.append(skb)
    limited = tp.cwnd <= 1
    if tp.snd_una >= tp.cwnd_usage_seq or limited or (not tp.cwnd_limited and tp.max_packets_out < 1):
        tp.cwnd_limited, tp.max_packets_out, tp.cwnd_usage_seq = limited, 1, end_seq
    config, wait = tp.config, tp.rto_ns
    probed = config.early_retrans and tp.sack_ok
    tp.probe_at = tp.xmit_at if tp.xmit_timer == "zero window probe" else None
    tp.xmit_timer = "tail loss probe" if probed else "retransmit"
    if probed:
        probe = 2 * tp.srtt_ns + config.rto_min_ns if tp.srtt_ns else config.timeout_init_ns
        if not 0 < wait < probe:
            wait = probe
    tp.xmit_at = now_ns + wait
    return plain
