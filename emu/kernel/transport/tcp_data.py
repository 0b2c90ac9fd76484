"""The receiver's side: payload into order, FIN, SACK blocks to report, and whether to acknowledge now or later.

After RFC 9293 section 3.10.7.4 (seventh, eighth check), RFC 2018, RFC 2883 and Linux's tcp_data_queue and
__tcp_ack_snd_check. Knows nothing of what we send.
"""

from __future__ import annotations

from bisect import bisect_right

from emu.kernel.transport.tcp_output import send_ack, send_delayed_ack
from emu.kernel.transport.tcp_sock import ATO_MIN_NS, MAX_QUICKACKS, TcpSock, truesize
from emu.kernel.transport.tcp_window import grow_window, measure_rcv_mss, measure_rcv_rtt, offered_window


def incr_quickack(tp: TcpSock) -> None:
    count = tp.rcv_wnd // (2 * tp.rcv_mss) or 2
    tp.quick = max(tp.quick, min(count, MAX_QUICKACKS))


def enter_quickack_mode(tp: TcpSock) -> None:
    """Acknowledge at once for a while: something is wrong, the sender should know."""
    incr_quickack(tp)
    tp.pingpong = 0
    tp.ato_ns = ATO_MIN_NS


def data_received(tp: TcpSock, length: int, pushed: bool, now_ns: int) -> None:
    """Bookkeeping of one payload (tcp_event_data_recv): delayed-ACK estimate, segment size, window growth."""
    tp.ack_scheduled = True
    measure_rcv_mss(tp, length, pushed)
    measure_rcv_rtt(tp, now_ns)
    if not tp.ato_ns:
        incr_quickack(tp)
        tp.ato_ns = ATO_MIN_NS
    else:
        gap = now_ns - tp.lrcvtime
        if gap <= ATO_MIN_NS // 2:
            tp.ato_ns = (tp.ato_ns >> 1) + ATO_MIN_NS // 2
        elif gap < tp.ato_ns:
            tp.ato_ns = min((tp.ato_ns >> 1) + gap, tp.rto_ns)
        elif gap > tp.rto_ns:
            incr_quickack(tp)  # the sender was long silent: it will slow-start
    tp.lrcvtime = now_ns
    if length >= 128:
        grow_window(tp, length)


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
    if seq > tp.rcv_nxt:
        tp.ack_scheduled = True
        _queue_out_of_order(tp, seq, end_seq, payload, fin)
        if payload and len(payload) >= 128:
            grow_window(tp, len(payload))
        return
    if seq < tp.rcv_nxt:
        if tp.sack_ok:
            tp.dsack = (seq, tp.rcv_nxt)
        payload = payload[tp.rcv_nxt - seq :]
        if not tp.receive_window:
            enter_quickack_mode(tp)
            tp.ack_scheduled = True
            return
    _append(tp, payload)
    if payload:
        data_received(tp, len(payload), pushed, now_ns)
    if fin:
        fin_received(tp)
    if tp.ofo:
        _join_out_of_order(tp)
        if not tp.ofo:
            tp.ack_now = True  # the gap is filled (RFC 5681 section 4.2)
    if tp.sack_blocks:
        tp.sack_blocks = [block for block in tp.sack_blocks if block[0] > tp.rcv_nxt] if tp.ofo else []


def _append(tp: TcpSock, payload: bytes, charge: int = 0) -> None:
    if not payload:
        return
    charge = charge or truesize(len(payload), tp.rcv_cut, tp.rcv_gso_size)
    tp.receive_queue.append((payload, charge))
    tp.rmem_alloc += charge
    tp.rcv_nxt += len(payload)
    if "data" not in tp.events:
        tp.events.append("data")


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
    tp.rmem_alloc -= sum(charge for *_, charge in tp.ofo)
    tp.ofo.clear()
    tp.events.append("eof")


def _queue_out_of_order(tp: TcpSock, seq: int, end_seq: int, payload: bytes, fin: bool) -> None:
    """Keep it until the gap before it is filled, and report it first (RFC 2018 section 4)."""
    queue = tp.ofo
    left, right = seq, end_seq
    for start, end in _islands(tp):
        if start <= seq and end_seq <= end:
            if tp.sack_ok:
                tp.dsack = (seq, end_seq)
                _report(tp, start, end)
            return
        if start <= right and left <= end:
            left, right = min(left, start), max(right, end)
    charge = truesize(len(payload), tp.rcv_cut, tp.rcv_gso_size)
    queue.insert(bisect_right(queue, seq, key=lambda piece: piece[0]), (seq, end_seq, payload, fin, charge))
    tp.rmem_alloc += charge
    if tp.sack_ok:
        _report(tp, left, right)


def _islands(tp: TcpSock) -> list[tuple[int, int]]:
    """The contiguous ranges of the out-of-order queue."""
    islands: list[tuple[int, int]] = []
    for seq, end, *_ in tp.ofo:
        if islands and seq <= islands[-1][1]:
            islands[-1] = (islands[-1][0], max(end, islands[-1][1]))
        else:
            islands.append((seq, end))
    return islands


def _report(tp: TcpSock, left: int, right: int) -> None:
    rest = [block for block in tp.sack_blocks if block[1] < left or block[0] > right]
    tp.sack_blocks = [(left, right), *rest[:3]]


def _join_out_of_order(tp: TcpSock) -> None:
    while tp.ofo and tp.ofo[0][0] <= tp.rcv_nxt:
        seq, end_seq, payload, fin, charge = tp.ofo.pop(0)
        tp.rmem_alloc -= charge
        if end_seq <= tp.rcv_nxt:
            continue
        _append(tp, payload[tp.rcv_nxt - seq :], charge)
        if fin:
            fin_received(tp)


def ack_check(tp: TcpSock, now_ns: int) -> None:
    """Acknowledge now when a second full segment is in, in quickack mode, or when there is a gap; else later."""
    if not tp.ack_scheduled:
        return
    second = tp.rcv_nxt - tp.rcv_wup > tp.rcv_mss and (tp.rcv_nxt == tp.copied_seq or offered_window(tp) >= tp.rcv_wnd)
    if second or tp.ack_now or tp.ofo or (tp.quick and not tp.in_pingpong):
        send_ack(tp, now_ns)
    else:
        send_delayed_ack(tp, now_ns)
