"""The sysctls of a network namespace as one literal table: name, how emu treats it, default, unit, limits, rule.

Defaults are those of Linux 6.18 on a machine with plenty of memory, but for `tcp_congestion_control`, which is reno because
that is what is modelled. Must not know how values are stored, or devices: `*` stands for their names.
"""

from __future__ import annotations

from typing import NamedTuple

from emu.modelled import Fate, NotModelled, Treatment, WithoutEffect, used

Value = int | str | tuple[int, ...]
Limits = tuple[int, int]

# How `all` and the device's own value make the effective one (include/linux/inetdevice.h)
MAX, OR, AND, OWN, REDIRECTS = "max", "or", "and", "own", "redirects"
# What write does besides storing
PLAIN, FORWARDING, SWITCH = "plain", "forwarding", "switch"

INT = (-(2**31), 2**31 - 1)
U32, U8, BOOL, NATURAL, PORT = (0, 2**32 - 1), (0, 255), (0, 1), (0, 2**31 - 1), (0, 65535)

# The flows whose outcome may depend on a row that is not modelled
ANY = Fate()
SENT = Fate(kinds=("send",))  # only packets that people write themselves
LOST_TCP = Fate(kinds=("tcp",), outcomes=("dropped", "timeout"))

# Reasons that several rows share
IGMP = WithoutEffect("no socket of emu joins a multicast group")
IPV6 = WithoutEffect("it concerns IPv6 packets, and emu has none")
IPSEC = WithoutEffect("there is no IPsec")
VRF = NotModelled("sockets that are bound to no device and receive by a VRF")
PLB = WithoutEffect("only DCTCP reads it, and it is not modelled")
TABLE_SIZE = WithoutEffect("it changes how fast sockets are found")
PROBING = WithoutEffect("only tcp_mtu_probing makes Linux read it")
ECN = NotModelled("ECN (the flags of SYNs, the ECN bits of IP)")
KEEPALIVE = WithoutEffect("no socket of emu sets SO_KEEPALIVE")


class Sysctl(NamedTuple):
    """One variable. `*` in the name stands for the device; `limits` bound every number of the value."""

    name: str
    treatment: Treatment
    default: Value
    unit: str
    limits: Limits = INT
    rule: str = PLAIN


def _conf(variable: str, treatment: Treatment, default: int, rule: str, unit: str = "level") -> Sysctl:
    return Sysctl(f"net.ipv4.conf.*.{variable}", treatment, default, unit, INT, rule)


def _neigh(variable: str, treatment: Treatment, default: int, unit: str, limits: Limits = NATURAL) -> Sysctl:
    return Sysctl(f"net.ipv4.neigh.*.{variable}", treatment, default, unit, limits)


def _seconds(variable: str, treatment: Treatment, default: int) -> Sysctl:
    return Sysctl(f"net.netfilter.nf_conntrack_{variable}", treatment, default, "s")


