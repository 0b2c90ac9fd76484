"""The receiver's side: payload into order, FIN, SACK blocks to report, and whether to acknowledge now or later.

After RFC 9293 section 3.10.7.4 (seventh, eighth check), RFC 2018, RFC 2883 and Linux's tcp_data_queue and
__tcp_ack_snd_check. Must not know what we send.
"""

from __future__ import annotations

from bisect import bisect_right

from emu.kernel.transport.tcp_output import send_ack, send_delayed_ack
from emu.kernel.transport.tcp_rmem import RxSkb
from emu.kernel.transport.tcp_sock import ATO_MIN_NS, MAX_QUICKACKS, REORDERING, TICK_NS, Early, TcpSock
from emu.kernel.transport.tcp_window import grow_window, measure_rcv_mss, measure_rcv_rtt, offered_window, rcvbuf_grow

SACK_BLOCKS_EXPECTED = 2  # TCP_SACK_BLOCKS_EXPECTED


def incr_quickack(tp: TcpSock) -> None:
    count = tp.rcv_wnd // (2 * tp.rcv_mss) or 2
    tp.quick = max(tp.quick, min(count, MAX_QUICKACKS))


def enter_quickack_mode(tp: TcpSock) -> None:
    """Acknowledge at once for a while: something is wrong, the sender should know."""
    incr_quickack(tp)
    tp.pingpong = 0
    tp.ato_ns = ATO_MIN_NS


def data_received(tp: TcpSock, skb: RxSkb, pushed: bool, now_ns: int) -> None:
    """Bookkeeping of one payload (tcp_event_data_recv): delayed-ACK estimate, segment size, window growth."""
    tp.ack_scheduled = True
    measure_rcv_mss(tp, skb, pushed)
    measure_rcv_rtt(tp, now_ns)
    estimate_ato(tp, now_ns)
    grow_window(tp, skb, skb.payload_truesize)


def estimate_ato(tp: TcpSock, now_ns: int) -> None:
    """How long an ACK may wait, by how often data comes; counted in ticks."""
    tick_ns = now_ns - now_ns % TICK_NS
    gap = tick_ns - tp.lrcvtime
    tp.lrcvtime = tick_ns
    half = tp.ato_ns // (2 * TICK_NS) * TICK_NS
    if not tp.ato_ns:
        incr_quickack(tp)
        tp.ato_ns = ATO_MIN_NS
    elif gap <= ATO_MIN_NS // 2:
        tp.ato_ns = half + ATO_MIN_NS // 2
    elif gap < tp.ato_ns:
        tp.ato_ns = min(half + gap, tp.rto_ns)
    elif gap > tp.rto_ns:
        incr_quickack(tp)  # the sender was long silent: it will slow-start


def queue_payload(tp: TcpSock, seq: int, payload: bytes, *, fin: bool, pushed: bool, now_ns: int) -> None:
    """Put what a segment brought where it belongs. `seq` is unwrapped, of the first payload byte."""
    end_seq = seq + len(payload) + fin
    if end_seq == seq:
        return
    if end_seq <= tp.rcv_nxt:  # all of it is old: our ACK was lost
        if tp.sack_ok:
            tp.dsack = (seq, end_seq)
        enter_quickack_mode(tp)
        tp.ack_scheduled = True
        return
    if seq >= tp.rcv_nxt + tp.receive_window:
        enter_quickack_mode(tp)
        tp.ack_scheduled = True
        return
    skb = RxSkb(payload, tp.rcv_cut, tp.rcv_gso_size)
    if tp.from_backlog:
        skb.condense()
    if seq > tp.rcv_nxt:
        measure_rcv_mss(tp, skb, pushed)
        tp.ack_scheduled = True
        _queue_out_of_order(tp, seq, end_seq, skb, fin, now_ns)
        return
    if seq < tp.rcv_nxt:
        if tp.sack_ok:
            tp.dsack = (seq, tp.rcv_nxt)
        skb.data = payload[tp.rcv_nxt - seq :]
        if not tp.receive_window:
            enter_quickack_mode(tp)
            tp.ack_scheduled = True
            return
    if skb.data:
        append(tp, skb)
        data_received(tp, skb, pushed, now_ns)
    if fin:
        fin_received(tp)
    if tp.ofo:
        _join_out_of_order(tp)
        if not tp.ofo:
            tp.ack_now = True  # the gap is filled (RFC 5681 section 4.2)
    if tp.sack_blocks:
        tp.sack_blocks = [block for block in tp.sack_blocks if block[0] > tp.rcv_nxt] if tp.ofo else []


def append(tp: TcpSock, skb: RxSkb) -> None:
    """To the end of the receive queue: into the last buffer there, if that takes it (tcp_queue_rcv)."""
    queue = tp.receive_queue
    tp.rcv_nxt += len(skb.data)
    more = queue[-1].join(skb) if queue else None
    if more is None:
        queue.append(skb)
        more = skb.truesize
    tp.rmem_alloc += more


