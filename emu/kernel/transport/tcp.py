"""A TCP endpoint that talks as Linux 6.18 does, without I/O: segments and calls in, segments out, time as an argument.

The front door of the tcp_* files: one object a connection, from SYN (or the request that a SYN makes) to the end of
TIME_WAIT. Listening, ports, demultiplexing, blocking and IP are the socket layer's. Behaviour: RFC 9293, 7323, 2018,
5681, 6298, 6069, 8985, and what a kernel was seen to do.
Must not know frames, addresses, ports or a clock.
"""

from __future__ import annotations

from typing import Final

from emu.kernel.transport import tcp_recovery, tcp_retransmit
from emu.kernel.transport.tcp_established import rcv_established
from emu.kernel.transport.tcp_figures import TcpFigures, tcp_info
from emu.kernel.transport.tcp_input import receive, take_syn
from emu.kernel.transport.tcp_minisocks import enter_time_wait, misses, reusable, syn_ack
from emu.kernel.transport.tcp_options import TS_LENGTH, Segment, of_plain, plain_part
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
from emu.kernel.transport.tcp_push_one import push_one
from emu.kernel.transport.tcp_rmem import SHORT, RxSkb
from emu.kernel.transport.tcp_sndbuf import SNDBUF_MIN
from emu.kernel.transport.tcp_sock import Deadline, Skb, TcpConfig, TcpSock
from emu.kernel.transport.tcp_states import MAY_SEND
from emu.kernel.transport.tcp_timer import expire, revert_backoff
from emu.kernel.transport.tcp_window import offered_window, rcv_space_adjust, select_initial_window
from emu.wire.frame import Plain
from emu.wire.tcp import ACK, FIN, HEADERS, PSH, SYN

__all__ = ["TcpConfig", "TcpEndpoint"]

MAX_PACKET = 65535
UNREAD: Final = frozenset(("CLOSE", "TIME_WAIT"))  # reading changes nothing there


