"""The send buffer of a connection: what it charges for what is not acknowledged yet, how it grows, and when a program may write.

After Linux's tcp_sndbuf_expand, tcp_check_space and sk_stream_is_writeable; sizes as `ss -m` shows them. Must not know
segments or programs.
"""

from __future__ import annotations

from emu.kernel.transport.tcp_rmem import AROUND, SHORT, SK_BUFF
from emu.kernel.transport.tcp_sock import INIT_CWND, TcpSock

SNDBUF_MIN = 4608  # SOCK_MIN_SNDBUF: two buffers of 2 kB with their heads


def wmem_queued(tp: TcpSock) -> int:
    """Bytes charged (sk_wmem_queued): the payload, and the head of each buffer. A burst is one buffer until all of it is
    acknowledged."""
    rtx, waiting = tp.rtx_queue, tp.write_queue
    buffers = sum([not skb.burst for skb in rtx]) + len(waiting)
    if rtx and rtx[0].burst:
        buffers += 1  # the first part of the burst is acknowledged
    return tp.write_seq - tp.snd_una + buffers * SHORT


def has_room(tp: TcpSock) -> bool:
    """May one buffer more be made (sk_stream_memory_free)? It may be larger than what is left."""
    return wmem_queued(tp) < tp.sndbuf


def sndbuf_expand(tp: TcpSock) -> None:
    """Room for two congestion windows of full segments, each in a buffer of its own (tcp_sndbuf_expand)."""
    size = max(tp.mss_clamp, tp.mss_cache) + AROUND
    of_segment = (1 << (size - 1).bit_length()) + SK_BUFF
    wanted = 2 * max(INIT_CWND, tp.cwnd) * of_segment
    if tp.sndbuf < wanted and not tp.sndbuf_locked:
        tp.sndbuf = min(wanted, tp.config.wmem[2])


def check_space(tp: TcpSock) -> None:
    """Something was acknowledged, or sent: the buffer grows if the congestion window has room, and a program that found the buffer full
    may write again when a third of it is free (tcp_new_space, sk_stream_write_space)."""
    if not tp.no_space:
        return
    if tp.in_flight < tp.cwnd:
        sndbuf_expand(tp)
    payload = tp.write_seq - tp.snd_una
    if tp.sndbuf - payload < payload >> 1:
        return  # whatever the heads of the buffers take
    queued = wmem_queued(tp)
    if tp.sndbuf - queued >= queued >> 1:
        tp.no_space = False