def fin_received(tp: TcpSock) -> None:
    """The peer has no more to send (tcp_fin). What is still to be acknowledged waits for the application."""
    tp.rcv_nxt += 1
    tp.fin_received = tp.receive_shutdown = True
    tp.ack_scheduled = True
    if tp.state in ("ESTABLISHED", "SYN_RECV"):
        tp.go("rcv FIN")
        tp.pingpong = max(tp.pingpong, tp.config.pingpong_thresh)
    elif tp.state in ("FIN_WAIT1", "FIN_WAIT2"):
        tp.go("rcv FIN")
    if tp.ofo:
        tp.rmem_alloc -= sum(piece.skb.truesize for piece in tp.ofo)
        tp.ofo.clear()


def _queue_out_of_order(tp: TcpSock, seq: int, end_seq: int, skb: RxSkb, fin: bool, now_ns: int) -> None:
    """Keep it until the gap before it is filled, and report it first (RFC 2018 section 4, tcp_data_queue_ofo)."""
    left, right = seq, end_seq
    for start, end in _islands(tp):
        if start <= seq and end_seq <= end:
            if tp.sack_ok:
                tp.dsack = (seq, end_seq)
                _report(tp, start, end, now_ns)
            return
        if start <= right and left <= end:
            left, right = min(left, start), max(right, end)
    before = next((piece for piece in tp.ofo if piece.end_seq == seq and not piece.fin), None)
    more = before.skb.join(skb) if before is not None else None
    if tp.sack_ok:
        _report(tp, left, right, now_ns)
        # without SACK the ACKs must stay duplicates
        grow_window(tp, skb, skb.truesize if more is None else skb.payload_truesize)
    if before is not None and more is not None:
        before.end_seq, before.fin = end_seq, fin
    else:
        tp.ofo.insert(bisect_right(tp.ofo, seq, key=lambda piece: piece.seq), Early(seq, end_seq, skb, fin))
        skb.condense()
        more = skb.truesize
    tp.rmem_alloc += more
    rcvbuf_grow(tp, tp.rcvq_space)


def _islands(tp: TcpSock) -> list[tuple[int, int]]:
    """The contiguous ranges of the out-of-order queue."""
    islands: list[tuple[int, int]] = []
    for piece in tp.ofo:
        if islands and piece.seq <= islands[-1][1]:
            islands[-1] = (islands[-1][0], max(piece.end_seq, islands[-1][1]))
        else:
            islands.append((piece.seq, piece.end_seq))
    return islands


def _report(tp: TcpSock, left: int, right: int, now_ns: int) -> None:
    """tcp_sack_new_ofo_skb: the block goes first. What waits to be reported is, before a third block moves it."""
    at = next(
        (at for at, block in enumerate(tp.sack_blocks) if block[0] <= right and left <= block[1]), len(tp.sack_blocks)
    )
    if tp.compressed and at >= SACK_BLOCKS_EXPECTED:
        send_ack(tp, now_ns)
    rest = [block for block in tp.sack_blocks if block[1] < left or block[0] > right]
    tp.sack_blocks = [(left, right), *rest[:3]]


def _join_out_of_order(tp: TcpSock) -> None:
    while tp.ofo and tp.ofo[0].seq <= tp.rcv_nxt:
        piece = tp.ofo.pop(0)
        skb = piece.skb
        tp.rmem_alloc -= skb.truesize
        if piece.end_seq <= tp.rcv_nxt:
            continue
        skb.data = skb.data[tp.rcv_nxt - piece.seq :]
        if skb.data:
            append(tp, skb)
        if piece.fin:
            fin_received(tp)


def ack_check(tp: TcpSock, now_ns: int) -> None:
    """What is to be acknowledged is so now when a second full segment is in, or in quickack mode; else later (__tcp_ack_snd_check)."""
    second = tp.rcv_nxt - tp.rcv_wup > tp.rcv_mss and (tp.rcv_nxt == tp.copied_seq or offered_window(tp) >= tp.rcv_wnd)
    if second or tp.ack_now or (tp.quick and not tp.in_pingpong):
        if tp.from_backlog and tp.config.backlog_ack_defer:
            tp.ack_deferred = True  # one ACK for all that waited
            return
        send_ack(tp, now_ns)
    elif tp.ofo:
        _report_gap(tp, now_ns)
    else:
        send_delayed_ack(tp, now_ns)


def _report_gap(tp: TcpSock, now_ns: int) -> None:
    """Three ACKs report a gap at once; those that follow wait together for a 20th of the round trip and the timer's slack."""
    config = tp.config
    if tp.sack_ok and tp.compressed < config.comp_sack_nr:
        if tp.compressed_rcv_nxt != tp.rcv_nxt:
            tp.compressed_rcv_nxt, tp.dup_acks = tp.rcv_nxt, 0
        if tp.dup_acks >= REORDERING:
            tp.compressed += 1
            if tp.compressed_at is None:
                rtt = min(tp.rcv_rtt_ns, tp.srtt_ns or tp.rcv_rtt_ns)
                delay = min(config.comp_sack_delay_ns, rtt // 20)
                tp.compressed_at = now_ns + delay + config.comp_sack_slack_ns
            return
        tp.dup_acks += 1
    send_ack(tp, now_ns)
