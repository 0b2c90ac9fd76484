"""The figures of a connection: the part of struct tcp_info (getsockopt TCP_INFO) that emu has. Must not know sockets.

Fields and their units are tcp_get_info's of net/ipv4/tcp.c: times in microseconds (since the last data: in
milliseconds), counts in segments.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from emu.kernel.transport.tcp_sock import TICK_NS, TcpSock

STATES: Final = (
    "", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT", "CLOSE", "CLOSE_WAIT", "LAST_ACK",
    "LISTEN", "CLOSING",
)  # fmt: skip
CA_STATES: Final = ("open", "disorder", "cwr", "recovery", "loss")
TIMESTAMPS, SACK, WSCALE = 1, 2, 4  # TCPI_OPT_*
_US: Final = 1_000
_MS: Final = 1_000_000


class TcpFigures(NamedTuple):
    """struct tcp_info, as far as emu has it."""

    tcpi_state: int
    tcpi_ca_state: int
    tcpi_retransmits: int
    tcpi_probes: int
    tcpi_backoff: int
    tcpi_options: int
    tcpi_snd_wscale: int
    tcpi_rcv_wscale: int
    tcpi_rto: int
    tcpi_ato: int
    tcpi_snd_mss: int
    tcpi_rcv_mss: int
    tcpi_unacked: int
    tcpi_sacked: int
    tcpi_lost: int
    tcpi_retrans: int
    tcpi_last_data_sent: int
    tcpi_last_data_recv: int
    tcpi_rcv_ssthresh: int
    tcpi_rtt: int
    tcpi_rttvar: int
    tcpi_snd_ssthresh: int
    tcpi_snd_cwnd: int
    tcpi_advmss: int
    tcpi_total_retrans: int
    tcpi_notsent_bytes: int
    tcpi_min_rtt: int


def tcp_info(tp: TcpSock, now_ns: int) -> TcpFigures:
    """The values now. Before the first round-trip time is measured tcpi_min_rtt is 2**32 - 1."""
    tick_ns = now_ns - now_ns % TICK_NS
    options = TIMESTAMPS * tp.ts_ok | SACK * tp.sack_ok | WSCALE * tp.wscale_ok
    return TcpFigures(
        tcpi_state=STATES.index(tp.state),
        tcpi_ca_state=CA_STATES.index(tp.ca_state),
        tcpi_retransmits=tp.retransmits,
        tcpi_probes=tp.probes_out,
        tcpi_backoff=tp.backoff,
        tcpi_options=options,
        tcpi_snd_wscale=tp.snd_wscale if tp.wscale_ok else 0,
        tcpi_rcv_wscale=tp.rcv_wscale if tp.wscale_ok else 0,
        tcpi_rto=tp.rto_ns // _US,
        tcpi_ato=tp.ato_ns // _US,
        tcpi_snd_mss=tp.mss_cache,
        tcpi_rcv_mss=tp.rcv_mss,
        tcpi_unacked=len(tp.rtx_queue),
        tcpi_sacked=tp.sacked_out,
        tcpi_lost=tp.lost_out,
        tcpi_retrans=tp.retrans_out,
        tcpi_last_data_sent=(tick_ns - (tp.lsndtime - tp.lsndtime % TICK_NS)) // _MS,
        tcpi_last_data_recv=(tick_ns - tp.lrcvtime) // _MS,
        tcpi_rcv_ssthresh=tp.rcv_ssthresh,
        tcpi_rtt=tp.srtt_ns // _US,
        tcpi_rttvar=tp.mdev_ns // _US,
        tcpi_snd_ssthresh=tp.ssthresh,
        tcpi_snd_cwnd=tp.cwnd,
        tcpi_advmss=tp.advmss,
        tcpi_total_retrans=tp.total_retrans,
        tcpi_notsent_bytes=max(tp.write_seq - tp.snd_nxt, 0),
        tcpi_min_rtt=tp.min_rtt_ns // _US if tp.min_rtt_ns else 0xFFFFFFFF,
    )