class TcpEndpoint(TcpSock):
    """One connection. Every method that may cause segments returns them, in the order in which they leave.

    `now_ns` never goes back. After each call look at `deadline` (when to call `on_deadline`; None: never) and at
    `state`. Nothing here raises because of what arrives; calls that a socket would refuse give `error`: why the connection
    failed (ECONNREFUSED, ECONNRESET, EPIPE, ETIMEDOUT, EHOSTUNREACH ...), or None.

    Of what it knows a socket reads `mini` (a listener's request, or what is left of a closed connection: no full socket),
    `progress` (the peer has acknowledged something since this was last set False: the next segment out confirms the
    neighbour), `no_space` (a program found the send buffer full, and too little of it is free again) and `sndbuf` (as
    getsockopt(SO_SNDBUF) gives it, bytes).
    """

    __slots__ = ()

    @classmethod
    def connect(
        cls, config: TcpConfig, mss: int, iss: int, now_ns: int, ts_offset: int = 0, *, nodelay: bool = False
    ) -> tuple[TcpEndpoint, list[Segment]]:
        """An active open: the endpoint in SYN_SENT, and its SYN. `mss`: the route's MTU less 40."""
        tp = cls(config, mss, iss, now_ns, ts_offset, nodelay)
        select_initial_window(tp, mss)
        tp.go("active open")
        tp.write_seq = tp.snd_nxt = tp.pushed_seq = iss + 1
        skb = Skb(iss, b"", SYN)
        skb.sent_ns = now_ns
        tp.rtx_queue.append(skb)
        transmit_syn(tp, now_ns)
        rearm_rto(tp, now_ns)
        return tp, _taken(tp)

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
        tp = cls(config, mss, iss, now_ns, ts_offset, nodelay)
        tp.go("passive open")
        tp.go("rcv SYN")
        tp.mini, tp.ecn_ok = True, ecn
        take_syn(tp, syn)
        select_initial_window(tp, mss - (TS_LENGTH if tp.ts_ok else 0))
        syn_ack(tp, now_ns)
        tp.start_xmit_timer("retransmit", now_ns + config.timeout_init_ns)
        return tp, _taken(tp)

    @classmethod
    def of_cookie(
        cls, config: TcpConfig, mss: int, iss: int, syn: Segment, now_ns: int, ts_offset: int, *, nodelay: bool
    ) -> TcpEndpoint:
        """cookie_v4_check: the endpoint of a request that was not kept, made again for the segment that answers its cookie;
        when the SYN-ACK was sent is not known."""
        endpoint, _ = cls.accept(config, mss, iss, syn, now_ns, ts_offset, nodelay=nodelay)
        endpoint.lsndtime = -1
        return endpoint

    # What the network brings.

    def on_segment(self, segment: Segment, now_ns: int, waited: bool = False) -> list[Segment]:
        """A segment of this connection arrived (also in TIME_WAIT; call `reusable_isn` first for a SYN there).

        `waited`: it was announced by `wait`.
        """
        self.from_backlog = waited
        if (
            self.state != "ESTABLISHED"
            or segment.sack
            or not rcv_established(self, plain_part(segment), segment.burst, segment.gso_size, now_ns)
        ):
            receive(self, segment, now_ns)
        self.from_backlog = False
        out = self.out
        if out:
            self.out = []
        return out

    def wait(self, segment: Segment) -> None:
        """A segment came while a call owns the socket. It takes room in the receive buffer until `release`."""
        if not segment.payload:
            self.backlog_bytes += SHORT
            return
        skb = RxSkb(segment.payload, segment.burst, segment.gso_size)
        skb.condense()
        self.backlog_bytes += skb.truesize

    def release(self, now_ns: int) -> list[Segment]:
        """The call ends, and what waited was taken: one ACK for all of it, if one is due (tcp_release_cb)."""
        self.backlog_bytes = 0
        if self.ack_deferred:
            self.ack_deferred = False
            if self.ack_scheduled:
                send_ack(self, now_ns)
        return _taken(self)

    def on_deadline(self, now_ns: int, which: Deadline | None = None) -> list[Segment]:
        """`deadline` has come (or passed), or one of `deadlines`. Called earlier, nothing happens."""
        expire(self, now_ns, which)
        return _taken(self)

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
        if self.state == "CLOSE" or (self.mini and self.state != "SYN_RECV"):
            return []
        if seq is not None and not self.sent(seq):
            return []
        if self.mini:
            if abort:
                self.done("abort", errno)
            return []
        if revert and not owned and (seq is None or seq == self.wire(self.snd_una)):
            revert_backoff(self, now_ns)
        if self.state in ("SYN_SENT", "SYN_RECV") and not owned:
            self.out.clear()
            self.done("abort", errno)
        else:
            self.soft_error = errno
        return _taken(self)

    def take_soft_error(self) -> None:
        """The program polls or reads SO_ERROR while it connects: it learns of a soft error, and gives up."""
        if self.soft_error is not None and self.state == "SYN_SENT":
            self.done("abort", self.soft_error)

    def on_pmtu(self, mtu: int, now_ns: int) -> list[Segment]:
        """The path takes only `mtu` bytes (ICMP fragmentation needed): smaller segments, and the too large ones again at once."""
        mss = min(mtu, MAX_PACKET) - HEADERS
        if self.state == "CLOSE" or self.mini or mss >= self.path_mss:
            return []
        self.path_mss = mss
        sync_mss(self)
        lost = False
        for skb in tcp_retransmit.recut(self):
            if not skb.sacked:
                tcp_recovery.mark_lost(self, skb)
                lost = True
        if lost:
            if self.ca_state != "loss":
                self.high_seq = self.snd_nxt
                self.ssthresh = max(
                    self.ssthresh, (self.cwnd >> 1) + (self.cwnd >> 2)
                )  # tcp_current_ssthresh: no congestion
                self.prior_ssthresh, self.undo_marker = 0, False
                self.ca_state = "loss"
            tcp_recovery.retransmit_lost(self, now_ns)
        return _taken(self)

    def sync_mss(self, mtu: int) -> None:
        """tcp_sync_mss: the route's MTU, learned or forgotten by others than this connection, holds from the next segment on."""
        mss = min(mtu, MAX_PACKET) - HEADERS
        if mss != self.path_mss and self.state != "CLOSE" and not self.mini:
            self.path_mss = mss
            sync_mss(self)

    def give_back(self, seq: int, now_ns: int) -> None:
        """New data from `seq` (wire) on did not leave this host: it waits, and is tried again as a window probe would be."""
        tcp_retransmit.give_back(self, seq, now_ns)

    def sent(self, seq: int) -> bool:
        """Is `seq` (as on the wire) of something on its way? What an ICMP error quotes must be (RFC 5927)."""
        return (seq - self.snd_una) & 0xFFFFFFFF <= max(self.snd_nxt - self.snd_una, 0)

    # What the application does.

    def write(self, data: bytes, now_ns: int, *, more: bool = False) -> list[Segment]:
        """send(2); `more` is MSG_MORE. `taken` is how many bytes the send buffer had room for; when that is not all, `no_space`
        lasts until a program may write again.

        While connecting it waits for the handshake. After the FIN or the end nothing is taken (`may_write` is False):
        the caller raises EPIPE or `error`.
        """
        plain = None if more else self.push(data, now_ns)
        if plain is not None:
            self.taken = len(data)
            self.out.append(of_plain(plain))
        elif data and self.may_write:
            if self.state in MAY_SEND:
                self.taken = queue_data(self, data, now_ns, more=more)
            else:
                queue_early(self, data)
                self.taken = len(data)
        out = self.out
        if out:
            self.out = []
        return out

    def push(self, data: bytes, now_ns: int) -> Plain | None:
        """send(2) of what leaves at once, in one segment: that segment. None: it is none such, and nothing was done; see `write`."""
        if self.state in MAY_SEND and not self.send_shutdown:
            return push_one(self, data, PSH, now_ns)
        return None

    def read(self, size: int, now_ns: int) -> tuple[bytes, list[Segment]]:
        """recv(2): up to `size` bytes in order (b"": none now, or `eof`), and the window update that reading may cause."""
        queue = self.receive_queue
        if len(queue) == 1 and not self.receive_offset and len(queue[0].data) <= size:
            skb = queue.popleft()  # all there is, as most programs read
            data = b"" + skb.data
            copied = len(data)
            self.copied_seq += copied
            if self.rcv_rtt_ns:
                rcv_space_adjust(self)
            self.rmem_alloc -= skb.truesize
        else:
            data = self._read_parts(size)
            copied = len(data)
        if self.state not in UNREAD and not self.mini:
            _cleanup_rbuf(self, copied, now_ns)
        out = self.out
        if out:
            self.out = []
        return data, out

    def _read_parts(self, size: int) -> bytes:
        parts: list[bytes | bytearray] = []
        left = size
        while left and self.receive_queue:
            skb = self.receive_queue[0]
            offset = self.receive_offset
            piece = skb.data[offset : offset + left]
            parts.append(piece)
            left -= len(piece)
            self.copied_seq += len(piece)
            rcv_space_adjust(self)
            if offset + len(piece) == len(skb.data):
                self.receive_queue.popleft()
                self.rmem_alloc -= skb.truesize
                self.receive_offset = 0
            else:
                self.receive_offset = offset + len(piece)
        return b"".join(parts)

    def close(self, now_ns: int) -> list[Segment]:
        """close(2): FIN after what is queued; with unread data a RST instead. The endpoint lives on until its state is CLOSE."""
        if self.orphan:
            return []
        self.orphan = True
        self.receive_shutdown = True
        if self.state == "CLOSE" or self.time_waiting:
            return []
        if self.mini or self.state == "SYN_SENT":
            self.done("abort")
        elif self.receive_queue:
            self.receive_queue.clear()
            self._reset(now_ns)
        else:
            self._shutdown(now_ns)
            if self.state == "FIN_WAIT2":
                enter_time_wait(self, now_ns)
        return _taken(self)

    def shutdown(self, now_ns: int) -> list[Segment]:
        """shutdown(SHUT_WR): FIN after the queued data; reading is still possible."""
        if not self.mini:
            self._shutdown(now_ns)
        return _taken(self)

    def abort(self, now_ns: int) -> list[Segment]:
        """SO_LINGER 0 and close: RST, and the connection is forgotten."""
        self.orphan = True
        if self.mini or self.state in ("SYN_SENT", "CLOSE", "TIME_WAIT"):
            self.done("abort")
        else:
            self._reset(now_ns)
        return _taken(self)

    def set_nodelay(self, on: bool, now_ns: int) -> list[Segment]:
        """TCP_NODELAY; switching it on sends what Nagle held back."""
        self.nodelay = on
        if on and self.state in MAY_SEND:
            push_pending(self, NAGLE_OFF, now_ns)
        return _taken(self)

    def shutdown_read(self) -> None:
        """shutdown(SHUT_RD): reading ends; what comes is still acknowledged."""
        self.receive_shutdown = True

    def set_sndbuf(self, size: int) -> None:
        """SO_SNDBUF, of which Linux makes twice as much for the heads of buffers. It stays so: it grows no more (SOCK_SNDBUF_LOCK)."""
        self.sndbuf, self.sndbuf_locked = max(2 * size, SNDBUF_MIN), True

    def info(self, now_ns: int) -> TcpFigures:
        """getsockopt(TCP_INFO)."""
        return tcp_info(self, now_ns)

    def _reset(self, now_ns: int) -> None:
        send_reset(self, now_ns)
        self.done("abort")

    def _shutdown(self, now_ns: int) -> None:
        if self.send_shutdown:
            return
        before = self.state
        self.go("close")
        if self.state == before:
            return
        self.send_shutdown = True
        plain = push_one(self, b"", FIN, now_ns) if before in MAY_SEND else None
        if plain is not None:
            self.out.append(of_plain(plain))
        else:
            queue_fin(self, now_ns)

    # What can be seen.

    @property
    def deadlines(self) -> tuple[int | None, int | None, int | None, int | None]:
        """When each timer runs out (ns), or None: "transmit", "ack" and "linger" of the timer wheel, then "compressed"."""
        return self.xmit_at, self.delack_at, self.linger_at, self.compressed_at

    @property
    def readable(self) -> int:
        """How many bytes `read` could give now (tcp_inq)."""
        return self.rcv_nxt - self.copied_seq - self.fin_received if self.receive_queue else 0

    @property
    def eof(self) -> bool:
        """The peer has sent its FIN (or the connection is gone, or reading was shut down) and all its data was read."""
        return (self.fin_received or self.receive_shutdown or self.state == "CLOSE") and not self.receive_queue

    @property
    def may_write(self) -> bool:
        return (
            not self.send_shutdown
            and not self.mini
            and (self.state in MAY_SEND or self.state in ("SYN_SENT", "SYN_RECV"))
        )

    @property
    def unsent(self) -> int:
        """Bytes that wait for windows or Nagle."""
        return sum(len(skb.data) for skb in self.write_queue)

    @property
    def mss(self) -> int:
        """Payload of a full segment as things stand."""
        return self.mss_cache

    @property
    def time_waiting(self) -> bool:
        """Only a mini socket is left: its answers have IP ID 0, and a SYN may open a new connection in its place."""
        return self.mini and self.state in ("FIN_WAIT2", "TIME_WAIT")

    def misses(self, segment: Segment) -> bool:
        """Is this a request, and the segment one for its listener?"""
        return misses(self, segment)

    def reusable_isn(self, syn: Segment) -> int | None:
        """In TIME_WAIT: the ISN with which a listener may take `syn` as a new connection (forget this endpoint then), or None."""
        return reusable(self, syn) if syn.flags & (SYN | ACK) == SYN else None


def _cleanup_rbuf(tp: TcpSock, copied: int, now_ns: int) -> None:
    """After reading: acknowledge what was held back, or announce a window that has opened (tcp_cleanup_rbuf)."""
    if tp.ack_scheduled:
        if tp.rcv_nxt - tp.rcv_wup > tp.rcv_mss or (
            copied
            and not tp.rmem_alloc
            and (tp.ack_pushed2 or (tp.ack_pushed and tp.pingpong < tp.config.pingpong_thresh))
        ):  # a second segment, or the end of a write
            send_ack(tp, now_ns)
            return
    if copied and not tp.receive_shutdown:
        window = tp.rcv_wup + tp.rcv_wnd - tp.rcv_nxt  # `receive_window`
        if 2 * window <= tp.window_clamp:
            opened = offered_window(tp)
            if opened and opened >= 2 * max(window, 0):
                send_ack(tp, now_ns)


def _taken(tp: TcpSock) -> list[Segment]:
    out = tp.out
    if out:
        tp.out = []
    return out
