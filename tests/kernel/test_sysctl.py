"""Sysctls: defaults, the all/default/device rules and the errors. Expectations were read off a Linux 6.18."""

from __future__ import annotations

import pytest

from emu.errors import InputError
from emu.kernel.sysctl import BY_NAME, Sysctls
from emu.kernel.sysctl_table import TABLE


@pytest.fixture
def s() -> Sysctls:
    sysctls = Sysctls()
    sysctls.add_device("eth0")
    return sysctls


def test_no_name_twice() -> None:
    assert len(BY_NAME) == len(TABLE)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("net.ipv4.ip_forward", 0),
        ("net.ipv4.tcp_rmem", (4096, 131072, 33554432)),  # 32 MiB at most since 6.16 (tcp_init)
        ("net.ipv4.tcp_comp_sack_nr", 44),
        ("net.core.txrehash", 1),
        ("net.ipv4.tcp_congestion_control", "reno"),
        ("net.ipv4.conf.all.accept_source_route", 0),
        ("net.ipv4.conf.default.accept_source_route", 1),
        ("net/ipv4/conf/eth0/proxy_arp", 0),
        ("/proc/sys/net/netfilter/nf_conntrack_max", 262144),
        ("net.nf_conntrack_max", 262144),
        ("net.netfilter.nf_conntrack_tcp_timeout_established", 432000),
    ],
)
def test_defaults(s: Sysctls, name: str, value: object) -> None:
    assert s[name] == value and name in s


@pytest.mark.parametrize(
    ("name", "written", "read"),
    [
        ("net.ipv4.tcp_rmem", "4096 87380  6291456", (4096, 87380, 6291456)),
        ("net.ipv4.tcp_rmem", (1, 2, 3), (1, 2, 3)),
        ("net.ipv4.tcp_timestamps", " 0\n", 0),
        ("net.ipv4.ping_group_range", "0 2147483647", (0, 2147483647)),
        ("net.ipv4.icmp_ratemask", "0x1818", 6168),
        ("net.bridge.bridge-nf-call-iptables", 5, 1),
        ("net.ipv4.conf.eth0.rp_filter", "2", 2),
        ("net.ipv4.ip_local_reserved_ports", "30000-32767", "30000-32767"),
    ],
)
def test_written_and_read(s: Sysctls, name: str, written: str | int, read: object) -> None:
    s[name] = written
    assert s[name] == read


@pytest.mark.parametrize(
    ("name", "value", "part"),
    [
        ("net.ipv4.ip_foward", 1, "'net.ipv4.ip_forward'?"),
        ("net.ipv4.conf.all.rp_fliter", 1, "'net.ipv4.conf.all.rp_filter'?"),
        ("net.ipv4.conf.eth1.rp_filter", 1, "names no device of this namespace .expected all, default, eth0"),
        ("net.ipv4.neigh.all.locktime", 1, "no sysctl"),
        ("net.ipv4.tcp_syn_retries", 0, "1 to 127"),
        ("net.ipv4.tcp_retries2", 300, "0 to 255"),
        ("net.ipv4.ip_default_ttl", 0, "1 to 255"),
        ("net.ipv4.ip_local_port_range", "5 4", "lower port first"),
        ("net.ipv4.tcp_rmem", 4096, "3 numbers"),
        ("net.ipv4.conf.eth0.arp_announce", "x", "a number"),
        ("net.ipv4.tcp_congestion_control", "foo", "reno"),
        ("net.ipv4.ip_local_reserved_ports", "30000-x", "ranges of ports"),
    ],
)
def test_refused(s: Sysctls, name: str, value: str | int, part: str) -> None:
    with pytest.raises(InputError, match=part):
        s[name] = value


