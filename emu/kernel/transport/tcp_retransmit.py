"""Sending again: one piece of the retransmission queue, cut or joined to the present segment size; zero window probes.

After Linux's tcp_retransmit_skb and tcp_write_wakeup. Which piece, and when, tcp_recovery and tcp_timer decide.
Must not know timers.
"""

from __future__ import annotations

from emu.kernel.transport.seqnum import MASK, expand
from emu.kernel.transport.tcp_output import current_mss, new_data_sent, split, transmit, transmit_syn
from emu.kernel.transport.tcp_sock import Skb, TcpSock
from emu.wire.tcp import PSH, SYN


def retransmit(tp: TcpSock, skb: Skb, now_ns: int) -> bool:
    """Send `skb` of the retransmission queue again, cut or joined to the present segment size. False: the window forbids."""
    if skb.flags & SYN:
        transmit_syn(tp, now_ns)
    else:
        mss = current_mss(tp)
        if skb.seq < tp.snd_una:
            skb.data = skb.data[tp.snd_una - skb.seq :]
            skb.seq = tp.snd_una
        room = tp.wnd_end - skb.seq
        if room <= 0:
            if skb.seq != tp.snd_una:
                return False
            room = mss
        most = min(mss, room)
        if len(skb.data) > most:
            _fragment(tp, skb, most)
        else:
            _collapse(tp, skb, most)
        before = tp.out[-1] if tp.out else None
        transmit(tp, skb.seq, skb.data, skb.flags, mss, now_ns)
        if before is not None and skb.burst and before.seq + before.length & MASK == tp.out[-1].seq:
            before.burst = tp.out[-1].burst = True
    if not skb.retrans:
        tp.retrans_out += 1
    skb.retrans = skb.ever_retrans = True
    skb.sent_ns = now_ns
    tp.total_retrans += 1
    tp.undo_retrans += 1
    if not tp.retrans_stamp:
        tp.retrans_stamp = now_ns
    return True


def _fragment(tp: TcpSock, skb: Skb, most: int) -> None:
    """Cut a queued piece in place into parts of at most `most` bytes; the object stays the first part."""
    index = tp.rtx_queue.index(skb)
    parts: list[Skb] = []
    while len(skb.data) > most:
        parts.append(split(skb, most))
    last = Skb(skb.seq, skb.data, skb.flags)
    last.sent_ns, last.sacked, last.lost, last.retrans = skb.sent_ns, skb.sacked, skb.lost, skb.retrans
    last.ever_retrans = skb.ever_retrans
    first = parts[0]
    skb.seq, skb.data, skb.flags = first.seq, first.data, first.flags
    rest = [*parts[1:], last]
    for offset, part in enumerate(rest):
        tp.rtx_queue.insert(index + 1 + offset, part)
    tp.lost_out += len(rest) * skb.lost
    tp.retrans_out += len(rest) * skb.retrans
    tp.sacked_out += len(rest) * skb.sacked


def recut(tp: TcpSock) -> list[Skb]:
    """The segment size became smaller: cut what was sent in larger pieces anew, and give the new pieces.

    Pieces of one burst are one buffer to the kernel (GSO) and are cut as a whole, except where a part was SACKed.
    """
    mss = tp.mss_cache
    runs: list[list[Skb]] = []
    for skb in tp.rtx_queue:
        last = runs[-1][-1] if runs else None
        if (
            last is not None
            and skb.burst
            and (last.sacked, last.lost, last.retrans) == (skb.sacked, skb.lost, skb.retrans)
        ):
            runs[-1].append(skb)
        else:
            runs.append([skb])
    pieces: list[Skb] = []
    tp.rtx_queue.clear()
    for run in runs:
        whole = run[0]
        if whole.sacked or len(whole.data) <= mss:
            tp.rtx_queue.extend(run)
            continue
        whole.data = b"".join(bytes(skb.data) for skb in run)
        whole.flags = run[-1].flags
        before, first = len(run), len(pieces)
        while len(whole.data) > mss:
            pieces.append(split(whole, mss))
            whole.burst = True
        pieces.append(whole)
        tp.rtx_queue.extend(pieces[first:])
        more = len(pieces) - first - before
        tp.lost_out += more * whole.lost
        tp.retrans_out += more * whole.retrans
    return pieces


def _collapse(tp: TcpSock, skb: Skb, most: int) -> None:
    """Join the following small pieces to one that is sent again (tcp_retrans_try_collapse)."""
    index = tp.rtx_queue.index(skb)
    while index + 1 < len(tp.rtx_queue):
        following = tp.rtx_queue[index + 1]
        if following.sacked or len(skb.data) + len(following.data) > most or following.end_seq > tp.wnd_end:
            return
        skb.data = bytes(skb.data) + bytes(following.data)
        skb.flags |= following.flags
        skb.ever_retrans = skb.ever_retrans or following.ever_retrans
        tp.lost_out -= following.lost
        tp.retrans_out -= following.retrans
        del tp.rtx_queue[index + 1]


def write_wakeup(tp: TcpSock, now_ns: int) -> None:
    """A zero window probe: a piece that fits if the window has opened a little, else an old sequence number to be corrected."""
    if tp.write_queue and tp.write_queue[0].seq < tp.wnd_end:
        skb = tp.write_queue[0]
        size = min(tp.wnd_end - skb.seq, current_mss(tp))
        tp.pushed_seq = max(tp.pushed_seq, skb.end_seq)
        if len(skb.data) > size:
            tp.write_queue.appendleft(split(skb, size))
            skb = tp.write_queue[0]
        skb.flags |= PSH
        transmit(tp, skb.seq, skb.data, skb.flags, current_mss(tp), now_ns)
        new_data_sent(tp, skb, current_mss(tp), now_ns)
    else:
        transmit(tp, tp.snd_una - 1, b"", 0, 1, now_ns)


def give_back(tp: TcpSock, seq: int, now_ns: int) -> None:
    """What could not be sent goes back to the send queue (tcp_write_xmit ends there). With nothing else on its way, the timer
    of zero window probes tries it again (tcp_check_probe_timer, tcp_send_probe0)."""
    first = expand(seq, tp.snd_nxt)
    while tp.rtx_queue and tp.rtx_queue[-1].seq >= first:
        skb = tp.rtx_queue.pop()
        tp.snd_nxt = skb.seq
        skb.data, skb.burst = bytearray(skb.data), False
        if tp.write_queue and len(tp.write_queue[0].data):
            skb.data += tp.write_queue[0].data
            skb.flags |= tp.write_queue.popleft().flags
        tp.write_queue.appendleft(skb)
    if tp.rtx_queue or not tp.write_queue:
        return
    wait = max(tp.rto_ns, tp.config.rto_min_ns)
    if tp.probing:
        tp.backoff = min(tp.backoff + 1, tp.config.retries2)
        tp.probes_out += 1
        wait = min(wait << tp.backoff, tp.config.rto_max_ns)
    elif tp.probe_at is not None:
        wait = max(tp.probe_at - now_ns, 0)  # that timer was not touched
    tp.start_xmit_timer("zero window probe", now_ns + wait)