# `cs` is 1/100 s (USER_HZ), `jiffies` 1/250 s.
TABLE: tuple[Sysctl, ...] = (
    # one a namespace
    Sysctl("net.ipv4.ip_forward", used("kernel/sysctl", "kube/cni/links"), 0, "bool", INT, FORWARDING),
    Sysctl("net.ipv4.ip_default_ttl", used("kernel/boot"), 64, "hops", (1, 255)),
    Sysctl(
        "net.ipv4.ip_local_port_range",
        used("kernel/transport/ports", "kernel/net/flow_hash"),
        (32768, 60999),
        "port",
        (1, 65535),
    ),
    Sysctl("net.ipv4.ip_local_reserved_ports", used("kernel/transport/ports"), "", "ports"),
    Sysctl("net.ipv4.ip_unprivileged_port_start", WithoutEffect("every process of emu is root's"), 1024, "port", PORT),
    Sysctl("net.ipv4.ip_nonlocal_bind", NotModelled("bind to an address that is not local"), 0, "bool", U8),
    Sysctl("net.ipv4.ip_autobind_reuse", NotModelled("the choice of a client's port"), 0, "bool", BOOL),
    Sysctl(
        "net.ipv4.ip_no_pmtu_disc",
        used(
            "kernel/net/route",
            "kernel/transport/ping",
            "kernel/transport/tcp_ipv4",
            "kernel/transport/tcp_sender",
            "kernel/transport/udp",
        ),
        0,
        "level",
        (0, 3),
    ),
    Sysctl("net.ipv4.ip_forward_use_pmtu", NotModelled("the MTU that a router forwards by"), 0, "bool", U8),
    Sysctl(
        "net.ipv4.ip_forward_update_priority",
        WithoutEffect("it sets the priority in the queue, and no device has a queue"),
        1,
        "bool",
        BOOL,
    ),
    Sysctl("net.ipv4.ip_dynaddr", NotModelled("a source address that changes while a client connects"), 0, "level", U8),
    Sysctl("net.ipv4.ip_early_demux", used("kernel/net/fragment"), 1, "bool", U8),
    Sysctl("net.ipv4.fwmark_reflect", NotModelled("the mark of RSTs and ICMP errors"), 0, "bool", U8),
    Sysctl("net.ipv4.ping_group_range", WithoutEffect("every process of emu is root's"), (1, 0), "gid", NATURAL),
    Sysctl("net.ipv4.icmp_echo_ignore_all", used("kernel/net/icmp"), 0, "bool", BOOL),
    Sysctl("net.ipv4.icmp_echo_ignore_broadcasts", used("kernel/net/icmp"), 1, "bool", BOOL),
    Sysctl(
        "net.ipv4.icmp_echo_enable_probe",
        NotModelled("the answer to an extended echo request (RFC 8335)", SENT),
        0,
        "bool",
        BOOL,
    ),
    Sysctl(
        "net.ipv4.icmp_errors_use_inbound_ifaddr", NotModelled("the source address of ICMP errors"), 0, "bool", BOOL
    ),
    Sysctl("net.ipv4.icmp_ignore_bogus_error_responses", WithoutEffect("it silences log messages"), 1, "bool", BOOL),
    Sysctl("net.ipv4.icmp_msgs_per_sec", used("kernel/net/icmp"), 1000, "count", NATURAL),
    Sysctl("net.ipv4.icmp_msgs_burst", used("kernel/net/icmp"), 50, "count", NATURAL),
    Sysctl("net.ipv4.icmp_ratelimit", used("kernel/net/icmp"), 1000, "ms", NATURAL),
    Sysctl("net.ipv4.icmp_ratemask", used("kernel/net/icmp"), 6168, "bits"),
    Sysctl("net.ipv4.igmp_link_local_mcast_reports", IGMP, 1, "bool", U8),
    Sysctl("net.ipv4.igmp_max_memberships", IGMP, 20, "count"),
    Sysctl("net.ipv4.igmp_qrv", IGMP, 2, "count", (1, 2**31 - 1)),
    Sysctl("net.ipv4.ipfrag_high_thresh", used("kernel/net/fragment"), 4194304, "bytes", NATURAL),
    Sysctl(
        "net.ipv4.ipfrag_low_thresh", WithoutEffect("the kernel does not read it since 4.17"), 3145728, "bytes", NATURAL
    ),
    Sysctl("net.ipv4.ipfrag_max_dist", used("kernel/net/fragment"), 64, "count", NATURAL),
    Sysctl("net.ipv4.ipfrag_time", used("kernel/net/fragment"), 30, "s"),
    Sysctl("net.ipv4.fib_multipath_hash_fields", used("kernel/net/multipath"), 7, "bits", (1, 255)),
    Sysctl(
        "net.ipv4.fib_multipath_hash_policy", used("kernel/net/ip_input", "kernel/net/multipath"), 0, "choice", (0, 3)
    ),
    Sysctl("net.ipv4.fib_multipath_use_neigh", used("kernel/net/multipath"), 0, "bool", BOOL),
    Sysctl(
        "net.ipv4.fib_notify_on_flag_change", WithoutEffect("it notifies of routes in hardware"), 0, "choice", (0, 2)
    ),
    Sysctl("net.ipv4.route.error_burst", used("kernel/net/ip_input"), 1250, "jiffies"),
    Sysctl("net.ipv4.route.error_cost", used("kernel/net/ip_input"), 250, "jiffies"),
    Sysctl("net.ipv4.route.max_size", WithoutEffect("Linux has no route cache since 3.6"), 2147483647, "count"),
    Sysctl("net.ipv4.route.min_adv_mss", NotModelled("the least MSS of a SYN"), 256, "bytes"),
    Sysctl("net.ipv4.route.min_pmtu", used("kernel/net/route"), 552, "bytes", (68, 2**31 - 1)),
    Sysctl("net.ipv4.route.mtu_expires", used("kernel/net/route"), 600, "s"),
    Sysctl("net.ipv4.route.redirect_load", used("kernel/net/route"), 5, "jiffies"),
    Sysctl("net.ipv4.route.redirect_number", used("kernel/net/route"), 9, "count"),
    Sysctl("net.ipv4.route.redirect_silence", used("kernel/net/route"), 5120, "jiffies"),
    Sysctl(
        "net.ipv4.tcp_abort_on_overflow",
        NotModelled("the RST of a listener whose queue is full", LOST_TCP),
        0,
        "bool",
        U8,
    ),
    Sysctl("net.ipv4.tcp_adv_win_scale", WithoutEffect("Linux ignores it since 6.6"), 1, "shift", (-31, 31)),
    Sysctl(
        "net.ipv4.tcp_allowed_congestion_control", WithoutEffect("reno is the only congestion control"), "reno", "names"
    ),
    Sysctl("net.ipv4.tcp_app_win", NotModelled("the advertised window"), 31, "shift", (0, 31)),
    Sysctl("net.ipv4.tcp_autocorking", NotModelled("the size of segments"), 1, "bool", U8),
    Sysctl("net.ipv4.tcp_backlog_ack_defer", used("kernel/transport/tcp_config"), 1, "bool", BOOL),
    Sysctl("net.ipv4.tcp_base_mss", PROBING, 1024, "bytes"),
    Sysctl("net.ipv4.tcp_challenge_ack_limit", NotModelled("the limit of challenge ACKs"), 2147483647, "count"),
    Sysctl("net.ipv4.tcp_child_ehash_entries", TABLE_SIZE, 0, "count", (0, 2**24)),
    Sysctl("net.ipv4.tcp_comp_sack_delay_ns", used("kernel/transport/tcp_config"), 1000000, "ns", NATURAL),
    Sysctl("net.ipv4.tcp_comp_sack_nr", used("kernel/transport/tcp_config"), 44, "count", U8),
    Sysctl("net.ipv4.tcp_comp_sack_slack_ns", used("kernel/transport/tcp_config"), 100000, "ns", NATURAL),
    Sysctl("net.ipv4.tcp_congestion_control", WithoutEffect("reno is the only congestion control"), "reno", "name"),
    Sysctl("net.ipv4.tcp_dsack", NotModelled("duplicate SACK blocks"), 1, "bool", U8),
    Sysctl("net.ipv4.tcp_early_demux", used("kernel/net/fragment"), 1, "bool", U8),
    Sysctl("net.ipv4.tcp_early_retrans", NotModelled("tail loss probes"), 3, "level", (0, 4)),
    Sysctl("net.ipv4.tcp_ecn", ECN, 2, "choice", (0, 5)),
    Sysctl("net.ipv4.tcp_ecn_fallback", ECN, 1, "bool", BOOL),
    Sysctl("net.ipv4.tcp_ecn_option", ECN, 2, "choice", (0, 2)),
    Sysctl("net.ipv4.tcp_ecn_option_beacon", ECN, 3, "count", (0, 3)),
    Sysctl("net.ipv4.tcp_fack", WithoutEffect("Linux ignores it since 4.15"), 0, "bool", U8),
    Sysctl("net.ipv4.tcp_fastopen", NotModelled("TCP Fast Open"), 1, "bits"),
    Sysctl("net.ipv4.tcp_fastopen_blackhole_timeout_sec", NotModelled("TCP Fast Open"), 0, "s", NATURAL),
    Sysctl("net.ipv4.tcp_fin_timeout", used("kernel/transport/tcp_config"), 60, "s"),
    Sysctl("net.ipv4.tcp_frto", NotModelled("recovery after a timeout (F-RTO)"), 2, "level", U8),
    Sysctl("net.ipv4.tcp_fwmark_accept", NotModelled("the mark of accepted connections"), 0, "bool", U8),
    Sysctl("net.ipv4.tcp_invalid_ratelimit", NotModelled("the limit of ACKs that answer invalid segments"), 500, "ms"),
    Sysctl("net.ipv4.tcp_keepalive_intvl", KEEPALIVE, 75, "s"),
    Sysctl("net.ipv4.tcp_keepalive_probes", KEEPALIVE, 9, "count", U8),
    Sysctl("net.ipv4.tcp_keepalive_time", KEEPALIVE, 7200, "s"),
    Sysctl("net.ipv4.tcp_l3mdev_accept", VRF, 0, "bool", BOOL),
    Sysctl(
        "net.ipv4.tcp_limit_output_bytes",
        NotModelled("the bytes of a socket that wait in the device"),
        4194304,
        "bytes",
    ),
    Sysctl("net.ipv4.tcp_max_orphans", NotModelled("the limit of connections without a process"), 131072, "count"),
    Sysctl("net.ipv4.tcp_max_reordering", NotModelled("when a segment counts as lost"), 300, "count"),
    Sysctl("net.ipv4.tcp_max_syn_backlog", used("kernel/transport/tcp_ipv4"), 2048, "count"),
    Sysctl("net.ipv4.tcp_max_tw_buckets", NotModelled("the limit of connections in TIME_WAIT"), 131072, "count"),
    Sysctl("net.ipv4.tcp_mem", NotModelled("the limit of TCP's memory"), (287898, 383867, 575796), "pages", NATURAL),
    Sysctl("net.ipv4.tcp_migrate_req", WithoutEffect("no two listeners of emu share a port"), 0, "bool", BOOL),
    Sysctl("net.ipv4.tcp_min_rtt_wlen", NotModelled("how long the least round-trip time counts"), 300, "s", (0, 86400)),
    Sysctl("net.ipv4.tcp_min_snd_mss", NotModelled("the least MSS to send by"), 48, "bytes", (48, 65535)),
    Sysctl("net.ipv4.tcp_min_tso_segs", used("kernel/transport/tcp_config"), 2, "count", (1, 255)),
    Sysctl("net.ipv4.tcp_moderate_rcvbuf", used("kernel/transport/tcp_config"), 1, "bool", U8),
    Sysctl("net.ipv4.tcp_mtu_probe_floor", PROBING, 48, "bytes", (48, 65535)),
    Sysctl("net.ipv4.tcp_mtu_probing", NotModelled("path MTU probing", LOST_TCP), 0, "level", U8),
    Sysctl("net.ipv4.tcp_no_metrics_save", WithoutEffect("emu keeps no metrics of ended connections"), 0, "bool", U8),
    Sysctl(
        "net.ipv4.tcp_no_ssthresh_metrics_save",
        WithoutEffect("emu keeps no metrics of ended connections"),
        1,
        "bool",
        BOOL,
    ),
    Sysctl(
        "net.ipv4.tcp_notsent_lowat",
        WithoutEffect("it wakes writers, and no app of emu waits to write"),
        4294967295,
        "bytes",
        U32,
    ),
    Sysctl(
        "net.ipv4.tcp_orphan_retries",
        NotModelled("how often a connection without a process sends again"),
        0,
        "count",
        U8,
    ),
    Sysctl("net.ipv4.tcp_pacing_ca_ratio", used("kernel/transport/tcp_config"), 120, "%", (0, 1000)),
    Sysctl("net.ipv4.tcp_pacing_ss_ratio", used("kernel/transport/tcp_config"), 200, "%", (0, 1000)),
    Sysctl("net.ipv4.tcp_pingpong_thresh", NotModelled("when ACKs are delayed"), 1, "count", (1, 255)),
    Sysctl("net.ipv4.tcp_plb_cong_thresh", PLB, 128, "of 256", (0, 256)),
    Sysctl("net.ipv4.tcp_plb_enabled", PLB, 0, "bool", BOOL),
    Sysctl("net.ipv4.tcp_plb_idle_rehash_rounds", PLB, 3, "count", (0, 31)),
    Sysctl("net.ipv4.tcp_plb_rehash_rounds", PLB, 12, "count", (0, 31)),
    Sysctl("net.ipv4.tcp_plb_suspend_rto_sec", PLB, 60, "s", U8),
    Sysctl("net.ipv4.tcp_probe_interval", PROBING, 600, "s", U32),
    Sysctl("net.ipv4.tcp_probe_threshold", PROBING, 8, "bytes"),
    Sysctl("net.ipv4.tcp_recovery", NotModelled("loss detection (RACK)"), 1, "bits", U8),
    Sysctl("net.ipv4.tcp_reflect_tos", NotModelled("the TOS of accepted connections"), 0, "bool", BOOL),
    Sysctl("net.ipv4.tcp_reordering", NotModelled("when a segment counts as lost"), 3, "count"),
    Sysctl("net.ipv4.tcp_retrans_collapse", NotModelled("the size of segments that are sent again"), 1, "bool", U8),
    Sysctl("net.ipv4.tcp_retries1", NotModelled("when a timeout makes TCP look up its route again"), 3, "count", U8),
    Sysctl("net.ipv4.tcp_retries2", used("kernel/transport/tcp_config"), 15, "count", U8),
    Sysctl("net.ipv4.tcp_rfc1337", NotModelled("a RST for a connection in TIME_WAIT", SENT), 0, "bool", U8),
    Sysctl("net.ipv4.tcp_rmem", used("kernel/transport/tcp_config"), (4096, 131072, 33554432), "bytes", (1, 2**31 - 1)),
    Sysctl(
        "net.ipv4.tcp_rto_max_ms", NotModelled("the time before a segment is sent again"), 120000, "ms", (1000, 120000)
    ),
    Sysctl(
        "net.ipv4.tcp_rto_min_us", NotModelled("the time before a segment is sent again"), 200000, "us", (1, 2**31 - 1)
    ),
    Sysctl("net.ipv4.tcp_sack", used("kernel/transport/tcp_config"), 1, "bool", U8),
    Sysctl("net.ipv4.tcp_shrink_window", NotModelled("a window that shrinks"), 0, "bool", BOOL),
    Sysctl("net.ipv4.tcp_slow_start_after_idle", used("kernel/transport/tcp_config"), 1, "bool", U8),
    Sysctl("net.ipv4.tcp_stdurg", WithoutEffect("no socket of emu reads urgent data"), 0, "bool", U8),
    Sysctl("net.ipv4.tcp_syn_linear_timeouts", used("kernel/transport/tcp_config"), 4, "count", (0, 127)),
    Sysctl("net.ipv4.tcp_syn_retries", used("kernel/transport/tcp_config"), 6, "count", (1, 127)),
    Sysctl("net.ipv4.tcp_synack_retries", used("kernel/transport/tcp_config"), 5, "count", U8),
    Sysctl("net.ipv4.tcp_syncookies", used("kernel/transport/tcp_ipv4"), 1, "level", U8),
    Sysctl("net.ipv4.tcp_thin_linear_timeouts", NotModelled("the time before a segment is sent again"), 0, "bool", U8),
    Sysctl("net.ipv4.tcp_timestamps", used("kernel/transport/tcp_config"), 1, "level", U8),
    Sysctl("net.ipv4.tcp_tso_rtt_log", used("kernel/transport/tcp_config"), 9, "shift", U8),
    Sysctl("net.ipv4.tcp_tso_win_divisor", used("kernel/transport/tcp_config"), 3, "divisor", U8),
    Sysctl("net.ipv4.tcp_tw_reuse", NotModelled("a client's port that is in TIME_WAIT"), 2, "level", (0, 2)),
    Sysctl("net.ipv4.tcp_tw_reuse_delay", NotModelled("a client's port that is in TIME_WAIT"), 1000, "ms", (1, 60000)),
    Sysctl("net.ipv4.tcp_window_scaling", used("kernel/transport/tcp_config"), 1, "bool", U8),
    Sysctl("net.ipv4.tcp_wmem", used("kernel/transport/tcp_config"), (4096, 16384, 4194304), "bytes", (1, 2**31 - 1)),
    Sysctl(
        "net.ipv4.tcp_workaround_signed_windows",
        NotModelled("the window that a peer without window scaling gets"),
        0,
        "bool",
        U8,
    ),
    Sysctl("net.ipv4.udp_child_hash_entries", TABLE_SIZE, 0, "count", (0, 2**16)),
    Sysctl("net.ipv4.udp_early_demux", WithoutEffect("it is a short cut to the same socket"), 1, "bool", U8),
    Sysctl("net.ipv4.udp_l3mdev_accept", VRF, 0, "bool", BOOL),
    Sysctl(
        "net.ipv4.udp_rmem_min",
        WithoutEffect("it counts only when the host is short of memory"),
        4096,
        "bytes",
        (1, 2**31 - 1),
    ),
    Sysctl(
        "net.ipv4.udp_wmem_min",
        WithoutEffect("it counts only when the host is short of memory"),
        4096,
        "bytes",
        (1, 2**31 - 1),
    ),
    Sysctl(
        "net.core.default_qdisc",
        WithoutEffect("no device of emu has a queue (noqueue, as veth and bridges)"),
        "pfifo_fast",
        "name",
    ),
    Sysctl(
        "net.core.netdev_max_backlog", NotModelled("the limit of packets that wait for a CPU"), 1000, "count", NATURAL
    ),
    Sysctl("net.core.optmem_max", WithoutEffect("no socket of emu sends control messages"), 131072, "bytes", NATURAL),
    Sysctl("net.core.rmem_default", used("kernel/transport/udp"), 212992, "bytes", (2304, 2**31 - 1)),
    Sysctl("net.core.rmem_max", used("kernel/transport/tcp_config"), 4194304, "bytes", (2304, 2**31 - 1)),
    Sysctl("net.core.somaxconn", used("kernel/transport/tcp_socket"), 4096, "count", NATURAL),
    Sysctl("net.core.tstamp_allow_data", WithoutEffect("it is about a program's time stamps"), 1, "bool", BOOL),
    Sysctl(
        "net.core.txrehash", WithoutEffect("it is about IPv6 flow labels and the queues of a device"), 1, "bool", BOOL
    ),
    Sysctl("net.core.wmem_default", used("kernel/transport/udp"), 212992, "bytes", (4608, 2**31 - 1)),
    Sysctl("net.core.wmem_max", used("packetdrill/calls"), 4194304, "bytes", (4608, 2**31 - 1)),
    Sysctl("net.core.xfrm_acq_expires", IPSEC, 30, "s", U32),
    Sysctl("net.core.xfrm_aevent_etime", IPSEC, 10, "100 ms", U32),
    Sysctl("net.core.xfrm_aevent_rseqth", IPSEC, 2, "count", U32),
    Sysctl("net.core.xfrm_larval_drop", IPSEC, 1, "bool"),
    Sysctl("net.unix.max_dgram_qlen", WithoutEffect("unix sockets send no packets"), 10, "count"),
    Sysctl("net.bridge.bridge-nf-call-arptables", used("kernel/net/netns"), 1, "bool", INT, SWITCH),
    Sysctl("net.bridge.bridge-nf-call-ip6tables", used("kernel/net/netns"), 1, "bool", INT, SWITCH),
    Sysctl("net.bridge.bridge-nf-call-iptables", used("kernel/net/netns"), 1, "bool", INT, SWITCH),
    Sysctl(
        "net.bridge.bridge-nf-filter-pppoe-tagged",
        NotModelled("iptables on packets inside PPPoE", SENT),
        0,
        "bool",
        INT,
        SWITCH,
    ),
    Sysctl(
        "net.bridge.bridge-nf-filter-vlan-tagged",
        NotModelled("iptables on packets inside a VLAN tag", SENT),
        0,
        "bool",
        INT,
        SWITCH,
    ),
    Sysctl(
        "net.bridge.bridge-nf-pass-vlan-input-dev",
        NotModelled("iptables on packets inside a VLAN tag", SENT),
        0,
        "bool",
        INT,
        SWITCH,
    ),
    Sysctl("net.netfilter.nf_conntrack_acct", used("kernel/netfilter/conntrack"), 0, "bool", BOOL),
    Sysctl(
        "net.netfilter.nf_conntrack_buckets",
        WithoutEffect("it changes how fast entries are found"),
        262144,
        "count",
        NATURAL,
    ),
    Sysctl("net.netfilter.nf_conntrack_checksum", used("kernel/netfilter/conntrack"), 1, "bool", BOOL),
    Sysctl("net.netfilter.nf_conntrack_events", WithoutEffect("it notifies processes"), 2, "choice", (0, 2)),
    Sysctl(
        "net.netfilter.nf_conntrack_expect_max",
        WithoutEffect("no conntrack helper is modelled: nothing is expected, and comments note it"),
        4096,
        "count",
        (1, 2**31 - 1),
    ),
    Sysctl("net.netfilter.nf_conntrack_log_invalid", WithoutEffect("it writes log messages"), 0, "proto", U8),
    Sysctl("net.netfilter.nf_conntrack_max", used("kernel/netfilter/conntrack"), 262144, "count", NATURAL),
    Sysctl("net.netfilter.nf_conntrack_timestamp", WithoutEffect("it notes when entries began"), 0, "bool", BOOL),
    Sysctl("net.netfilter.nf_conntrack_tcp_be_liberal", used("kernel/netfilter/conntrack"), 0, "bool", BOOL),
    Sysctl("net.netfilter.nf_conntrack_tcp_ignore_invalid_rst", used("kernel/netfilter/conntrack"), 0, "bool", BOOL),
    Sysctl("net.netfilter.nf_conntrack_tcp_loose", used("kernel/netfilter/conntrack"), 1, "bool", BOOL),
    Sysctl("net.netfilter.nf_conntrack_tcp_max_retrans", used("kernel/netfilter/conntrack"), 3, "count", U8),
    _seconds("generic_timeout", used("kernel/netfilter/conntrack"), 600),
    _seconds("gre_timeout", used("kernel/netfilter/conntrack"), 30),
    _seconds("gre_timeout_stream", used("kernel/netfilter/conntrack"), 180),
    _seconds("icmp_timeout", used("kernel/netfilter/conntrack"), 30),
    _seconds("sctp_timeout_closed", used("kernel/netfilter/conntrack"), 10),
    _seconds("sctp_timeout_cookie_echoed", used("kernel/netfilter/conntrack"), 3),
    _seconds("sctp_timeout_cookie_wait", used("kernel/netfilter/conntrack"), 3),
    _seconds("sctp_timeout_established", used("kernel/netfilter/conntrack"), 210),
    _seconds("sctp_timeout_heartbeat_sent", used("kernel/netfilter/conntrack"), 30),
    _seconds("sctp_timeout_shutdown_ack_sent", used("kernel/netfilter/conntrack"), 3),
    _seconds("sctp_timeout_shutdown_recd", used("kernel/netfilter/conntrack"), 3),
    _seconds("sctp_timeout_shutdown_sent", used("kernel/netfilter/conntrack"), 3),
    _seconds("tcp_timeout_close", used("kernel/netfilter/conntrack"), 10),
    _seconds("tcp_timeout_close_wait", used("kernel/netfilter/conntrack"), 60),
    _seconds("tcp_timeout_established", used("kernel/netfilter/conntrack"), 432000),
    _seconds("tcp_timeout_fin_wait", used("kernel/netfilter/conntrack"), 120),
    _seconds("tcp_timeout_last_ack", used("kernel/netfilter/conntrack"), 30),
    _seconds("tcp_timeout_max_retrans", used("kernel/netfilter/conntrack"), 300),
    _seconds("tcp_timeout_syn_recv", used("kernel/netfilter/conntrack"), 60),
    _seconds("tcp_timeout_syn_sent", used("kernel/netfilter/conntrack"), 120),
    _seconds("tcp_timeout_time_wait", used("kernel/netfilter/conntrack"), 120),
    _seconds("tcp_timeout_unacknowledged", used("kernel/netfilter/conntrack"), 300),
    _seconds("udp_timeout", used("kernel/netfilter/conntrack"), 30),
    _seconds("udp_timeout_stream", used("kernel/netfilter/conntrack"), 120),
    Sysctl(
        "net.ipv4.neigh.default.gc_interval", WithoutEffect("the kernel does not read it any more"), 30, "s", NATURAL
    ),
    Sysctl("net.ipv4.neigh.default.gc_thresh1", used("kernel/boot"), 128, "count", NATURAL),
    Sysctl("net.ipv4.neigh.default.gc_thresh2", used("kernel/boot"), 512, "count", NATURAL),
    Sysctl("net.ipv4.neigh.default.gc_thresh3", used("kernel/boot"), 1024, "count", NATURAL),
    # one a device, and `all` and `default`
    _conf("accept_local", used("kernel/net/ip_input"), 0, OR, "bool"),
    _conf("accept_redirects", used("kernel/net/route"), 1, REDIRECTS, "bool"),
    _conf("accept_source_route", used("kernel/net/ip_input"), 1, AND, "bool"),
    _conf("arp_accept", used("kernel/net/arp"), 0, MAX),
    _conf("arp_announce", used("kernel/net/arp"), 0, MAX),
    _conf("arp_evict_nocarrier", used("kernel/net/netns"), 1, AND, "bool"),
    _conf("arp_filter", used("kernel/net/arp"), 0, OR, "bool"),
    _conf("arp_ignore", used("kernel/net/arp"), 0, MAX),
    _conf("arp_notify", used("kernel/net/arp"), 0, MAX),
    _conf("bc_forwarding", used("kernel/net/ip_input"), 0, AND, "bool"),
    _conf("bootp_relay", NotModelled("packets from 0.0.0.0/8 that a router forwards", SENT), 0, AND, "bool"),
    _conf("disable_policy", IPSEC, 0, OR, "bool"),
    _conf("disable_xfrm", IPSEC, 0, OWN, "bool"),
    _conf("drop_gratuitous_arp", used("kernel/net/arp"), 0, OR, "bool"),
    _conf("drop_unicast_in_l2_multicast", NotModelled("unicast packets in multicast frames", SENT), 0, OR, "bool"),
    _conf("force_igmp_version", IGMP, 0, MAX),
    _conf("forwarding", used("kernel/net/family", "kernel/sysctl"), 0, OWN, "bool"),
    _conf("igmpv2_unsolicited_report_interval", IGMP, 10000, OWN, "ms"),
    _conf("igmpv3_unsolicited_report_interval", IGMP, 1000, OWN, "ms"),
    _conf("ignore_routes_with_linkdown", used("kernel/net/family"), 0, OR, "bool"),
    _conf("log_martians", WithoutEffect("it writes log messages"), 0, OR, "bool"),
    _conf("mc_forwarding", WithoutEffect("only a multicast routing daemon sets it"), 0, AND, "bool"),
    _conf("medium_id", NotModelled("which device answers ARP for another", ANY), 0, OWN, "id"),
    _conf("promote_secondaries", used("kernel/net/family"), 0, OR, "bool"),
    _conf("proxy_arp", used("kernel/net/arp", "kube/node/unwired"), 0, OR, "bool"),
    _conf("proxy_arp_pvlan", NotModelled("ARP that a device answers for its own link", ANY), 0, OR, "bool"),
    _conf("route_localnet", used("kernel/net/family"), 0, OR, "bool"),
    _conf("rp_filter", used("kernel/net/family"), 0, MAX),
    _conf("secure_redirects", used("kernel/net/route"), 1, OR, "bool"),
    _conf("send_redirects", used("kernel/net/ip_input", "kernel/net/route"), 1, OR, "bool"),
    _conf("shared_media", used("kernel/net/route"), 1, OR, "bool"),
    _conf("src_valid_mark", used("kernel/net/ip_input"), 0, OR, "bool"),
    _conf("tag", WithoutEffect("Linux itself does not read it"), 0, OWN, "id"),
    Sysctl("net.ipv6.conf.*.accept_dad", IPV6, 1, "level", INT, OWN),
    Sysctl("net.ipv6.conf.*.accept_ra", IPV6, 1, "level", INT, OWN),
    Sysctl("net.ipv6.conf.*.autoconf", IPV6, 1, "bool", INT, OWN),
    Sysctl("net.ipv6.conf.*.disable_ipv6", IPV6, 0, "bool", INT, OR),
    Sysctl("net.ipv6.conf.*.forwarding", IPV6, 0, "bool", INT, OWN),
    # one a device, and `default`
    _neigh("anycast_delay", WithoutEffect("only IPv6 reads it"), 100, "cs"),
    _neigh("app_solicit", used("kernel/net/neighbour"), 0, "count"),
    _neigh("base_reachable_time_ms", used("kernel/net/neighbour"), 30000, "ms"),
    _neigh("delay_first_probe_time", used("kernel/net/neighbour"), 5, "s"),
    _neigh("gc_stale_time", used("kernel/net/neighbour"), 60, "s"),
    _neigh(
        "interval_probe_time_ms",
        WithoutEffect("only managed neighbours are probed so, and there are none"),
        5000,
        "ms",
        (1, 2**31 - 1),
    ),
    _neigh("locktime", used("kernel/net/arp"), 100, "cs"),
    _neigh("mcast_resolicit", NotModelled("broadcasts that look for a neighbour again"), 0, "count"),
    _neigh("mcast_solicit", used("kernel/net/neighbour"), 3, "count"),
    _neigh("proxy_delay", used("kernel/net/arp"), 80, "cs"),
    _neigh("proxy_qlen", NotModelled("the limit of ARP requests that a proxy answers later"), 64, "count"),
    _neigh("retrans_time_ms", used("kernel/net/neighbour"), 1000, "ms"),
    _neigh("ucast_solicit", used("kernel/net/arp", "kernel/net/neighbour"), 3, "count"),
    _neigh(
        "unres_qlen",
        WithoutEffect("it is unres_qlen_bytes, counted in packets"),
        101,
        "count",
        (0, (2**31 - 1) // 2090),
    ),
    _neigh("unres_qlen_bytes", used("kernel/net/neighbour"), 212992, "bytes"),
)
