"""A TCP endpoint that talks as Linux 6.18 does, without I/O: segments and calls in, segments out, time as an argument.

The front door of the tcp_* files: one object a connection, from SYN (or the request that a SYN makes) to the end of
TIME_WAIT. Listening, ports, demultiplexing, blocking and IP are the socket layer's. Behaviour: RFC 9293, 7323, 2018,
5681, 6298, 6069, 8985, and what a kernel was seen to do.
Must not know frames, addresses, ports or a clock.
"""

from __future__ import annotations

from emu.kernel.transport import tcp_recovery, tcp_retransmit
from emu.kernel.transport.tcp_figures import TcpFigures, tcp_info
from emu.kernel.transport.tcp_input import receive, take_syn
from emu.kernel.transport.tcp_minisocks import enter_time_wait, reusable, syn_ack
from emu.kernel.transport.tcp_options import TS_LENGTH, Segment
from emu.kernel.transport.tcp_output import (
    NAGLE_OFF,
    push_pending,
    queue_data,
    queue_early,
    queue_fin,
    rearm_rto,
    send_ack,
    send_reset,
    sync_mss,
    transmit_syn,
)
from emu.kernel.transport.tcp_rmem import RxSkb
from emu.kernel.transport.tcp_sndbuf import SNDBUF_MIN
from emu.kernel.transport.tcp_sock import Deadline, Skb, TcpConfig, TcpSock
from emu.kernel.transport.tcp_states import MAY_SEND, State
from emu.kernel.transport.tcp_timer import expire, revert_backoff
from emu.kernel.transport.tcp_window import offered_window, rcv_space_adjust, select_initial_window
from emu.wire.tcp import ACK, HEADERS, SYN

__all__ = ["TcpConfig", "TcpEndpoint"]

MAX_PACKET = 65535


