"""The net.ipv4.tcp_* settings of a namespace, as an endpoint takes them. Must not know sockets."""

from __future__ import annotations

from emu.clock import SECOND
from emu.kernel.sysctl import Sysctls
from emu.kernel.transport.tcp_sock import TcpConfig


def config_of(sysctl: Sysctls) -> TcpConfig:
    """The settings as they are now."""
    number = sysctl.number
    rmem, wmem = sysctl.numbers("net.ipv4.tcp_rmem"), sysctl.numbers("net.ipv4.tcp_wmem")
    return TcpConfig(
        timestamps=bool(number("net.ipv4.tcp_timestamps")),
        sack=bool(number("net.ipv4.tcp_sack")),
        window_scaling=bool(number("net.ipv4.tcp_window_scaling")),
        rmem=(rmem[0], rmem[1], rmem[2]),
        wmem=(wmem[0], wmem[1], wmem[2]),
        rmem_max=number("net.core.rmem_max"),
        syn_linear_timeouts=number("net.ipv4.tcp_syn_linear_timeouts"),
        syn_retries=number("net.ipv4.tcp_syn_retries"),
        synack_retries=number("net.ipv4.tcp_synack_retries"),
        retries2=number("net.ipv4.tcp_retries2"),
        fin_timeout_ns=number("net.ipv4.tcp_fin_timeout") * SECOND,
        slow_start_after_idle=bool(number("net.ipv4.tcp_slow_start_after_idle")),
        moderate_rcvbuf=bool(number("net.ipv4.tcp_moderate_rcvbuf")),
        backlog_ack_defer=bool(number("net.ipv4.tcp_backlog_ack_defer")),
        tso_win_divisor=number("net.ipv4.tcp_tso_win_divisor"),
        tso_rtt_log=number("net.ipv4.tcp_tso_rtt_log"),
        comp_sack_nr=number("net.ipv4.tcp_comp_sack_nr"),
        comp_sack_delay_ns=number("net.ipv4.tcp_comp_sack_delay_ns"),
        comp_sack_slack_ns=number("net.ipv4.tcp_comp_sack_slack_ns"),
        min_tso_segs=number("net.ipv4.tcp_min_tso_segs"),
        pacing_ratios=(number("net.ipv4.tcp_pacing_ss_ratio"), number("net.ipv4.tcp_pacing_ca_ratio")),
    )
