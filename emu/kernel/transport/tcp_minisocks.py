"""Connections that are less than a socket: a closed one in FIN_WAIT2 or TIME_WAIT, and a listener's request.

After Linux's tcp_minisocks.c and RFC 9293 sections 3.6.1 and 3.10.7.4. Their answers carry IP ID 0 (`stateless`).
Must not know frames or a clock.
"""

from __future__ import annotations

from emu.kernel.transport.seqnum import MASK, expand
from emu.kernel.transport.tcp_options import Segment, reset_for
from emu.kernel.transport.tcp_output import ack_limited, timestamp
from emu.kernel.transport.tcp_sock import TcpSock
from emu.wire.tcp import ACK, ECE, FIN, RST, SYN


def enter_time_wait(tp: TcpSock, now_ns: int) -> None:
    """What is left of a connection in FIN_WAIT2 (closed by the application) or TIME_WAIT."""
    config = tp.config
    tp.stop_xmit_timer()
    tp.delack_at = tp.compressed_at = None
    tp.linger_at = now_ns + (config.timewait_ns if tp.state == "TIME_WAIT" else config.fin_timeout_ns)
    tp.mini = True


def _mini_ack(tp: TcpSock, now_ns: int) -> None:
    ts = (timestamp(tp, now_ns), tp.ts_recent) if tp.ts_ok else None
    window = min(tp.rcv_wnd >> tp.rcv_wscale, 0xFFFF)
    tp.out.append(Segment(tp.wire(tp.snd_nxt), tp.wire(tp.rcv_nxt), ACK, window, ts=ts, stateless=True))


def _limited_ack(tp: TcpSock, segment: Segment, now_ns: int) -> None:
    """Data is always answered, what else is out of the window once in half a second (tcp_oow_rate_limited)."""
    if segment.length and not segment.flags & SYN:
        _mini_ack(tp, now_ns)
        return
    if not ack_limited(tp, now_ns):
        _mini_ack(tp, now_ns)


def _refuse(tp: TcpSock, segment: Segment) -> None:
    answer = reset_for(segment)
    if answer is not None:
        tp.out.append(answer)


def _outdated(tp: TcpSock, segment: Segment) -> bool:
    """PAWS (RFC 7323 section 5)."""
    if not tp.ts_ok or segment.ts is None or segment.flags & RST:
        return False
    return 0 < (tp.ts_recent - segment.ts[0]) & MASK < 0x80000000


def time_wait_segment(tp: TcpSock, segment: Segment, now_ns: int) -> None:
    """A segment for a connection that only waits (tcp_timewait_state_process)."""
    flags = segment.flags
    seq = expand(segment.seq, tp.rcv_nxt)
    end_seq = seq + segment.length
    outdated = _outdated(tp, segment)
    if tp.state == "FIN_WAIT2":
        in_window = seq < tp.rcv_nxt + max(tp.receive_window, 1) and end_seq >= tp.rcv_nxt
        if outdated or not in_window:
            _limited_ack(tp, segment, now_ns)
        elif flags & RST:
            tp.done("rcv RST")
        elif (flags & SYN and seq >= tp.rcv_nxt) or (
            flags & ACK and end_seq > tp.rcv_nxt and end_seq != seq and not (flags & FIN and end_seq == tp.rcv_nxt + 1)
        ):
            tp.done("abort")
            _refuse(tp, segment)
        elif flags & ACK and flags & FIN and end_seq > tp.rcv_nxt:
            tp.rcv_nxt = end_seq
            tp.go("rcv FIN")
            if segment.ts is not None:
                tp.ts_recent = segment.ts[0]
            tp.linger_at = now_ns + tp.config.timewait_ns
            _mini_ack(tp, now_ns)
        return
    if not outdated and seq == tp.rcv_nxt and (end_seq == seq or flags & RST):
        if flags & RST:
            tp.done("rcv RST")
        else:
            tp.linger_at = now_ns + tp.config.timewait_ns
        return
    if not flags & RST:
        if outdated or flags & ACK:
            tp.linger_at = now_ns + tp.config.timewait_ns
        _limited_ack(tp, segment, now_ns)


def reusable(tp: TcpSock, segment: Segment) -> int | None:
    """The ISN for a new connection that `segment` (a SYN) may open over this one in TIME_WAIT; None when it may not."""
    if not tp.mini or tp.state != "TIME_WAIT" or segment.flags & (SYN | RST | ACK) != SYN or _outdated(tp, segment):
        return None
    newer = segment.ts is not None and tp.ts_ok and 0 < (segment.ts[0] - tp.ts_recent) & MASK < 0x80000000
    if expand(segment.seq, tp.rcv_nxt) <= tp.rcv_nxt and not newer:
        return None
    return (tp.snd_nxt + 65535 + 2) & MASK or 1


def syn_ack(tp: TcpSock, now_ns: int) -> None:
    """The SYN-ACK of a request."""
    tp.out.append(
        Segment(
            tp.wire(tp.iss),
            tp.wire(tp.rcv_nxt),
            SYN | ACK | ECE if tp.ecn_ok else SYN | ACK,
            min(tp.rcv_wnd, 0xFFFF),
            mss=tp.advmss,
            wscale=tp.rcv_wscale if tp.wscale_ok else None,
            sack_ok=tp.sack_ok,
            ts=(timestamp(tp, now_ns), tp.ts_recent) if tp.ts_ok else None,
            stateless=True,
        )
    )


def misses(tp: TcpSock, segment: Segment) -> bool:
    """Does a segment acknowledge what a request has not sent? tcp_check_req leaves it to the listener."""
    return tp.mini and tp.state == "SYN_RECV" and bool(segment.flags & ACK) and segment.ack != tp.wire(tp.iss + 1)


def request_ack(tp: TcpSock, now_ns: int) -> None:
    """A request's answer to a segment outside its window."""
    if not ack_limited(tp, now_ns):
        ts = (timestamp(tp, now_ns), tp.ts_recent) if tp.ts_ok else None
        window = min(tp.rcv_wnd >> tp.rcv_wscale, 0xFFFF)
        tp.out.append(Segment(tp.wire(tp.iss + 1), tp.wire(tp.rcv_nxt), ACK, window, ts=ts, stateless=True))