class TcpEndpoint:
    """One connection. Every method that may cause segments returns them, in the order in which they leave.

    `now_ns` never goes back. After each call look at `deadline` (when to call `on_deadline`; None: never) and at
    `state`. Nothing here raises because of what arrives; calls that a socket would refuse give `error`.
    """

    __slots__ = ("_tp", "taken")

    def __init__(self, tp: TcpSock) -> None:
        self._tp = tp
        self.taken = 0  # bytes of the last `write`

    @classmethod
    def connect(
        cls, config: TcpConfig, mss: int, iss: int, now_ns: int, ts_offset: int = 0, *, nodelay: bool = False
    ) -> tuple[TcpEndpoint, list[Segment]]:
        """An active open: the endpoint in SYN_SENT, and its SYN. `mss`: the route's MTU less 40."""
        tp = TcpSock(config, mss, iss, now_ns, ts_offset, nodelay)
        select_initial_window(tp, mss)
        tp.go("active open")
        tp.write_seq = tp.snd_nxt = tp.pushed_seq = iss + 1
        skb = Skb(iss, b"", SYN)
        skb.sent_ns = now_ns
        tp.rtx_queue.append(skb)
        transmit_syn(tp, now_ns)
        rearm_rto(tp, now_ns)
        return cls(tp), _taken(tp)

    @classmethod
    def accept(
        cls,
        config: TcpConfig,
        mss: int,
        iss: int,
        syn: Segment,
        now_ns: int,
        ts_offset: int = 0,
        *,
        nodelay: bool = False,
        ecn: bool = False,
    ) -> tuple[TcpEndpoint, list[Segment]]:
        """A listener's request for `syn`: the endpoint in SYN_RECV, and its SYN-ACK. The third segment establishes it."""
        tp = TcpSock(config, mss, iss, now_ns, ts_offset, nodelay)
        tp.go("passive open")
        tp.go("rcv SYN")
        tp.mini, tp.ecn_ok = True, ecn
        take_syn(tp, syn)
        select_initial_window(tp, mss - (TS_LENGTH if tp.ts_ok else 0))
        syn_ack(tp, now_ns)
        tp.start_xmit_timer("retransmit", now_ns + config.timeout_init_ns)
        return cls(tp), _taken(tp)

    @classmethod
    def of_cookie(
        cls, config: TcpConfig, mss: int, iss: int, syn: Segment, now_ns: int, ts_offset: int, *, nodelay: bool
    ) -> TcpEndpoint:
        """cookie_v4_check: the endpoint of a request that was not kept, made again for the segment that answers its cookie;
        when the SYN-ACK was sent is not known."""
        endpoint, _ = cls.accept(config, mss, iss, syn, now_ns, ts_offset, nodelay=nodelay)
        endpoint._tp.lsndtime = -1
        return endpoint

    # What the network brings.

    def on_segment(self, segment: Segment, now_ns: int, *, waited: bool = False) -> list[Segment]:
        """A segment of this connection arrived (also in TIME_WAIT; call `reusable_isn` first for a SYN there).

        `waited`: it was announced by `wait`.
        """
        tp = self._tp
        tp.from_backlog = waited
        receive(tp, segment, now_ns)
        tp.from_backlog = False
        return _taken(tp)

    def wait(self, segment: Segment) -> None:
        """A segment came while a call owns the socket. It takes room in the receive buffer until `release`."""
        skb = RxSkb(segment.payload, segment.burst, segment.gso_size)
        skb.condense()
        self._tp.backlog_bytes += skb.truesize

    def release(self, now_ns: int) -> list[Segment]:
        """The call ends, and what waited was taken: one ACK for all of it, if one is due (tcp_release_cb)."""
        tp = self._tp
        tp.backlog_bytes = 0
        if tp.ack_deferred:
            tp.ack_deferred = False
            if tp.ack_scheduled:
                send_ack(tp, now_ns)
        return _taken(tp)

    def on_deadline(self, now_ns: int, which: Deadline | None = None) -> list[Segment]:
        """`deadline` has come (or passed), or one of `deadlines`. Called earlier, nothing happens."""
        expire(self._tp, now_ns, which)
        return _taken(self._tp)

    def on_icmp_error(
        self,
        errno: int,
        now_ns: int,
        *,
        seq: int | None = None,
        revert: bool = True,
        abort: bool = True,
        owned: bool = False,
    ) -> list[Segment]:
        """An ICMP error that quotes a segment of ours (`seq`: the quoted sequence number; out of the window it is ignored).

        While connecting it fails the connect with `errno`, unless a call owns the socket (`owned`): then, and later, it is
        remembered as the reason should the retransmissions give up. A net or host unreachable (`revert`) takes one backoff
        back and may retransmit at once (RFC 6069). A standing connection survives errors that are fatal to other sockets
        (RFC 5927); a listener's request ends by some (`abort`, tcp_req_err).
        """
        tp = self._tp
        if tp.state == "CLOSE" or (tp.mini and tp.state != "SYN_RECV"):
            return []
        if seq is not None and not self.sent(seq):
            return []
        if tp.mini:
            if abort:
                tp.done("abort", errno)
            return []
        if revert and not owned and (seq is None or seq == tp.wire(tp.snd_una)):
            revert_backoff(tp, now_ns)
        if tp.state in ("SYN_SENT", "SYN_RECV") and not owned:
            tp.out.clear()
            tp.done("abort", errno)
        else:
            tp.soft_error = errno
        return _taken(tp)

    def take_soft_error(self) -> None:
        """The program polls or reads SO_ERROR while it connects: it learns of a soft error, and gives up."""
        tp = self._tp
        if tp.soft_error is not None and tp.state == "SYN_SENT":
            tp.done("abort", tp.soft_error)

    def on_pmtu(self, mtu: int, now_ns: int) -> list[Segment]:
        """The path takes only `mtu` bytes (ICMP fragmentation needed): smaller segments, and the too large ones again at once."""
        tp = self._tp
        mss = min(mtu, MAX_PACKET) - HEADERS
        if tp.state == "CLOSE" or tp.mini or mss >= tp.path_mss:
            return []
        tp.path_mss = mss
        sync_mss(tp)
        lost = False
        for skb in tcp_retransmit.recut(tp):
            if not skb.sacked:
                tcp_recovery.mark_lost(tp, skb)
                lost = True
        if lost:
            if tp.ca_state != "loss":
                tp.high_seq = tp.snd_nxt
                tp.ssthresh = max(tp.ssthresh, (tp.cwnd >> 1) + (tp.cwnd >> 2))  # tcp_current_ssthresh: no congestion
                tp.prior_ssthresh, tp.undo_marker = 0, False
                tp.ca_state = "loss"
            tcp_recovery.retransmit_lost(tp, now_ns)
        return _taken(tp)

    def sync_mss(self, mtu: int) -> None:
        """tcp_sync_mss: the route's MTU, learned or forgotten by others than this connection, holds from the next segment on."""
        tp = self._tp
        mss = min(mtu, MAX_PACKET) - HEADERS
        if mss != tp.path_mss and tp.state != "CLOSE" and not tp.mini:
            tp.path_mss = mss
            sync_mss(tp)

    def give_back(self, seq: int, now_ns: int) -> None:
        """New data from `seq` (wire) on did not leave this host: it waits, and is tried again as a window probe would be."""
        tcp_retransmit.give_back(self._tp, seq, now_ns)

    def sent(self, seq: int) -> bool:
        """Is `seq` (as on the wire) of something on its way? What an ICMP error quotes must be (RFC 5927)."""
        tp = self._tp
        return (seq - tp.snd_una) & 0xFFFFFFFF <= max(tp.snd_nxt - tp.snd_una, 0)

    # What the application does.

    def write(self, data: bytes, now_ns: int, *, more: bool = False) -> list[Segment]:
        """send(2); `more` is MSG_MORE. `taken` is how many bytes the send buffer had room for; when that is not all, `full`
        lasts until a program may write again.

        While connecting it waits for the handshake. After the FIN or the end nothing is taken (`may_write` is False):
        the caller raises EPIPE or `error`.
        """
        tp = self._tp
        if data and self.may_write:
            if tp.state in MAY_SEND:
                self.taken = queue_data(tp, data, now_ns, more=more)
            else:
                queue_early(tp, data)
                self.taken = len(data)
        return _taken(tp)

    def read(self, size: int, now_ns: int) -> tuple[bytes, list[Segment]]:
        """recv(2): up to `size` bytes in order (b"": none now, or `eof`), and the window update that reading may cause."""
        tp = self._tp
        parts: list[bytes | bytearray] = []
        left = size
        while left and tp.receive_queue:
            skb = tp.receive_queue[0]
            offset = tp.receive_offset
            piece = skb.data[offset : offset + left]
            parts.append(piece)
            left -= len(piece)
            tp.copied_seq += len(piece)
            rcv_space_adjust(tp)
            if offset + len(piece) == len(skb.data):
                tp.receive_queue.popleft()
                tp.rmem_alloc -= skb.truesize
                tp.receive_offset = 0
            else:
                tp.receive_offset = offset + len(piece)
        data = b"".join(parts)
        if tp.state not in ("CLOSE", "TIME_WAIT") and not tp.mini:
            _cleanup_rbuf(tp, len(data), now_ns)
        return data, _taken(tp)

    def close(self, now_ns: int) -> list[Segment]:
        """close(2): FIN after what is queued; with unread data a RST instead. The endpoint lives on until its state is CLOSE."""
        tp = self._tp
        if tp.orphan:
            return []
        tp.orphan = True
        tp.receive_shutdown = True
        if tp.state == "CLOSE" or self.time_waiting:
            return []
        if tp.mini or tp.state == "SYN_SENT":
            tp.done("abort")
        elif tp.receive_queue:
            tp.receive_queue.clear()
            self._reset(now_ns)
        else:
            self._shutdown(now_ns)
            if self.state == "FIN_WAIT2":
                enter_time_wait(tp, now_ns)
        return _taken(tp)

    def shutdown(self, now_ns: int) -> list[Segment]:
        """shutdown(SHUT_WR): FIN after the queued data; reading is still possible."""
        if not self._tp.mini:
            self._shutdown(now_ns)
        return _taken(self._tp)

    def abort(self, now_ns: int) -> list[Segment]:
        """SO_LINGER 0 and close: RST, and the connection is forgotten."""
        tp = self._tp
        tp.orphan = True
        if tp.mini or tp.state in ("SYN_SENT", "CLOSE", "TIME_WAIT"):
            tp.done("abort")
        else:
            self._reset(now_ns)
        return _taken(tp)

    def set_nodelay(self, on: bool, now_ns: int) -> list[Segment]:
        """TCP_NODELAY; switching it on sends what Nagle held back."""
        tp = self._tp
        tp.nodelay = on
        if on and tp.state in MAY_SEND:
            push_pending(tp, NAGLE_OFF, now_ns)
        return _taken(tp)

    def shutdown_read(self) -> None:
        """shutdown(SHUT_RD): reading ends; what comes is still acknowledged."""
        self._tp.receive_shutdown = True

    def set_sndbuf(self, size: int) -> None:
        """SO_SNDBUF, of which Linux makes twice as much for the heads of buffers. It stays so: it grows no more (SOCK_SNDBUF_LOCK)."""
        self._tp.sndbuf, self._tp.sndbuf_locked = max(2 * size, SNDBUF_MIN), True

    @property
    def sndbuf(self) -> int:
        """The send buffer as getsockopt(SO_SNDBUF) gives it, bytes."""
        return self._tp.sndbuf

    def info(self, now_ns: int) -> TcpFigures:
        """getsockopt(TCP_INFO)."""
        return tcp_info(self._tp, now_ns)

    def _reset(self, now_ns: int) -> None:
        send_reset(self._tp, now_ns)
        self._tp.done("abort")

    def _shutdown(self, now_ns: int) -> None:
        tp = self._tp
        if tp.send_shutdown:
            return
        before = tp.state
        tp.go("close")
        if tp.state == before:
            return
        tp.send_shutdown = True
        queue_fin(tp, now_ns)

    # What can be seen.

    @property
    def state(self) -> State:
        return self._tp.state

    @property
    def deadline(self) -> int | None:
        """When the earliest timer runs out (ns), or None."""
        return self._tp.deadline

    @property
    def deadlines(self) -> tuple[int | None, int | None, int | None, int | None]:
        """When each timer runs out (ns), or None: "transmit", "ack" and "linger" of the timer wheel, then "compressed"."""
        tp = self._tp
        return tp.xmit_at, tp.delack_at, tp.linger_at, tp.compressed_at

    @property
    def error(self) -> int | None:
        """Why the connection failed (ECONNREFUSED, ECONNRESET, EPIPE, ETIMEDOUT, EHOSTUNREACH ...), or None."""
        return self._tp.error

    @property
    def readable(self) -> int:
        """How many bytes `read` could give now (tcp_inq)."""
        tp = self._tp
        return tp.rcv_nxt - tp.copied_seq - tp.fin_received if tp.receive_queue else 0

    @property
    def eof(self) -> bool:
        """The peer has sent its FIN (or the connection is gone, or reading was shut down) and all its data was read."""
        tp = self._tp
        return (tp.fin_received or tp.receive_shutdown or tp.state == "CLOSE") and not tp.receive_queue

    @property
    def may_write(self) -> bool:
        tp = self._tp
        return not tp.send_shutdown and not tp.mini and (tp.state in MAY_SEND or tp.state in ("SYN_SENT", "SYN_RECV"))

    @property
    def full(self) -> bool:
        """A program found the send buffer full, and too little of it is free again (SOCK_NOSPACE)."""
        return self._tp.no_space

    @property
    def unsent(self) -> int:
        """Bytes that wait for windows or Nagle."""
        return sum(len(skb.data) for skb in self._tp.write_queue)

    @property
    def mss(self) -> int:
        """Payload of a full segment as things stand."""
        return self._tp.mss_cache

    @property
    def mini(self) -> bool:
        """A listener's request, or what is left of a closed connection: no full socket."""
        return self._tp.mini

    @property
    def time_waiting(self) -> bool:
        """Only a mini socket is left: its answers have IP ID 0, and a SYN may open a new connection in its place."""
        return self._tp.mini and self._tp.state in ("FIN_WAIT2", "TIME_WAIT")

    @property
    def progress(self) -> bool:
        """The peer has acknowledged something since this was last set False: the next segment out confirms the neighbour."""
        return self._tp.progress

    @progress.setter
    def progress(self, value: bool) -> None:
        self._tp.progress = value

    def reusable_isn(self, syn: Segment) -> int | None:
        """In TIME_WAIT: the ISN with which a listener may take `syn` as a new connection (forget this endpoint then), or None."""
        return reusable(self._tp, syn) if syn.flags & (SYN | ACK) == SYN else None


def _cleanup_rbuf(tp: TcpSock, copied: int, now_ns: int) -> None:
    """After reading: acknowledge what was held back, or announce a window that has opened (tcp_cleanup_rbuf)."""
    if tp.ack_scheduled:
        second = tp.rcv_nxt - tp.rcv_wup > tp.rcv_mss
        write_ended = tp.ack_pushed2 or (tp.ack_pushed and not tp.in_pingpong)
        if second or (copied and write_ended and not tp.rmem_alloc):
            send_ack(tp, now_ns)
            return
    if copied and not tp.receive_shutdown:
        window = tp.receive_window
        if 2 * window <= tp.window_clamp:
            opened = offered_window(tp)
            if opened and opened >= 2 * window:
                send_ack(tp, now_ns)


def _taken(tp: TcpSock) -> list[Segment]:
    out = tp.out
    if out:
        tp.out = []
    return out
