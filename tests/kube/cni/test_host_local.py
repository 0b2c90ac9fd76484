"""host-local: which address comes next, what is refused in which words, and properties over any sequence of calls."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emu.clock import Clock
from emu.errors import Undecided
from emu.kernel import boot
from emu.kube.cni import invoke
from emu.kube.cni.plugins.host_local import HostLocalStore, Range, RangeSet
from emu.kube.cni.spec import Attachment, CniError, Config, Host
from emu.wire.addr import Prefix, ip4

HOST = Host(boot.namespace(Clock(), "node"))
POD = boot.namespace(Clock(), "pod")


def machine() -> Attachment:
    return Attachment("first", POD, "eth0", Host(HOST.netns))


def conf(**ipam: Any) -> dict[str, Any]:
    return {"name": "net", "cniVersion": "1.0.0", "type": "bridge", "ipam": {"type": "host-local", **ipam}}


def add(config: Config, attachment: Attachment, container_id: str) -> list[str]:
    result = invoke.add("host-local", config, replace(attachment, container_id=container_id))
    assert result.interfaces == ()
    return [ip.address for ip in result.ips]


def test_the_gateway_is_passed_over_and_addresses_go_round() -> None:
    config, at = conf(subnet="10.244.1.0/29", routes=[{"dst": "0.0.0.0/0"}]), machine()
    first = invoke.add("host-local", config, at)
    assert first.to_json("1.0.0") == {
        "cniVersion": "1.0.0",
        "ips": [{"address": "10.244.1.2/29", "gateway": "10.244.1.1"}],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    assert add(config, at, "b") == ["10.244.1.3/29"]
    invoke.delete("host-local", config, at)
    # .2 is free again, and comes last
    assert [add(config, at, each) for each in "cdef"] == [[f"10.244.1.{n}/29"] for n in (4, 5, 6, 2)]
    with pytest.raises(CniError) as caught:
        add(config, at, "g")
    assert caught.value.msg == (
        "failed to allocate for range 0: no IP addresses available in range set: 10.244.1.1-10.244.1.6"
    )
    invoke.delete("host-local", config, replace(at, container_id="d"))
    assert add(config, at, "g") == ["10.244.1.5/29"]


def test_a_range_of_its_own_begins_where_it_is_set() -> None:
    ranges = [[{"subnet": "10.1.0.0/16", "rangeStart": "10.1.2.10", "rangeEnd": "10.1.2.11", "gateway": "10.1.0.9"}]]
    config, at = conf(ranges=ranges), machine()
    assert [add(config, at, each) for each in "ab"] == [["10.1.2.10/16"], ["10.1.2.11/16"]]
    with pytest.raises(CniError, match=r"range set: 10\.1\.2\.10-10\.1\.2\.11"):
        add(config, at, "c")


def test_the_smallest_subnet_has_one_pod() -> None:
    config, at = conf(subnet="10.0.0.0/30"), machine()
    assert add(config, at, "a") == ["10.0.0.2/30"]
    with pytest.raises(CniError, match="no IP addresses available"):
        add(config, at, "b")


def test_alternatives_in_a_set_and_one_address_from_each_set() -> None:
    ranges = [[{"subnet": "10.0.0.0/30"}, {"subnet": "10.0.1.0/30"}], [{"subnet": "10.9.0.0/24"}]]
    config, at = conf(ranges=ranges), machine()
    assert [add(config, at, each) for each in "ab"] == [["10.0.0.2/30", "10.9.0.2/24"], ["10.0.1.2/30", "10.9.0.3/24"]]
    with pytest.raises(CniError, match=r"range set: 10\.0\.0\.1-10\.0\.0\.2,10\.0\.1\.1-10\.0\.1\.2"):
        add(config, at, "c")
    invoke.delete("host-local", config, replace(at, container_id="a"))
    assert add(config, at, "d") == ["10.0.0.2/30", "10.9.0.4/24"]


def test_a_later_set_that_is_exhausted_gives_back_the_earlier_address() -> None:
    config, at = conf(ranges=[[{"subnet": "10.0.0.0/24"}], [{"subnet": "10.9.0.0/30"}]]), machine()
    add(config, at, "a")
    with pytest.raises(CniError, match="failed to allocate for range 1"):
        add(config, at, "b")
    store = HostLocalStore.of(at.host, "net", "/var/lib/cni/networks")
    assert store.owner_of == {ip4("10.0.0.2"): ("a", "eth0"), ip4("10.9.0.2"): ("a", "eth0")}


def test_twice_without_del() -> None:
    config, at = conf(subnet="10.0.0.0/24"), machine()
    add(config, at, "a")
    with pytest.raises(CniError, match=r"10\.0\.0\.2 has been allocated to a, duplicate allocation is not allowed"):
        add(config, at, "a")
    assert (
        invoke.add("host-local", config, replace(at, container_id="a", ifname="eth1")).ips[0].address == "10.0.0.3/24"
    )


def test_an_address_before_the_add() -> None:
    """The ADD gives the one that was kept for it, whatever came in between, and only once; DEL frees it."""
    config, at = conf(subnet="10.244.1.0/29", routes=[{"dst": "0.0.0.0/0"}]), machine()
    kept = invoke.lease("host-local", config, replace(at, container_id="early", netns=None))
    assert kept is not None and [ip.address for ip in kept.ips] == ["10.244.1.2/29"]
    assert add(config, at, "other") == ["10.244.1.3/29"]
    assert invoke.add("host-local", config, replace(at, container_id="early")) == kept
    with pytest.raises(CniError, match="duplicate allocation"):
        add(config, at, "early")
    invoke.lease("host-local", config, replace(at, container_id="never", netns=None))
    invoke.delete("host-local", config, replace(at, container_id="early"))
    assert [add(config, at, name) for name in ("c", "d", "e")] == [
        ["10.244.1.5/29"],
        ["10.244.1.6/29"],
        ["10.244.1.2/29"],
    ]
    with pytest.raises(CniError, match="no IP addresses available"):
        invoke.lease("host-local", config, replace(at, container_id="late", netns=None))


def test_several_ranges_and_other_plugins_give_none_before_the_add() -> None:
    config = {
        **conf(),
        "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "10.2.0.0/24"}]]},
    }
    assert invoke.lease("host-local", config, machine()) is None
    assert add(config, machine(), "c") == ["10.1.0.2/24", "10.2.0.2/24"]
    either = {
        **conf(),
        "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.1.0.0/24"}, {"subnet": "10.2.0.0/24"}]]},
    }
    assert invoke.lease("host-local", either, machine()) is None
    assert invoke.lease("static", {**conf(), "ipam": {"type": "static"}}, machine()) is None


def test_del_and_check() -> None:
    config, at = conf(subnet="10.0.0.0/24"), machine()
    with pytest.raises(CniError, match="Failed to find address added by container first"):
        invoke.check("host-local", config, at)
    invoke.add("host-local", config, at)
    invoke.check("host-local", config, at)
    for _ in range(2):
        invoke.delete("host-local", config, replace(at, netns=None))
    with pytest.raises(CniError, match="Failed to find address"):
        invoke.check("host-local", config, at)


def test_networks_and_directories_do_not_share() -> None:
    at = machine()
    assert add(conf(subnet="10.0.0.0/24"), at, "a") == ["10.0.0.2/24"]
    assert add({**conf(subnet="10.0.0.0/24"), "name": "other"}, at, "a") == ["10.0.0.2/24"]
    assert add(conf(subnet="10.0.0.0/24", dataDir="/run/ipam"), at, "a") == ["10.0.0.2/24"]


@pytest.mark.parametrize(
    ("asked", "text", "then"),
    [
        ("10.0.0.1", "requested ip 10.0.0.1 is subnet's gateway", "10.0.0.8/24"),
        ("10.0.0.7", "IP address 10.0.0.7 is not available in range set 10.0.0.1-10.0.0.254", "10.0.0.8/24"),
        # .8 was taken from the range before it was seen that .5.7 is in none, and was given back
        ("10.5.0.7", "failed to allocate all requested IPs: 10.5.0.7", "10.0.0.9/24"),
        ("10.5", "invalid IP address: 10.5", "10.0.0.8/24"),
    ],
)
def test_an_address_that_was_asked_for_and_is_not_to_be_had(asked: str, text: str, then: str) -> None:
    config, at = conf(subnet="10.0.0.0/24"), machine()
    invoke.add("host-local", config, replace(at, container_id="a", args="IP=10.0.0.7"))
    with pytest.raises(CniError, match=text):
        invoke.add("host-local", config, replace(at, args=f"IP={asked}"))
    assert add(config, at, "first") == [then]


@pytest.mark.parametrize(
    "ask",
    [{"args": {"cni": {"ips": ["10.0.0.9"]}}}, {"runtimeConfig": {"ips": ["10.0.0.9/24"]}}],
)
def test_ways_to_ask_for_an_address(ask: Config) -> None:
    config, at = {**conf(subnet="10.0.0.0/24"), **ask}, machine()
    assert add(config, at, "a") == ["10.0.0.9/24"]
    assert add(conf(subnet="10.0.0.0/24"), at, "b") == ["10.0.0.10/24"]


def test_ranges_as_a_capability_come_first() -> None:
    config = {**conf(subnet="10.0.0.0/24"), "runtimeConfig": {"ipRanges": [[{"subnet": "10.7.0.0/24"}]]}}
    assert add(config, machine(), "a") == ["10.7.0.2/24", "10.0.0.2/24"]


@pytest.mark.parametrize(
    ("ipam", "text"),
    [
        ({}, "no IP ranges specified"),
        ({"subnet": "bogus"}, "invalid range set 0: invalid CIDR address: bogus"),
        ({"subnet": "10.0.0.0/33"}, "invalid CIDR address: 10.0.0.0/33"),
        ({"subnet": "10.0.0.0/31"}, "Network 10.0.0.0/31 too small to allocate from"),
        ({"subnet": "10.0.0.0/32"}, "Network 10.0.0.0/32 too small to allocate from"),
        (
            {"subnet": "10.0.0.9/24"},
            "Network has host bits set. For a subnet mask of length 24 the network address is 10.0.0.0",
        ),
        ({"subnet": "10.0.0.0/24", "rangeStart": "10.1.0.0"}, "RangeStart 10.1.0.0 not in network 10.0.0.0/24"),
        ({"subnet": "10.0.0.0/24", "rangeEnd": "10.1.0.0"}, "RangeEnd 10.1.0.0 not in network 10.0.0.0/24"),
        (
            {"subnet": "10.0.0.0/24", "rangeStart": "10.0.0.9", "rangeEnd": "10.0.0.8"},
            "RangeEnd 10.0.0.8 not in network 10.0.0.0/24",
        ),
        ({"subnet": "10.0.0.0/24", "routes": [{"dst": "bogus"}]}, "invalid CIDR address: bogus"),
        ({"subnet": "10.0.0.0/24", "routes": [{"dst": "0.0.0.0/0", "gw": "me"}]}, "invalid IP address: me"),
        ({"ranges": [[]]}, "invalid range set 0: empty range set"),
        (
            {"ranges": [[{"subnet": "10.0.0.0/24"}, {"subnet": "10.0.0.0/16"}]]},
            "subnets 10.0.0.1-10.0.0.254 and 10.0.0.1-10.0.255.254 overlap",
        ),
        ({"subnet": "10.0.0.0/24", "ranges": [[{"subnet": "10.0.0.128/25"}]]}, "range set 0 overlaps with 1"),
    ],
)
def test_ranges_that_are_refused(ipam: Config, text: str) -> None:
    with pytest.raises(CniError) as caught:
        add(conf(**ipam), machine(), "a")
    assert text in caught.value.msg
    assert caught.value.code == 999


def test_what_is_not_modelled_is_refused() -> None:
    for ipam in ({"subnet": "fd00::/64"}, {"subnet": "10.0.0.0/24", "resolvConf": "/etc/resolv.conf"}):
        with pytest.raises(Undecided):
            add(conf(**ipam), machine(), "a")
    with pytest.raises(CniError, match="IPAM config missing 'ipam' key"):
        invoke.add("host-local", {"name": "n"}, machine())


RANGES = RangeSet(
    Range(Prefix.parse(subnet), ip4(first), ip4(last), ip4(gateway))
    for subnet, first, last, gateway in (
        ("10.0.0.0/28", "10.0.0.1", "10.0.0.14", "10.0.0.1"),
        ("10.0.1.0/29", "10.0.1.3", "10.0.1.5", "10.0.1.4"),
    )
)
EVERY = {addr for each in RANGES for addr in range(each.first, each.last + 1) if addr != each.gateway}


@given(st.one_of(st.none(), st.integers(ip4("9.255.255.250"), ip4("10.0.1.9"))))
def test_from_wherever_it_starts_every_address_comes_once(last: int | None) -> None:
    found = [addr for addr, here in RANGES.after(last) if addr in here.subnet]
    assert len(found) == len(EVERY)
    assert set(found) == EVERY
    if last in EVERY:
        assert found[-1] == last


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9)), max_size=40))
def test_no_container_ever_has_anothers_address(calls: list[tuple[bool, int]]) -> None:
    config, at = conf(subnet="10.0.0.0/29"), machine()
    held: dict[int, str] = {}
    for adding, who in calls:
        if not adding:
            invoke.delete("host-local", config, replace(at, container_id=f"c{who}"))
            held.pop(who, None)
        elif who in held or len(held) == 5:
            with pytest.raises(CniError):
                add(config, at, f"c{who}")
        else:
            (held[who],) = add(config, at, f"c{who}")
        assert len(set(held.values())) == len(held)
