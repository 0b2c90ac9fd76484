"""The sysctls of one network namespace: one literal table, and the kernel's own rules for reading it.

Defaults are those of Linux 6.18 on a machine with plenty of memory, but for `tcp_congestion_control`,
which is reno because that is what is modelled. Values are what `sysctl -n` prints: an int, a tuple of
ints, or a string. Must not know devices: they are names here (net/ipv4/devinet.c, net/core/neighbour.c).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from typing import NamedTuple

from emu.errors import InputError

Value = int | str | tuple[int, ...]
Listener = Callable[[str], None]

# How `all` and the device's own value make the effective one (include/linux/inetdevice.h)
MAX, OR, AND, OWN, REDIRECTS = "max", "or", "and", "own", "redirects"
# What write does besides storing
PLAIN, FORWARDING, SWITCH = "plain", "forwarding", "switch"

INT = (-(2**31), 2**31 - 1)
U32, U8, BOOL, NATURAL, PORT = (0, 2**32 - 1), (0, 255), (0, 1), (0, 2**31 - 1), (0, 65535)
Limits = tuple[int, int]


class Sysctl(NamedTuple):
    """One variable. `*` in the name stands for the device; `limits` bound every number of the value."""

    name: str
    default: Value
    unit: str
    limits: Limits = INT
    rule: str = PLAIN


def _conf(variable: str, default: int, rule: str, unit: str = "level") -> Sysctl:
    return Sysctl(f"net.ipv4.conf.*.{variable}", default, unit, INT, rule)


def _neigh(variable: str, default: int, unit: str, limits: Limits = NATURAL) -> Sysctl:
    return Sysctl(f"net.ipv4.neigh.*.{variable}", default, unit, limits)


def _seconds(variable: str, default: int) -> Sysctl:
    return Sysctl(f"net.netfilter.nf_conntrack_{variable}", default, "s")


# `cs` is 1/100 s (USER_HZ), `jiffies` 1/250 s.
TABLE: tuple[Sysctl, ...] = (
    # one a namespace
    Sysctl("net.ipv4.ip_forward", 0, "bool", INT, FORWARDING),
    Sysctl("net.ipv4.ip_default_ttl", 64, "hops", (1, 255)),
    Sysctl("net.ipv4.ip_local_port_range", (32768, 60999), "port", (1, 65535)),
    Sysctl("net.ipv4.ip_local_reserved_ports", "", "ports"),
    Sysctl("net.ipv4.ip_unprivileged_port_start", 1024, "port", PORT),
    Sysctl("net.ipv4.ip_nonlocal_bind", 0, "bool", U8),
    Sysctl("net.ipv4.ip_autobind_reuse", 0, "bool", BOOL),
    Sysctl("net.ipv4.ip_no_pmtu_disc", 0, "level", (0, 3)),
    Sysctl("net.ipv4.ip_forward_use_pmtu", 0, "bool", U8),
    Sysctl("net.ipv4.ip_forward_update_priority", 1, "bool", BOOL),
    Sysctl("net.ipv4.ip_dynaddr", 0, "level", U8),
    Sysctl("net.ipv4.ip_early_demux", 1, "bool", U8),
    Sysctl("net.ipv4.fwmark_reflect", 0, "bool", U8),
    Sysctl("net.ipv4.ping_group_range", (1, 0), "gid", NATURAL),
    Sysctl("net.ipv4.icmp_echo_ignore_all", 0, "bool", BOOL),
    Sysctl("net.ipv4.icmp_echo_ignore_broadcasts", 1, "bool", BOOL),
    Sysctl("net.ipv4.icmp_echo_enable_probe", 0, "bool", BOOL),
    Sysctl("net.ipv4.icmp_errors_use_inbound_ifaddr", 0, "bool", BOOL),
    Sysctl("net.ipv4.icmp_ignore_bogus_error_responses", 1, "bool", BOOL),
    Sysctl("net.ipv4.icmp_msgs_per_sec", 1000, "count", NATURAL),
    Sysctl("net.ipv4.icmp_msgs_burst", 50, "count", NATURAL),
    Sysctl("net.ipv4.icmp_ratelimit", 1000, "ms", NATURAL),
    Sysctl("net.ipv4.icmp_ratemask", 6168, "bits"),
    Sysctl("net.ipv4.igmp_link_local_mcast_reports", 1, "bool", U8),
    Sysctl("net.ipv4.igmp_max_memberships", 20, "count"),
    Sysctl("net.ipv4.igmp_qrv", 2, "count", (1, 2**31 - 1)),
    Sysctl("net.ipv4.ipfrag_high_thresh", 4194304, "bytes", NATURAL),
    Sysctl("net.ipv4.ipfrag_low_thresh", 3145728, "bytes", NATURAL),
    Sysctl("net.ipv4.ipfrag_max_dist", 64, "count", NATURAL),
    Sysctl("net.ipv4.ipfrag_time", 30, "s"),
    Sysctl("net.ipv4.fib_multipath_hash_fields", 7, "bits", (1, 255)),
    Sysctl("net.ipv4.fib_multipath_hash_policy", 0, "choice", (0, 3)),
    Sysctl("net.ipv4.fib_multipath_use_neigh", 0, "bool", BOOL),
    Sysctl("net.ipv4.fib_notify_on_flag_change", 0, "choice", (0, 2)),
    Sysctl("net.ipv4.route.error_burst", 1250, "jiffies"),
    Sysctl("net.ipv4.route.error_cost", 250, "jiffies"),
    Sysctl("net.ipv4.route.max_size", 2147483647, "count"),
    Sysctl("net.ipv4.route.min_adv_mss", 256, "bytes"),
    Sysctl("net.ipv4.route.min_pmtu", 552, "bytes", (68, 2**31 - 1)),
    Sysctl("net.ipv4.route.mtu_expires", 600, "s"),
    Sysctl("net.ipv4.route.redirect_load", 5, "jiffies"),
    Sysctl("net.ipv4.route.redirect_number", 9, "count"),
    Sysctl("net.ipv4.route.redirect_silence", 5120, "jiffies"),
    Sysctl("net.ipv4.tcp_abort_on_overflow", 0, "bool", U8),
    Sysctl("net.ipv4.tcp_adv_win_scale", 1, "shift", (-31, 31)),
    Sysctl("net.ipv4.tcp_allowed_congestion_control", "reno", "names"),
    Sysctl("net.ipv4.tcp_app_win", 31, "shift", (0, 31)),
    Sysctl("net.ipv4.tcp_autocorking", 1, "bool", U8),
    Sysctl("net.ipv4.tcp_base_mss", 1024, "bytes"),
    Sysctl("net.ipv4.tcp_challenge_ack_limit", 2147483647, "count"),
    Sysctl("net.ipv4.tcp_congestion_control", "reno", "name"),
    Sysctl("net.ipv4.tcp_dsack", 1, "bool", U8),
    Sysctl("net.ipv4.tcp_early_demux", 1, "bool", U8),
    Sysctl("net.ipv4.tcp_early_retrans", 3, "level", (0, 4)),
    Sysctl("net.ipv4.tcp_ecn", 2, "choice", (0, 5)),
    Sysctl("net.ipv4.tcp_ecn_fallback", 1, "bool", BOOL),
    Sysctl("net.ipv4.tcp_fastopen", 1, "bits"),
    Sysctl("net.ipv4.tcp_fin_timeout", 60, "s"),
    Sysctl("net.ipv4.tcp_frto", 2, "level", U8),
    Sysctl("net.ipv4.tcp_fwmark_accept", 0, "bool", U8),
    Sysctl("net.ipv4.tcp_invalid_ratelimit", 500, "ms"),
    Sysctl("net.ipv4.tcp_keepalive_intvl", 75, "s"),
    Sysctl("net.ipv4.tcp_keepalive_probes", 9, "count", U8),
    Sysctl("net.ipv4.tcp_keepalive_time", 7200, "s"),
    Sysctl("net.ipv4.tcp_limit_output_bytes", 4194304, "bytes"),
    Sysctl("net.ipv4.tcp_max_orphans", 131072, "count"),
    Sysctl("net.ipv4.tcp_max_reordering", 300, "count"),
    Sysctl("net.ipv4.tcp_max_syn_backlog", 2048, "count"),
    Sysctl("net.ipv4.tcp_max_tw_buckets", 131072, "count"),
    Sysctl("net.ipv4.tcp_mem", (287898, 383867, 575796), "pages", NATURAL),
    Sysctl("net.ipv4.tcp_min_snd_mss", 48, "bytes", (48, 65535)),
    Sysctl("net.ipv4.tcp_moderate_rcvbuf", 1, "bool", U8),
    Sysctl("net.ipv4.tcp_mtu_probing", 0, "level", U8),
    Sysctl("net.ipv4.tcp_no_metrics_save", 0, "bool", U8),
    Sysctl("net.ipv4.tcp_no_ssthresh_metrics_save", 1, "bool", BOOL),
    Sysctl("net.ipv4.tcp_notsent_lowat", 4294967295, "bytes", U32),
    Sysctl("net.ipv4.tcp_orphan_retries", 0, "count", U8),
    Sysctl("net.ipv4.tcp_pingpong_thresh", 1, "count", (1, 255)),
    Sysctl("net.ipv4.tcp_recovery", 1, "bits", U8),
    Sysctl("net.ipv4.tcp_reflect_tos", 0, "bool", BOOL),
    Sysctl("net.ipv4.tcp_reordering", 3, "count"),
    Sysctl("net.ipv4.tcp_retrans_collapse", 1, "bool", U8),
    Sysctl("net.ipv4.tcp_retries1", 3, "count", U8),
    Sysctl("net.ipv4.tcp_retries2", 15, "count", U8),
    Sysctl("net.ipv4.tcp_rfc1337", 0, "bool", U8),
    Sysctl("net.ipv4.tcp_rmem", (4096, 131072, 6291456), "bytes", (1, 2**31 - 1)),
    Sysctl("net.ipv4.tcp_rto_max_ms", 120000, "ms", (1000, 120000)),
    Sysctl("net.ipv4.tcp_rto_min_us", 200000, "us", (1, 2**31 - 1)),
    Sysctl("net.ipv4.tcp_sack", 1, "bool", U8),
    Sysctl("net.ipv4.tcp_shrink_window", 0, "bool", BOOL),
    Sysctl("net.ipv4.tcp_slow_start_after_idle", 1, "bool", U8),
    Sysctl("net.ipv4.tcp_stdurg", 0, "bool", U8),
    Sysctl("net.ipv4.tcp_syn_linear_timeouts", 4, "count", (0, 127)),
    Sysctl("net.ipv4.tcp_syn_retries", 6, "count", (1, 127)),
    Sysctl("net.ipv4.tcp_synack_retries", 5, "count", U8),
    Sysctl("net.ipv4.tcp_syncookies", 1, "level", U8),
    Sysctl("net.ipv4.tcp_thin_linear_timeouts", 0, "bool", U8),
    Sysctl("net.ipv4.tcp_timestamps", 1, "level", U8),
    Sysctl("net.ipv4.tcp_tw_reuse", 2, "level", (0, 2)),
    Sysctl("net.ipv4.tcp_tw_reuse_delay", 1000, "ms", (1, 60000)),
    Sysctl("net.ipv4.tcp_window_scaling", 1, "bool", U8),
    Sysctl("net.ipv4.tcp_wmem", (4096, 16384, 4194304), "bytes", (1, 2**31 - 1)),
    Sysctl("net.ipv4.udp_early_demux", 1, "bool", U8),
    Sysctl("net.ipv4.udp_rmem_min", 4096, "bytes", (1, 2**31 - 1)),
    Sysctl("net.ipv4.udp_wmem_min", 4096, "bytes", (1, 2**31 - 1)),
    Sysctl("net.core.default_qdisc", "pfifo_fast", "name"),
    Sysctl("net.core.netdev_max_backlog", 1000, "count", NATURAL),
    Sysctl("net.core.rmem_default", 212992, "bytes", (2304, 2**31 - 1)),
    Sysctl("net.core.rmem_max", 4194304, "bytes", (2304, 2**31 - 1)),
    Sysctl("net.core.somaxconn", 4096, "count", NATURAL),
    Sysctl("net.core.wmem_default", 212992, "bytes", (4608, 2**31 - 1)),
    Sysctl("net.core.wmem_max", 4194304, "bytes", (4608, 2**31 - 1)),
    Sysctl("net.unix.max_dgram_qlen", 10, "count"),
    Sysctl("net.bridge.bridge-nf-call-arptables", 1, "bool", INT, SWITCH),
    Sysctl("net.bridge.bridge-nf-call-ip6tables", 1, "bool", INT, SWITCH),
    Sysctl("net.bridge.bridge-nf-call-iptables", 1, "bool", INT, SWITCH),
    Sysctl("net.bridge.bridge-nf-filter-pppoe-tagged", 0, "bool", INT, SWITCH),
    Sysctl("net.bridge.bridge-nf-filter-vlan-tagged", 0, "bool", INT, SWITCH),
    Sysctl("net.bridge.bridge-nf-pass-vlan-input-dev", 0, "bool", INT, SWITCH),
    Sysctl("net.netfilter.nf_conntrack_acct", 0, "bool", BOOL),
    Sysctl("net.netfilter.nf_conntrack_buckets", 262144, "count", NATURAL),
    Sysctl("net.netfilter.nf_conntrack_checksum", 1, "bool", BOOL),
    Sysctl("net.netfilter.nf_conntrack_events", 2, "choice", (0, 2)),
    Sysctl("net.netfilter.nf_conntrack_expect_max", 4096, "count", (1, 2**31 - 1)),
    Sysctl("net.netfilter.nf_conntrack_log_invalid", 0, "proto", U8),
    Sysctl("net.netfilter.nf_conntrack_max", 262144, "count", NATURAL),
    Sysctl("net.netfilter.nf_conntrack_timestamp", 0, "bool", BOOL),
    Sysctl("net.netfilter.nf_conntrack_tcp_be_liberal", 0, "bool", BOOL),
    Sysctl("net.netfilter.nf_conntrack_tcp_ignore_invalid_rst", 0, "bool", BOOL),
    Sysctl("net.netfilter.nf_conntrack_tcp_loose", 1, "bool", BOOL),
    Sysctl("net.netfilter.nf_conntrack_tcp_max_retrans", 3, "count", U8),
    _seconds("generic_timeout", 600),
    _seconds("gre_timeout", 30),
    _seconds("gre_timeout_stream", 180),
    _seconds("icmp_timeout", 30),
    _seconds("sctp_timeout_closed", 10),
    _seconds("sctp_timeout_cookie_echoed", 3),
    _seconds("sctp_timeout_cookie_wait", 3),
    _seconds("sctp_timeout_established", 210),
    _seconds("sctp_timeout_heartbeat_sent", 30),
    _seconds("sctp_timeout_shutdown_ack_sent", 3),
    _seconds("sctp_timeout_shutdown_recd", 3),
    _seconds("sctp_timeout_shutdown_sent", 3),
    _seconds("tcp_timeout_close", 10),
    _seconds("tcp_timeout_close_wait", 60),
    _seconds("tcp_timeout_established", 432000),
    _seconds("tcp_timeout_fin_wait", 120),
    _seconds("tcp_timeout_last_ack", 30),
    _seconds("tcp_timeout_max_retrans", 300),
    _seconds("tcp_timeout_syn_recv", 60),
    _seconds("tcp_timeout_syn_sent", 120),
    _seconds("tcp_timeout_time_wait", 120),
    _seconds("tcp_timeout_unacknowledged", 300),
    _seconds("udp_timeout", 30),
    _seconds("udp_timeout_stream", 120),
    Sysctl("net.ipv4.neigh.default.gc_interval", 30, "s", NATURAL),
    Sysctl("net.ipv4.neigh.default.gc_thresh1", 128, "count", NATURAL),
    Sysctl("net.ipv4.neigh.default.gc_thresh2", 512, "count", NATURAL),
    Sysctl("net.ipv4.neigh.default.gc_thresh3", 1024, "count", NATURAL),
    # one a device, and `all` and `default`
    _conf("accept_local", 0, OR, "bool"),
    _conf("accept_redirects", 1, REDIRECTS, "bool"),
    _conf("accept_source_route", 1, AND, "bool"),
    _conf("arp_accept", 0, MAX),
    _conf("arp_announce", 0, MAX),
    _conf("arp_evict_nocarrier", 1, AND, "bool"),
    _conf("arp_filter", 0, OR, "bool"),
    _conf("arp_ignore", 0, MAX),
    _conf("arp_notify", 0, MAX),
    _conf("bc_forwarding", 0, AND, "bool"),
    _conf("bootp_relay", 0, AND, "bool"),
    _conf("disable_policy", 0, OR, "bool"),
    _conf("disable_xfrm", 0, OWN, "bool"),
    _conf("drop_gratuitous_arp", 0, OR, "bool"),
    _conf("drop_unicast_in_l2_multicast", 0, OR, "bool"),
    _conf("force_igmp_version", 0, MAX),
    _conf("forwarding", 0, OWN, "bool"),
    _conf("igmpv2_unsolicited_report_interval", 10000, OWN, "ms"),
    _conf("igmpv3_unsolicited_report_interval", 1000, OWN, "ms"),
    _conf("ignore_routes_with_linkdown", 0, OR, "bool"),
    _conf("log_martians", 0, OR, "bool"),
    _conf("mc_forwarding", 0, AND, "bool"),
    _conf("medium_id", 0, OWN, "id"),
    _conf("promote_secondaries", 0, OR, "bool"),
    _conf("proxy_arp", 0, OR, "bool"),
    _conf("proxy_arp_pvlan", 0, OR, "bool"),
    _conf("route_localnet", 0, OR, "bool"),
    _conf("rp_filter", 0, MAX),
    _conf("secure_redirects", 1, OR, "bool"),
    _conf("send_redirects", 1, OR, "bool"),
    _conf("shared_media", 1, OR, "bool"),
    _conf("src_valid_mark", 0, OR, "bool"),
    _conf("tag", 0, OWN, "id"),
    Sysctl("net.ipv6.conf.*.accept_dad", 1, "level", INT, OWN),
    Sysctl("net.ipv6.conf.*.accept_ra", 1, "level", INT, OWN),
    Sysctl("net.ipv6.conf.*.autoconf", 1, "bool", INT, OWN),
    Sysctl("net.ipv6.conf.*.disable_ipv6", 0, "bool", INT, OR),
    Sysctl("net.ipv6.conf.*.forwarding", 0, "bool", INT, OWN),
    # one a device, and `default`
    _neigh("anycast_delay", 100, "cs"),
    _neigh("app_solicit", 0, "count"),
    _neigh("base_reachable_time_ms", 30000, "ms"),
    _neigh("delay_first_probe_time", 5, "s"),
    _neigh("gc_stale_time", 60, "s"),
    _neigh("interval_probe_time_ms", 5000, "ms", (1, 2**31 - 1)),
    _neigh("locktime", 100, "cs"),
    _neigh("mcast_resolicit", 0, "count"),
    _neigh("mcast_solicit", 3, "count"),
    _neigh("proxy_delay", 80, "cs"),
    _neigh("proxy_qlen", 64, "count"),
    _neigh("retrans_time_ms", 1000, "ms"),
    _neigh("ucast_solicit", 3, "count"),
    _neigh("unres_qlen", 101, "count"),
    _neigh("unres_qlen_bytes", 212992, "bytes"),
)

BY_NAME: dict[str, Sysctl] = {row.name: row for row in TABLE}
_OTHER_IN_ALL = {"net.ipv4.conf.all.accept_source_route": 0}  # devinet's ipv4_devconf, not ipv4_devconf_dflt
_ALIASES = {"net.nf_conntrack_max": "net.netfilter.nf_conntrack_max"}
_CHOICES = {"net.ipv4.tcp_congestion_control": ("reno",)}
_SCOPED = re.compile(r"(net\.ipv[46]\.(?:conf|neigh))\.(.+)\.([^.]+)")


def _row(name: str) -> Sysctl:
    """The row of a concrete name. Raises InputError."""
    row = BY_NAME.get(name)
    if row is not None and "*" not in name:
        return row
    names: list[str] = [*BY_NAME, *_ALIASES]
    found = _SCOPED.fullmatch(name)
    if found is not None:
        tree, word, variable = found.groups()
        row = BY_NAME.get(f"{tree}.*.{variable}")
        if row is not None and not (word == "all" and tree.endswith("neigh")):
            return row
        names = [row.name.replace("*", word) for row in TABLE if row.name.startswith(f"{tree}.*.")]
    near = get_close_matches(name, names, n=1)
    raise InputError(f"no sysctl is called {name!r}", expected=f"{near[0]!r}?" if near else None)


def _canonical(name: str) -> str:
    # a dot inside a device name stays one: no table name needs the other reading of sysctl(8)
    name = name.removeprefix("/proc/sys/").replace("/", ".")
    return _ALIASES.get(name, name)


def _read(row: Sysctl, name: str, value: Value) -> Value:
    """`value` (text as written to /proc, or typed) as the row's type. Raises InputError."""
    choices = _CHOICES.get(name)
    if isinstance(row.default, str):
        text = str(value).strip()
        if choices is not None and text not in choices:
            raise InputError(f"{name} cannot be {text!r}", expected=" or ".join(choices))
        return text
    words = value.split() if isinstance(value, str) else value if isinstance(value, tuple) else (value,)
    count = len(row.default) if isinstance(row.default, tuple) else 1
    low, high = row.limits
    expected = f"{count} numbers" if count > 1 else "a number"
    expected += f" of {low} to {high} ({row.unit})"
    try:
        numbers = tuple(int(str(word), 0) for word in words)
    except ValueError:
        raise InputError(f"{name} cannot be {value!r}", expected=expected) from None
    if len(numbers) != count or not all(low <= number <= high for number in numbers):
        raise InputError(f"{name} cannot be {value!r}", expected=expected)
    if name == "net.ipv4.ip_local_port_range" and numbers[0] > numbers[1]:
        raise InputError(f"{name} cannot be {value!r}", expected="the lower port first")
    if row.rule == SWITCH:
        numbers = (int(numbers[0] != 0),)
    return numbers if count > 1 else numbers[0]


