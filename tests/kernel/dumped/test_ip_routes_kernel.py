"""`ip -j route` and `ip -j rule` of this machine's kernel are read as what its own plain text states."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace

import pytest

from emu.kernel.dumped.ip_routes import Known, is_ip4, read_route, read_rule, with_devices
from emu.kernel.net.fib_semantics import UNDECIDED
from emu.pasted.ip_json import read
from linux import Linux

pytestmark = pytest.mark.twin

RULES = """
not from 10.0.0.0/8 lookup 100 pref 10
from all lookup main suppress_prefixlength 0 pref 11
uidrange 1000-2000 lookup 100 pref 12
oif eth1 lookup 100 pref 13
not iif gone lookup 100 pref 14
ipproto 6 sport 5 lookup 100 pref 17
ipproto 99 dport 53-60 lookup 100 pref 18
ipproto icmp tos 0x10 lookup 100 pref 20
fwmark 0x11/0x0f lookup 100 pref 23
fwmark 0/0xff lookup 100 pref 23
to 1.1.1.1 unreachable pref 24
to 1.1.1.2 blackhole pref 25
to 1.1.1.3 prohibit pref 26
to 1.1.1.4 goto 200 pref 27
nop pref 28
from all suppress_ifgroup 5 lookup main pref 41
to 1.1.1.6 lookup 100 protocol static pref 43
to 1.1.1.7 lookup 100 suppress_prefixlength 24 suppress_ifgroup default pref 44
from 10.3.0.0/16 to 10.4.0.0/16 fwmark 0x5 iif eth0 tos 0x10 ipproto udp sport 5-6 dport 7 lookup 100 pref 50
"""
ROUTES = """
default via 10.0.1.9 dev eth1 proto dhcp src 10.0.1.1 metric 100
10.2.0.0/16 dev eth0 tos 0x10
unreachable 10.3.0.0/16
blackhole 10.4.0.0/16 metric 7
prohibit 10.5.0.0/16 table 100
throw 10.6.0.0/16
10.8.0.0/16 proto static mtu 1300 nexthop via 10.0.0.9 dev eth0 nexthop via 10.0.1.9 dev eth1 weight 5
10.9.0.0/16 via 10.77.0.1 dev eth0 onlink
10.10.0.0/16 dev eth0 scope host
"""
STRANGE = """
10.20.0.0/16 via inet6 fe80::1 dev eth0
10.21.0.0/16 nexthop via inet6 fe80::1 dev eth0 nexthop via inet6 fe80::1 dev eth1
"""


@pytest.fixture
def node(linux: Linux) -> str:
    name = linux.namespace("node")
    for number in range(2):
        linux.run(name, "ip", "link", "add", f"eth{number}", "type", "veth", "peer", "name", f"far{number}")
        for end in (f"eth{number}", f"far{number}"):
            linux.run(name, "ip", "link", "set", end, "up")
        linux.run(name, "ip", "addr", "add", f"10.0.{number}.1/24", "dev", f"eth{number}")
    return name


def test_rules(linux: Linux, node: str) -> None:
    for line in RULES.strip().splitlines():
        linux.run(node, "ip", "rule", "add", *line.split())
    text = linux.run(node, "ip", "rule")
    kernels = [" ".join(re.sub(r" \[\w+\]| proto \w+", "", line).split()) for line in text.splitlines()]
    rules = [read_rule(each, Known()) for each in read(linux.run(node, "ip", "-j", "rule"), "rules", "rule")]
    assert [rule.text() for rule in rules] == kernels
    assert not any(rule.unknown or rule.unknown_in for rule in rules)


def test_selectors_that_emu_does_not_know(linux: Linux, node: str) -> None:
    for line in ("tun_id 7 lookup 100 pref 45", "to 1.1.1.9 nat 2.2.2.2 pref 48", "l3mdev pref 49"):
        linux.run(node, "ip", "rule", "add", *line.split())
    items = read(linux.run(node, "ip", "-j", "rule"), "rules", "rule")[1:4]
    rules = [read_rule(each, Known()) for each in items]
    assert [(rule.unknown_in, rule.unknown) for rule in rules] == [("tun_id 7", ""), ("", "masquerade"), ("l3mdev", "")]
    assert read_rule(items[2], Known(vrfs=False)).text() == "49: from all nop"


def test_routes(linux: Linux, node: str) -> None:
    for line in ROUTES.strip().splitlines():
        linux.run(node, "ip", "route", "add", *line.split())
    text = linux.run(node, "ip", "-4", "route", "show", "table", "all").replace("\n\t", " ")
    kernels = [" ".join(re.sub(r" table \w+", "", line).split()) for line in text.splitlines()]
    items = [
        each
        for each in read(linux.run(node, "ip", "-j", "route", "show", "table", "all"), "routes", "route")
        if is_ip4(each)
    ]
    routes = [with_devices(read_route(each), lambda name: SimpleNamespace(name=name)) for each in items]
    assert [route.text() for route in routes] == kernels
    assert [route.table for route in routes if route.kind == "prohibit"] == [100]


def test_routes_that_emu_does_not_model(linux: Linux, node: str) -> None:
    for line in STRANGE.strip().splitlines():
        linux.run(node, "ip", "route", "add", *line.split())
    found = [each for each in json.loads(linux.run(node, "ip", "-j", "route")) if each["dst"].startswith("10.2")]
    routes = [read_route(each) for each in read(json.dumps(found), "routes", "route")]
    assert [(route.kind, {hop.kind for hop in route.hops}) for route in routes] == [
        (UNDECIDED, set()),
        ("unicast", {UNDECIDED}),
    ]
