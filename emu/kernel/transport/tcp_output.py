"""What a TCP connection sends and when: Nagle, windows, bursts, acknowledgements, FIN.

After RFC 9293 section 3.8 and Linux's net/ipv4/tcp_output.c. Segments are put on `tp.out`. Must not know frames, ports or a clock.
"""

from __future__ import annotations

from typing import Final

from emu.kernel.transport.seqnum import MASK
from emu.kernel.transport.tcp_options import Segment
from emu.kernel.transport.tcp_sndbuf import check_space, has_room
from emu.kernel.transport.tcp_sock import (
    ATO_MIN_NS,
    DELACK_MAX_NS,
    DELACK_MIN_NS,
    GSO_MAX,
    MIN_PATH_MSS,
    MS,
    MSS_DEFAULT,
    TICK_NS,
    TIMEOUT_MIN_NS,
    Skb,
    TcpSock,
    in_ticks,
)
from emu.kernel.transport.tcp_window import select_window
from emu.wire.tcp import ACK, FIN, PSH, RST, SYN

# How eager to send a segment that is not full (Linux's tcp_sock.nonagle).
NAGLE_ON: Final = 0
NAGLE_OFF: Final = 1
NAGLE_PUSH: Final = 2


def timestamp(tp: TcpSock, now_ns: int) -> int:
    """TSval: a millisecond clock with the connection's own offset."""
    return (now_ns // MS + tp.ts_offset) & 0xFFFFFFFF


def sync_mss(tp: TcpSock) -> None:
    """Payload of a full segment: what path and peer take, less constant options, and at most half of the largest window seen."""
    header_options = tp.header_options
    mss = max(min(tp.path_mss, tp.mss_clamp), MIN_PATH_MSS) - header_options
    if tp.max_window:
        half = tp.max_window >> 1 if tp.max_window > MSS_DEFAULT else tp.max_window
        mss = min(mss, max(half, 68 - 20 - header_options))
    tp.mss_cache = max(mss, 1)


def _sack_room(tp: TcpSock) -> int:
    return 3 if tp.ts_ok else 4


def _sack_blocks(tp: TcpSock) -> tuple[tuple[int, int], ...]:
    blocks = ([tp.dsack] if tp.dsack else []) + tp.sack_blocks
    return tuple((tp.wire(left), tp.wire(right)) for left, right in blocks[: _sack_room(tp)])


def current_mss(tp: TcpSock) -> int:
    if not tp.sack_ok or not (tp.sack_blocks or tp.dsack is not None):
        return tp.mss_cache
    blocks = min(len(tp.sack_blocks) + (tp.dsack is not None), _sack_room(tp))
    return max(tp.mss_cache - (4 + 8 * blocks), 1)


def transmit(tp: TcpSock, seq: int, data: bytes | bytearray, flags: int, mss: int, now_ns: int) -> None:
    """Put one segment (several, when `data` is longer than `mss`: FIN and PSH go with the last) on the way."""
    window = select_window(tp)
    ts = ((now_ns // MS + tp.ts_offset) & MASK, tp.ts_recent) if tp.ts_ok else None
    sack: tuple[tuple[int, int], ...] = ()
    if tp.sack_ok and (tp.sack_blocks or tp.dsack):
        sack = _sack_blocks(tp)
        tp.dsack = None
    ack = tp.rcv_nxt & MASK
    out = tp.out
    at, end = 0, len(data)
    while end - at > mss:
        out.append(
            Segment(
                tp.wire(seq + at),
                ack,
                flags & ~(FIN | PSH) | ACK,
                window,
                bytes(data[at : at + mss]),
                ts=ts,
                sack=sack,
                burst=True,
            )
        )
        at += mss
        flags |= PSH  # a burst ends with PSH, so that the receiver's GRO lets go
    last = b"" + data[at:] if at else b"" + data
    out.append(Segment(seq + at & MASK, ack, flags | ACK, window, last, None, None, False, ts, sack, False, at > 0))
    sent(tp, end, now_ns)


def sent(tp: TcpSock, size: int, now_ns: int) -> None:
    """A segment with an ACK and `size` bytes of data left (tcp_event_ack_sent, tcp_event_data_sent)."""
    quick = tp.quick
    if quick:  # tcp_dec_quickack_mode
        if quick > tp.ack_scheduled:
            tp.quick = quick - tp.ack_scheduled
        else:
            tp.quick, tp.ato_ns = 0, ATO_MIN_NS
    tp.ack_scheduled = tp.ack_now = tp.ack_pushed = tp.ack_pushed2 = False
    tp.delack_at = None
    tp.compressed, tp.compressed_at = 0, None
    if size:
        if now_ns - tp.lrcvtime < tp.ato_ns and tp.pingpong < 255:
            tp.pingpong += 1
        tp.lsndtime = now_ns


def transmit_syn(tp: TcpSock, now_ns: int) -> None:
    """The SYN of an active open; the SYN-ACK when a SYN has come (simultaneous open)."""
    answer = tp.state == "SYN_RECV"
    tp.out.append(
        Segment(
            tp.wire(tp.iss),
            tp.wire(tp.rcv_nxt) if answer else 0,
            SYN | ACK if answer else SYN,
            min(tp.rcv_wnd, 0xFFFF),
            mss=tp.advmss,
            wscale=tp.rcv_wscale if tp.wscale_ok else None,
            sack_ok=tp.sack_ok,
            ts=(timestamp(tp, now_ns), tp.ts_recent) if tp.ts_ok else None,
        )
    )


def send_ack(tp: TcpSock, now_ns: int) -> None:
    """A bare ACK, now."""
    if tp.state != "CLOSE":
        transmit(tp, tp.snd_nxt if tp.snd_nxt <= tp.wnd_end or not tp.snd_wnd else tp.wnd_end, b"", 0, 1, now_ns)


def ack_limited(tp: TcpSock, now_ns: int) -> bool:
    """tcp_oow_rate_limited: no more than one answer in half a second (tcp_invalid_ratelimit), in ticks, to segments out of the window."""
    last = tp.last_oow_ack
    if last is not None and now_ns - last < tp.config.invalid_ratelimit_ns:
        return True
    tp.last_oow_ack = now_ns - now_ns % TICK_NS
    return False


def send_reset(tp: TcpSock, now_ns: int) -> None:
    """An active reset, [RA] with the connection's numbers and window (tcp_send_active_reset)."""
    transmit(tp, tp.snd_nxt, b"", RST, 1, now_ns)


def send_delayed_ack(tp: TcpSock, now_ns: int) -> None:
    """Let the ACK wait for data of ours or the delayed-ACK timer, whichever is first."""
    ato = tp.ato_ns
    if ato > DELACK_MIN_NS:
        most = DELACK_MAX_NS if tp.ack_pushed or tp.in_pingpong else 500 * MS
        if tp.srtt_ns:
            most = min(most, max(in_ticks(tp.srtt_ns), DELACK_MIN_NS))
        ato = min(ato, most)
    # each segment with data passes here: comparisons, where min and max would be calls
    if ato > DELACK_MAX_NS:
        ato = DELACK_MAX_NS
    # no timer fires before the next tick: an application that closes at once answers a FIN without an ACK of its own
    if ato < TICK_NS:
        ato = TICK_NS
    tick_ns = now_ns - now_ns % TICK_NS
    due = tick_ns + ato
    if tp.delack_at is not None:
        if tp.delack_at <= tick_ns + ato // (4 * TICK_NS) * TICK_NS:
            send_ack(tp, now_ns)
            return
        due = min(due, tp.delack_at)
    tp.ack_scheduled = True
    tp.delack_at = due


# The send queue.


def queue_data(tp: TcpSock, data: bytes, now_ns: int, *, more: bool = False) -> int:
    """write(2): append to the last unsent piece or start new ones; send on the way what fills up (tcp_sendmsg).

    Gives how many bytes were taken: all, unless the send buffer has no room for one piece more.
    """
    nagle = NAGLE_OFF if tp.nodelay else NAGLE_ON
    restart_after_idle(tp, now_ns)
    at, end = 0, len(data)
    while at < end:
        mss = current_mss(tp)
        goal = max(min(GSO_MAX, max(tp.max_window >> 1, mss)) // mss * mss, mss)
        tail = tp.write_queue[-1] if tp.write_queue else None
        if tail is None or len(tail.data) >= goal or not isinstance(tail.data, bytearray):
            if not has_room(tp):
                tp.no_space = True
                if at:
                    _mark_push(tp, tp.write_queue[-1] if tp.write_queue else None)
                    push_pending(tp, NAGLE_PUSH, now_ns)
                break
            tail = Skb(tp.write_seq, bytearray())
            tp.write_queue.append(tail)
        piece = data[at : at + goal - len(tail.data)]
        tail.data += piece
        tail.flags &= ~PSH
        at += len(piece)
        tp.write_seq += len(piece)
        if at == end or len(tail.data) < goal:
            continue
        if tp.write_seq > tp.pushed_seq + (tp.max_window >> 1):
            _mark_push(tp, tail)
            push_pending(tp, NAGLE_PUSH, now_ns)
        elif tail is tp.write_queue[0]:
            write_xmit(tp, current_mss(tp), NAGLE_PUSH, 1, now_ns)
    if tp.write_queue and (at or not data):
        if not more or tp.write_seq > tp.pushed_seq + (tp.max_window >> 1):
            _mark_push(tp, tp.write_queue[-1])
        push_pending(tp, 2 * NAGLE_PUSH if more else nagle, now_ns)
    return at


def queue_early(tp: TcpSock, data: bytes) -> None:
    """Data written before the connection stands: it goes with the end of the handshake."""
    if not tp.write_queue:
        tp.write_queue.append(Skb(tp.write_seq, bytearray()))
    tail = tp.write_queue[-1]
    tail.data += data
    tail.flags |= PSH
    tp.write_seq += len(data)


def _mark_push(tp: TcpSock, skb: Skb | None) -> None:
    if skb is not None:
        skb.flags |= PSH
        tp.pushed_seq = tp.write_seq


def restart_after_idle(tp: TcpSock, now_ns: int) -> None:
    """The congestion window of an idle connection is worth less (tcp_slow_start_after_idle_check)."""
    idle = now_ns - now_ns % TICK_NS - (tp.lsndtime - tp.lsndtime % TICK_NS)
    if idle <= tp.rto_ns or tp.rtx_queue or not tp.config.slow_start_after_idle:
        return
    tp.ssthresh = max(tp.ssthresh, (tp.cwnd >> 1) + (tp.cwnd >> 2))
    floor = min(tp.cwnd, 10)
    idle -= tp.rto_ns
    while idle > 0 and tp.cwnd > floor:
        tp.cwnd >>= 1
        idle -= tp.rto_ns
    tp.cwnd = max(tp.cwnd, floor)


def queue_fin(tp: TcpSock, now_ns: int) -> None:
    """FIN rides on the last unsent piece, else goes alone (tcp_send_fin)."""
    if tp.write_queue:
        tp.write_queue[-1].flags |= FIN
    else:
        tp.write_queue.append(Skb(tp.write_seq, b"", FIN))
    tp.write_seq += 1
    push_pending(tp, NAGLE_OFF, now_ns)


def push_pending(tp: TcpSock, nagle: int, now_ns: int) -> None:
    """Send what may be sent; when the window forbids all of it, watch the window (zero window probes)."""
    if not tp.write_queue or tp.state in ("CLOSE", "SYN_SENT", "SYN_RECV"):
        return
    write_xmit(tp, current_mss(tp), nagle, 0, now_ns)
    if not tp.rtx_queue and tp.write_queue and not tp.xmit_timer:
        tp.start_xmit_timer("zero window probe", now_ns + max(tp.rto_ns, tp.config.rto_min_ns))


def push(tp: TcpSock, now_ns: int) -> None:
    push_pending(tp, NAGLE_OFF if tp.nodelay else NAGLE_ON, now_ns)


def _nagle_holds(tp: TcpSock, partial: bool, nagle: int) -> bool:
    """Minshall's form: a small segment waits only while another small one is unacknowledged; with MSG_MORE always."""
    return partial and (
        nagle == 2 * NAGLE_PUSH or (nagle == NAGLE_ON and bool(tp.rtx_queue) and tp.snd_una < tp.snd_sml <= tp.snd_nxt)
    )


def _should_defer(tp: TcpSock, skb: Skb, most: int, mss: int, now_ns: int) -> bool | None:
    """Wait for the next ACK to send a larger burst (tcp_tso_should_defer)? None: yes, and not because of the congestion window."""
    if tp.ca_state in ("recovery", "loss") or not tp.rtx_queue or now_ns - tp.lsndtime > MS:
        return False
    send_win, cong_win = tp.wnd_end - skb.seq, (tp.cwnd - tp.in_flight) * mss
    limit = min(send_win, cong_win)
    if limit >= most * mss or (skb is not tp.write_queue[-1] and limit >= len(skb.data)):
        return False
    divisor = tp.config.tso_win_divisor
    if divisor:
        if limit >= min(tp.snd_wnd, tp.cwnd * mss) // divisor:
            return False
    elif limit > 3 * mss:
        return False
    if tp.rtx_queue[0].sent_ns + tp.srtt_ns - now_ns > min(tp.srtt_ns >> 1, MS):
        return False  # the next ACK comes too late
    if cong_win < send_win:
        if cong_win <= len(skb.data):
            return True
    elif send_win <= len(skb.data):
        return None
    return False if skb.flags & FIN else None


def _grow(tp: TcpSock, amount: int) -> None:
    """Take up to `amount` bytes more into the first piece from the one behind it, for a larger burst (tcp_grow_skb)."""
    queue = tp.write_queue
    if amount <= 0 or len(queue) < 2:
        return
    skb, behind = queue[0], queue[1]
    more = min(amount, len(behind.data))
    if not more:
        return
    skb.data = skb.data + behind.data[:more]
    behind.data, behind.seq = behind.data[more:], behind.seq + more
    if not behind.data:
        skb.flags |= behind.flags
        del queue[1]


def _split_point(tp: TcpSock, skb: Skb, mss: int, quota: int, nagle: int) -> int:
    window = tp.wnd_end - skb.seq
    most = mss * quota
    if most <= window and skb is not tp.write_queue[-1]:
        return most
    needed = min(len(skb.data), window)
    if most <= needed:
        return most
    partial = needed % mss
    return needed - partial if _nagle_holds(tp, partial != 0, nagle) else needed


def _tso_segs(tp: TcpSock, mss: int) -> int:
    """How many segments one buffer may hold: about a millisecond's worth, at least two; on a short way any number.

    Of Linux's tcp_tso_autosize and tcp_update_pacing_rate.
    """
    if not tp.srtt_ns:
        return GSO_MAX // mss
    config = tp.config
    ratio = config.pacing_ratios[tp.cwnd >= tp.ssthresh >> 1]
    rate = mss * max(tp.cwnd, len(tp.rtx_queue)) * ratio * 10_000_000 // tp.srtt_ns  # bytes a second
    size = rate >> 10
    halvings = tp.min_rtt_ns // 1000 >> config.tso_rtt_log if config.tso_rtt_log else 32
    if tp.min_rtt_ns and halvings < 32:
        size += 65536 >> halvings
    return max(min(size, GSO_MAX) // mss, config.min_tso_segs)


def write_xmit(tp: TcpSock, mss: int, nagle: int, push_one: int, now_ns: int) -> bool:
    """Send from the queue as far as windows and Nagle allow; `push_one`: 1 one piece, 2 one as a tail loss probe."""
    sent = limited = tp.probing = False
    tp.mstamp = now_ns
    queue = tp.write_queue
    most = 0
    while queue:
        skb = queue[0]
        in_flight = tp.in_flight
        quota = 1
        if in_flight >= tp.cwnd:
            if push_one != 2:
                limited = True
                break
        elif len(skb.data) > mss or len(queue) > 1:
            quota = min(max(tp.cwnd >> 1, 1), tp.cwnd - in_flight)
        if len(skb.data) > mss or len(queue) > 1:
            most = _tso_segs(tp, mss)
            quota = min(quota, most)
            _grow(tp, quota * mss - len(skb.data))
        size = len(skb.data)
        if (skb.seq + mss if size > mss else skb.end_seq) > tp.wnd_end:
            break
        limit = mss
        if size <= mss:
            held = not skb.flags & FIN and len(queue) == 1 and _nagle_holds(tp, size < mss, nagle)
            if held and nagle != NAGLE_PUSH:
                break
        else:
            defers = not push_one and _should_defer(tp, skb, most, mss, now_ns)
            if defers is not False:
                limited = bool(defers)
                break
            limit = max(_split_point(tp, skb, mss, quota, nagle), mss)
        if size > limit:
            queue.appendleft(split(skb, limit))
            queue[1] = skb
            skb = queue[0]
        transmit(tp, skb.seq, skb.data, skb.flags, mss, now_ns)
        new_data_sent(tp, skb, mss, now_ns)
        sent = True
        if push_one:
            break
    limited = limited or tp.in_flight >= tp.cwnd
    if sent and tp.ca_state == "recovery":
        tp.prr_out += 1
    if sent or limited:
        out = len(tp.rtx_queue)
        if tp.snd_una >= tp.cwnd_usage_seq or limited or (not tp.cwnd_limited and out > tp.max_packets_out):
            tp.cwnd_limited, tp.max_packets_out, tp.cwnd_usage_seq = limited, out, tp.snd_nxt
    if sent and push_one != 2:
        schedule_loss_probe(tp, now_ns, advancing=False)
    return sent


def split(skb: Skb, at: int) -> Skb:
    """Cut the first `at` bytes off; the rest stays in `skb`, and FIN and PSH with it."""
    first = Skb(skb.seq, skb.data[:at], skb.flags & ~(FIN | PSH))
    first.sent_ns, first.sacked, first.lost = skb.sent_ns, skb.sacked, skb.lost
    first.retrans, first.ever_retrans, first.burst = skb.retrans, skb.ever_retrans, skb.burst
    skb.data = skb.data[at:]
    skb.seq += at
    return first


def new_data_sent(tp: TcpSock, skb: Skb, mss: int, now_ns: int) -> None:
    """Move the sent head to the retransmission queue, segment by segment."""
    tp.write_queue.popleft()
    idle = not tp.rtx_queue
    end_seq = tp.snd_nxt = skb.end_seq
    size = len(skb.data)
    if size % mss or not size:
        tp.snd_sml = end_seq
    skb.sent_ns = now_ns
    while len(skb.data) > mss:
        tp.rtx_queue.append(split(skb, mss))
        skb.burst = True
    tp.rtx_queue.append(skb)
    if idle:
        tp.probe_at = tp.xmit_at if tp.xmit_timer == "zero window probe" else None
        rearm_rto(tp, now_ns)
    elif tp.xmit_timer == "tail loss probe":
        rearm_rto(tp, now_ns)
    if tp.no_space:
        check_space(tp)


# Timers that sending and acknowledging (re)arm.


def rearm_rto(tp: TcpSock, now_ns: int) -> None:
    """One RTO from now; from the first unacknowledged segment's time when a probe had the timer."""
    if not tp.rtx_queue:
        tp.stop_xmit_timer()
        return
    due = now_ns + tp.rto_ns
    if tp.xmit_timer in ("reordering", "tail loss probe"):
        due = max(tp.rtx_queue[0].sent_ns + tp.rto_ns, now_ns + 1000)
    tp.start_xmit_timer("retransmit", due)


def schedule_loss_probe(tp: TcpSock, now_ns: int, *, advancing: bool) -> bool:
    """Arm the tail loss probe (RFC 8985 section 7.2), when SACK is on and nothing is known to be missing."""
    if not (tp.config.early_retrans and tp.rtx_queue and tp.sack_ok and tp.ca_state == "open") or tp.sacked_out:
        return False
    if tp.state in ("SYN_SENT", "SYN_RECV"):
        return False
    if tp.srtt_ns:
        wait = 2 * tp.srtt_ns + (tp.config.rto_min_ns if len(tp.rtx_queue) == 1 else TIMEOUT_MIN_NS)
    else:
        wait = tp.config.timeout_init_ns
    left = tp.rto_ns if advancing else tp.rtx_queue[0].sent_ns + tp.rto_ns - now_ns
    if 0 < left < wait:
        wait = left
    tp.start_xmit_timer("tail loss probe", now_ns + wait)
    return True