def _defaults() -> Iterator[tuple[str, Value]]:
    for name, row in BY_NAME.items():
        if "*" not in name:
            yield name, row.default
            continue
        for word in ("default",) if ".neigh." in name else ("all", "default"):
            concrete = name.replace("*", word)
            yield concrete, _OTHER_IN_ALL.get(concrete, row.default)


_DEFAULTS = dict(_defaults())
_DEVICE_ROWS = tuple(row for row in TABLE if "*" in row.name)


class Sysctls:
    """The variables of one namespace, by name: `s["net.ipv4.ip_forward"]`; `/` as separator is understood.

    Writing takes what `sysctl -w` takes (text, a number, a tuple of numbers). Every wrong name or value
    is an InputError. Device-scoped names need a device that `add_device` made known, or `all`/`default`.
    Only what differs from the table is stored: namespaces are many.
    """

    def __init__(self, initial: Mapping[str, Value] | None = None) -> None:
        self._values: dict[str, Value] = {}
        self._own: dict[str, set[str]] = {}  # device -> names that no longer follow `default`
        self._settled: set[str] = set()  # devices that follow it in nothing
        self._listeners: list[Listener] = []
        for name, value in (initial or {}).items():
            self[name] = value

    def __getitem__(self, name: str) -> Value:
        name = _canonical(name)
        value = self._values.get(name)
        if value is None:
            value = _DEFAULTS.get(name)
        return self._known(name).default if value is None else value

    def __setitem__(self, name: str, value: Value) -> None:
        name = _canonical(name)
        row = self._known(name)
        value = _read(row, name, value)
        if row.rule == FORWARDING or name == "net.ipv4.conf.all.forwarding":
            assert isinstance(value, int)
            self._forward(value)
            return
        changed = [name]
        self._values[name] = value
        device = self._device(row, name)
        if device is not None:
            self._own[device].add(name)
        elif name == row.name.replace("*", "default") != row.name and not name.endswith(".forwarding"):
            # devinet_copy_dflt_conf and neigh_copy_dflt_parms: to devices that never had a value of their own
            for device, own in self._own.items():
                concrete = row.name.replace("*", device)
                if device not in self._settled and concrete not in own:
                    self._values[concrete] = value
                    changed.append(concrete)
        self._tell(changed)

    def __contains__(self, name: object) -> bool:
        try:
            return isinstance(name, str) and bool(self._known(_canonical(name)))
        except InputError:
            return False

    def __iter__(self) -> Iterator[str]:
        names = set(_DEFAULTS).union(row.name.replace("*", device) for row in _DEVICE_ROWS for device in self._own)
        return iter(sorted(names))

    def number(self, name: str) -> int:
        """The value of a variable that is one int; InputError if it is not."""
        value = self[name]
        if not isinstance(value, int):
            raise InputError(f"{name} is not one number")
        return value

    def numbers(self, name: str) -> tuple[int, ...]:
        """The value of a variable that is several ints (tcp_rmem); a single int gives a tuple of one."""
        value = self[name]
        if isinstance(value, str):
            raise InputError(f"{name} is not a number")
        return value if isinstance(value, tuple) else (value,)

    def conf(self, device: str, variable: str) -> int:
        """The effective `net.ipv4.conf` value at a device, `all` heeded as the kernel does for this variable."""
        own = self.number(f"net.ipv4.conf.{device}.{variable}")
        every = self.number(f"net.ipv4.conf.all.{variable}")
        rule = BY_NAME[f"net.ipv4.conf.*.{variable}"].rule
        if rule == MAX:
            return max(own, every)
        if rule == REDIRECTS:
            rule = AND if self[f"net.ipv4.conf.{device}.forwarding"] else OR
        if rule == OR:
            return int(bool(own or every))
        if rule == AND:
            return int(bool(own and every))
        return own

    def neigh(self, device: str, variable: str) -> int:
        """A `net.ipv4.neigh` value of a device, in the table's unit (mind `cs`)."""
        return self.number(f"net.ipv4.neigh.{device}.{variable}")

    def neigh_ns(self, device: str, variable: str) -> int:
        """A time of `net.ipv4.neigh` in nanoseconds, whatever its unit."""
        scale = {"s": 1_000_000_000, "cs": 10_000_000, "ms": 1_000_000}
        return self.neigh(device, variable) * scale[BY_NAME[f"net.ipv4.neigh.*.{variable}"].unit]

    def add_device(self, device: str) -> None:
        """A new device: it copies `default`."""
        if device in self._own:
            return
        self._own[device] = set()
        values = self._values
        for row in _DEVICE_ROWS:
            value = values.get(row.name.replace("*", "default"))
            if value is not None:
                values[row.name.replace("*", device)] = value

    def settle_device(self, device: str) -> None:
        """The device got its first address: from now on it ignores writes to `default` (ipv4_devconf_setall)."""
        if device in self._own:
            self._settled.add(device)

    def remove_device(self, device: str) -> None:
        self._settled.discard(device)
        if self._own.pop(device, None) is not None:
            for row in _DEVICE_ROWS:
                self._values.pop(row.name.replace("*", device), None)

    def on_change(self, listener: Listener) -> None:
        """Call `listener(name)` after each write, with the concrete name; also for names that changed along."""
        self._listeners.append(listener)

    def _forward(self, value: int) -> None:
        """inet_forward_change: `all`, `default` and every device at once, and redirects are no longer accepted."""
        if self["net.ipv4.ip_forward"] == value:
            return
        changed = {"net.ipv4.ip_forward": value, "net.ipv4.conf.all.accept_redirects": int(not value)}
        for word in ("all", "default", *self._own):
            changed[f"net.ipv4.conf.{word}.forwarding"] = value
        self._values.update(changed)
        self._tell(list(changed))

    def _tell(self, names: list[str]) -> None:
        for listener in self._listeners:
            for name in names:
                listener(name)

    def _device(self, row: Sysctl, name: str) -> str | None:
        """The device in a concrete name, if that device is here."""
        if "*" not in row.name:
            return None
        head, _, tail = row.name.partition("*")
        word = name[len(head) : -len(tail)]
        return word if word in self._own else None

    def _known(self, name: str) -> Sysctl:
        """The row of a concrete name. Raises InputError, also for a device that is not here."""
        row = _row(name)
        if name not in _DEFAULTS and self._device(row, name) is None:
            known = ", ".join(["all", "default", *sorted(self._own)])
            raise InputError(f"sysctl {name!r} names no device of this namespace", expected=known)
        return row
