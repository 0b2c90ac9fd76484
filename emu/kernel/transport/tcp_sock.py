"""What one TCP connection knows: settings, the queues, the numbers. The state that input, output and timers share.

Names are Linux's (struct tcp_sock, inet_connection_sock) where one exists; times are ns, sequence numbers grow
without wrapping. Must not know frames or the clock, and decides nothing: see tcp_input, tcp_ack, tcp_output, tcp_timer.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from emu.kernel.transport.seqnum import MASK
from emu.kernel.transport.tcp_options import TS_LENGTH, Segment
from emu.kernel.transport.tcp_rmem import RxSkb
from emu.kernel.transport.tcp_states import Event, State, next_state

MS: Final = 1_000_000
SECOND: Final = 1_000_000_000

ATO_MIN_NS: Final = 40 * MS  # TCP_ATO_MIN
DELACK_MIN_NS: Final = 40 * MS
TICK_NS: Final = 4 * MS  # HZ=250
DELACK_MAX_NS: Final = 200 * MS
TIMEOUT_MIN_NS: Final = 2 * MS  # TCP_TIMEOUT_MIN_US
MAX_QUICKACKS: Final = 16
MSS_DEFAULT: Final = 536
MIN_MSS: Final = 88
MIN_PATH_MSS: Final = 48  # TCP_MIN_SND_MSS
INIT_CWND: Final = 10
INFINITE_SSTHRESH: Final = 0x7FFFFFFF
REORDERING: Final = 3
GSO_MAX: Final = 65536 - 1 - 320

Timer: TypeAlias = Literal["", "retransmit", "tail loss probe", "reordering", "zero window probe"]
Deadline: TypeAlias = Literal["transmit", "ack", "linger", "compressed"]
Recovery: TypeAlias = Literal["open", "disorder", "recovery", "loss"]


def in_ticks(delay_ns: int) -> int:
    """A timeout as Linux keeps it: whole ticks (usecs_to_jiffies)."""
    return -(-delay_ns // TICK_NS) * TICK_NS


@dataclass(frozen=True, slots=True)
class TcpConfig:
    """The net.ipv4.tcp_* settings of a namespace. Sizes in bytes, times in ns; `rmem`, `wmem` are (min, default, max)."""

    timestamps: bool = True
    sack: bool = True
    window_scaling: bool = True
    rmem: tuple[int, int, int] = (4096, 131072, 33554432)
    wmem: tuple[int, int, int] = (4096, 16384, 4194304)
    rmem_max: int = 4194304
    syn_linear_timeouts: int = 4
    syn_retries: int = 6
    synack_retries: int = 5
    retries2: int = 15
    orphan_retries: int = 8
    fin_timeout_ns: int = 60 * SECOND
    timewait_ns: int = 60 * SECOND
    timeout_init_ns: int = SECOND
    rto_min_ns: int = 200 * MS
    rto_max_ns: int = 120 * SECOND
    pingpong_thresh: int = 1
    early_retrans: bool = True  # tail loss probes
    slow_start_after_idle: bool = True
    moderate_rcvbuf: bool = True
    invalid_ratelimit_ns: int = 500 * MS
    backlog_ack_defer: bool = True
    tso_win_divisor: int = 3
    tso_rtt_log: int = 9
    min_tso_segs: int = 2
    comp_sack_nr: int = 44
    comp_sack_delay_ns: int = MS
    comp_sack_slack_ns: int = 100_000
    pacing_ratios: tuple[int, int] = (200, 120)  # %, in slow start and later


class Skb:
    """A piece of the send queue: `seq`, payload and flags (FIN, SYN, PSH), and what became of it once sent.

    `burst`: sent together with the piece before, which to the kernel is one buffer (GSO).
    """

    __slots__ = ("burst", "seq", "data", "flags", "sent_ns", "sacked", "lost", "retrans", "ever_retrans")

    def __init__(self, seq: int, data: bytearray | bytes, flags: int = 0) -> None:
        self.seq, self.data, self.flags = seq, data, flags
        self.sent_ns = 0
        self.burst = False
        self.sacked = self.lost = self.retrans = self.ever_retrans = False

    @property
    def end_seq(self) -> int:
        return self.seq + len(self.data) + (self.flags & 1) + (self.flags >> 1 & 1)


@dataclass(slots=True)
class Early:
    """A piece of the out-of-order queue; `end_seq` counts its FIN."""

    seq: int
    end_seq: int
    skb: RxSkb
    fin: bool


class TcpSock:
    """The variables of one connection. `out` collects the segments to send until the caller takes them."""

    __slots__ = (
        "ack_deferred", "ack_now", "ack_pushed", "ack_pushed2", "ack_scheduled", "advmss", "ato_ns", "backlog_bytes", "backoff", "ca_state", "compressed", "compressed_at", "compressed_rcv_nxt", "config",
        "copied_seq", "cwnd", "cwnd_count", "cwnd_limited", "cwnd_usage_seq", "delack_at", "dsack", "dup_acks", "ecn_ok", "error",
        "fackets_high", "fin_received", "from_backlog", "high_seq", "irs", "iss", "last_oow_ack", "last_seg_size", "linger_at",
        "lost_out", "lrcvtime", "lsndtime", "max_packets_out", "max_window", "mdev_max_ns", "mdev_ns", "min_rtt_ns",
        "mini", "mss_cache", "mss_clamp", "mstamp", "no_space", "nodelay", "ofo", "orphan", "out", "path_mss", "pingpong", "prior_cwnd",
        "prior_ssthresh", "probe_at", "probes_out", "probing", "progress", "prr_delivered", "prr_out", "pushed_seq", "quick", "rack_advanced", "rack_end_seq",
        "rack_mstamp", "rack_rtt_ns", "rcv_cut", "rcv_gso_size", "rcv_mss", "rcv_nxt", "rcv_rtt_ns", "rcv_rtt_seq",
        "rcv_rtt_time", "rcv_ssthresh", "rcv_tstamp", "rcv_wnd", "rcv_wscale", "rcv_wup", "rcvbuf", "rcvq_seq",
        "rcvq_space", "rcvq_time", "receive_offset", "receive_queue", "receive_shutdown", "reordering_seen",
        "retrans_out", "retrans_stamp", "retransmits", "rmem_alloc", "rto_ns", "rtt_seq", "rttvar_ns", "rtx_queue",
        "sack_blocks", "sack_ok", "sacked_out", "scaling_ratio", "send_shutdown", "snd_nxt", "snd_sml", "snd_una",
        "snd_wl1", "snd_wnd", "snd_wscale", "sndbuf", "sndbuf_locked", "soft_error", "srtt_ns", "ssthresh", "state", "taken", "tlp_high_seq",
        "tlp_retrans", "total_retrans", "total_rto", "ts_offset", "ts_ok", "ts_recent", "ts_recent_stamp",
        "undo_marker", "undo_retrans", "window_clamp", "write_queue", "write_seq", "wscale_ok", "xmit_at",
        "xmit_timer",
    )  # fmt: skip

    def __init__(self, config: TcpConfig, mss: int, iss: int, now_ns: int, ts_offset: int, nodelay: bool) -> None:
        self.config = config
        self.state: State = "CLOSE"
        self.error: int | None = None
        self.soft_error: int | None = None
        self.out: list[Segment] = []
        self.nodelay = nodelay
        self.ts_offset = ts_offset
        self.orphan = False  # the application has closed (SOCK_DEAD)
        self.ecn_ok = False  # the SYN asked for ECN (RFC 3168), which a listener takes by default (tcp_ecn 2)
        self.mini = False  # lives on as a time-wait mini socket
        self.send_shutdown = False
        self.receive_shutdown = False
        self.progress = False

        # The options that both sides use, and sizes of segments.
        self.path_mss = mss  # what the path takes: its MTU less 40
        self.advmss = mss  # what we announce
        self.mss_clamp = MSS_DEFAULT  # what the peer announced
        self.mss_cache = mss
        self.ts_ok = config.timestamps
        self.sack_ok = config.sack
        self.wscale_ok = config.window_scaling
        self.snd_wscale = self.rcv_wscale = 0
        self.ts_recent = 0
        self.ts_recent_stamp = False

        # Sending.
        self.iss = iss
        self.snd_una = self.snd_nxt = self.write_seq = self.pushed_seq = self.snd_sml = iss
        self.snd_wnd = self.max_window = 0
        self.snd_wl1 = 0
        self.write_queue: deque[Skb] = deque()
        self.rtx_queue: deque[Skb] = deque()
        self.sndbuf = config.wmem[1]
        self.sndbuf_locked = False  # a program chose its size
        self.taken = 0  # bytes of the last write
        self.no_space = False  # a program found the send buffer full, and waits
        self.lsndtime = now_ns
        self.rcv_tstamp = now_ns
        self.mstamp = now_ns  # when a segment last came, or leave was given to send (tcp_mstamp)

        # Round-trip time (RFC 6298 with Linux's floor under the variance).
        self.srtt_ns = 0
        self.mdev_ns = self.mdev_max_ns = self.rttvar_ns = 0
        self.rtt_seq = iss
        self.min_rtt_ns = 0
        self.rto_ns = config.timeout_init_ns
        self.backoff = self.retransmits = self.probes_out = self.total_rto = self.total_retrans = 0
        self.retrans_stamp = 0
        self.probing = False  # what is sent now is a probe

        # Congestion: Reno, RACK, PRR.
        self.ca_state: Recovery = "open"
        self.cwnd = INIT_CWND
        self.cwnd_count = 0
        self.ssthresh = INFINITE_SSTHRESH
        self.cwnd_limited = False
        self.max_packets_out = 0
        self.cwnd_usage_seq = iss
        self.sacked_out = self.lost_out = self.retrans_out = 0
        self.high_seq = iss
        self.tlp_high_seq = 0
        self.tlp_retrans = False
        self.prior_cwnd = self.prr_delivered = self.prr_out = 0
        self.undo_marker = False
        self.undo_retrans = 0
        self.prior_ssthresh = 0
        self.rack_mstamp = self.rack_rtt_ns = 0
        self.rack_advanced = False  # something was delivered since losses were last looked for
        self.rack_end_seq = iss
        self.reordering_seen = False
        self.fackets_high = iss  # highest sequence that was SACKed

        # Receiving.
        self.irs = 0
        self.rcv_nxt = self.copied_seq = self.rcv_wup = 0
        self.rcv_wnd = 0
        self.window_clamp = 0
        self.rcv_ssthresh = 0
        self.rcvbuf = config.rmem[1]
        self.rmem_alloc = 0
        self.scaling_ratio = 128  # of 256: how much of the buffer is payload
        self.receive_queue: deque[RxSkb] = deque()
        self.receive_offset = 0
        self.ofo: list[Early] = []  # sorted by seq
        self.rcv_cut = False  # the segment that comes in was cut from a burst
        self.rcv_gso_size = 0  # or is one still, of segments of so many bytes
        self.from_backlog = False  # it waited for the end of a call
        self.backlog_bytes = 0  # what all that wait are charged (sk_backlog.len)
        self.sack_blocks: list[tuple[int, int]] = []  # newest first
        self.dsack: tuple[int, int] | None = None
        self.fin_received = False
        self.rcvq_space = 0
        self.rcvq_seq = 0
        self.rcvq_time = now_ns
        self.rcv_rtt_ns = 0
        self.rcv_rtt_seq = 0
        self.rcv_rtt_time = now_ns

        # Acknowledging.
        self.rcv_mss = MSS_DEFAULT
        self.last_seg_size = 0
        self.ack_scheduled = self.ack_now = False
        self.ack_deferred = False  # until the call ends
        self.ack_pushed = self.ack_pushed2 = False
        self.quick = 0
        self.compressed = 0  # ACKs about a gap that wait together (compressed_ack)
        self.compressed_rcv_nxt = self.dup_acks = 0  # how many about a gap at this place did not
        self.pingpong = 0
        self.ato_ns = 0
        self.lrcvtime = now_ns - now_ns % TICK_NS
        self.last_oow_ack: int | None = None

        # Deadlines, None when not armed.
        self.xmit_timer: Timer = ""
        self.xmit_at: int | None = None
        self.probe_at: int | None = None  # when the window was to be probed, before what was sent last
        self.delack_at: int | None = None
        self.compressed_at: int | None = None
        self.linger_at: int | None = None  # FIN_WAIT2 of a closed socket, TIME_WAIT

    def go(self, event: Event) -> None:
        """Take one step in the table of tcp_states."""
        self.state = next_state(self.state, event)

    def wire(self, seq: int) -> int:
        return seq & MASK

    @property
    def header_options(self) -> int:
        """Bytes of options that every segment carries once the connection stands."""
        return TS_LENGTH if self.ts_ok else 0

    @property
    def in_flight(self) -> int:
        return len(self.rtx_queue) - self.sacked_out - self.lost_out + self.retrans_out

    @property
    def wnd_end(self) -> int:
        """The first sequence number that the peer does not let us send."""
        return self.snd_una + self.snd_wnd

    @property
    def receive_window(self) -> int:
        """What is left of the window we last announced."""
        return max(self.rcv_wup + self.rcv_wnd - self.rcv_nxt, 0)

    def win_from_space(self, space: int) -> int:
        return max(space, 0) * self.scaling_ratio >> 8

    @property
    def full_space(self) -> int:
        return self.win_from_space(self.rcvbuf)

    @property
    def space(self) -> int:
        """The window that the free part of the receive buffer is worth."""
        return self.win_from_space(self.rcvbuf - self.backlog_bytes - self.rmem_alloc)

    @property
    def deadline(self) -> int | None:
        due, delack_at, linger_at = self.xmit_at, self.delack_at, self.linger_at
        if self.compressed_at is not None and (due is None or self.compressed_at < due):
            due = self.compressed_at
        if delack_at is not None and (due is None or delack_at < due):
            due = delack_at
        if linger_at is not None and (due is None or linger_at < due):
            due = linger_at
        return due

    @property
    def in_pingpong(self) -> bool:
        return self.pingpong >= self.config.pingpong_thresh

    def stop_xmit_timer(self) -> None:
        self.xmit_timer, self.xmit_at = "", None

    def start_xmit_timer(self, what: Timer, at_ns: int) -> None:
        self.xmit_timer, self.xmit_at = what, at_ns

    def done(self, event: Event, error: int | None = None) -> None:
        """The connection is over: no timers, nothing left to send (tcp_done)."""
        if self.state == "CLOSE":
            return
        self.go(event)
        self.stop_xmit_timer()
        self.delack_at = self.linger_at = self.compressed_at = None
        self.write_queue.clear()
        self.rtx_queue.clear()
        self.sacked_out = self.lost_out = self.retrans_out = 0
        self.ofo.clear()
        self.send_shutdown = self.receive_shutdown = True
        if error is not None:
            self.error = error