def test_forwarding_is_one_switch(s: Sysctls) -> None:
    notified: list[str] = []
    s.on_change(notified.append)
    s["net.ipv4.conf.all.forwarding"] = 1
    assert s["net.ipv4.ip_forward"] == s["net.ipv4.conf.eth0.forwarding"] == s["net.ipv4.conf.default.forwarding"] == 1
    assert s["net.ipv4.conf.all.accept_redirects"] == 0 and s["net.ipv4.conf.eth0.accept_redirects"] == 1
    assert {"net.ipv4.ip_forward", "net.ipv4.conf.eth0.forwarding"} <= set(notified)
    s["net.ipv4.conf.all.accept_redirects"] = 1
    s["net.ipv4.ip_forward"] = 1  # no change, so redirects stay
    assert s["net.ipv4.conf.all.accept_redirects"] == 1
    s["net.ipv4.conf.default.forwarding"] = 0  # does not reach devices
    assert s["net.ipv4.conf.eth0.forwarding"] == 1


def test_default_reaches_devices_until_they_have_an_address_or_a_value(s: Sysctls) -> None:
    s.add_device("eth1")
    s.settle_device("eth1")
    s["net.ipv4.conf.eth0.arp_ignore"] = 0
    s["net.ipv4.conf.default.rp_filter"] = 1
    s["net.ipv4.conf.default.arp_ignore"] = 2
    s.add_device("eth2")
    values = {d: (s.conf(d, "rp_filter"), s.conf(d, "arp_ignore")) for d in ("eth0", "eth1", "eth2")}
    assert values == {"eth0": (1, 0), "eth1": (0, 0), "eth2": (1, 2)}


@pytest.mark.parametrize(
    ("variable", "every", "own", "effective"),
    [
        ("rp_filter", 2, 1, 2),
        ("rp_filter", 0, 1, 1),
        ("proxy_arp", 0, 1, 1),
        ("proxy_arp", 1, 0, 1),
        ("send_redirects", 1, 0, 1),
        ("send_redirects", 0, 0, 0),
        ("accept_source_route", 1, 0, 0),
        ("arp_announce", 1, 2, 2),
        ("medium_id", 3, 0, 0),
        ("accept_redirects", 1, 0, 1),
    ],
)
def test_effective(s: Sysctls, variable: str, every: int, own: int, effective: int) -> None:
    s[f"net.ipv4.conf.all.{variable}"] = every
    s[f"net.ipv4.conf.eth0.{variable}"] = own
    assert s.conf("eth0", variable) == effective


def test_redirects_of_a_router_need_both(s: Sysctls) -> None:
    s["net.ipv4.ip_forward"] = 1
    assert s.conf("eth0", "accept_redirects") == 0


def test_neigh_times(s: Sysctls) -> None:
    assert s.neigh("eth0", "locktime") == 100 and s.neigh_ns("eth0", "locktime") == 1_000_000_000
    assert s.neigh_ns("eth0", "retrans_time_ms") == s.neigh_ns("default", "anycast_delay") == 1_000_000_000


def test_a_device_takes_its_rows_along_when_it_goes(s: Sysctls) -> None:
    s["net.ipv4.conf.eth0.proxy_arp"] = 1
    s.remove_device("eth0")
    assert set(s) == set(Sysctls())


def test_vlan_names_with_dots() -> None:
    s = Sysctls()
    s.add_device("eth0.100")
    s["net/ipv4/conf/eth0.100/rp_filter"] = 2
    assert s.conf("eth0.100", "rp_filter") == 2 == s["net.ipv4.conf.eth0.100.rp_filter"]


def test_the_queue_of_a_neighbour_is_one_limit_with_two_names(s: Sysctls) -> None:
    s.add_device("eth0")
    assert s["net.ipv4.neigh.eth0.unres_qlen"] == 101
    s["net.ipv4.neigh.eth0.unres_qlen"] = 5
    assert s["net.ipv4.neigh.eth0.unres_qlen_bytes"] == 10450
    s["net.ipv4.neigh.default.unres_qlen_bytes"] = 4000
    assert (s["net.ipv4.neigh.default.unres_qlen"], s["net.ipv4.neigh.eth0.unres_qlen"]) == (1, 5)
