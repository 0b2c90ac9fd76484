"""The real tools print the same rules, routes, policy rules, addresses and neighbours in several forms: each form is read alike."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest

from emu.kernel.netfilter.dump import parse_dump
from emu.pasted.ip_text import objects
from emu.pasted.rules import rules
from linux import Linux
from pasted_rules import RULES, SETS

TABLES = ("mangle", "raw", "filter", "nat")
BUILD = """\
link add d0 type veth peer name d1
addr add 10.0.0.1/24 dev d0
link set d0 up
link set d1 up
addr add 10.3.0.1 peer 10.3.0.2/32 dev d0
route add 10.5.0.0/24 nexthop via 10.0.0.2 dev d0 weight 2 nexthop via 10.0.0.3 dev d0 onlink
route add 10.7.0.0/24 via inet6 fe80::1 dev d0
route add 10.8.0.0/24 via 10.0.0.9 dev d0 mtu lock 1400 advmss 1000 tos 0x10 onlink
route add 10.9.0.0/24 via 10.0.0.9 mtu 1300 metric 5 src 10.0.0.1
route add default via 10.0.0.4 table 77
route add unreachable 10.77.0.0/16
route add blackhole 10.78.0.0/16 metric 3
neigh add 10.0.0.2 lladdr 02:00:00:00:00:01 dev d0 nud permanent
neigh add 10.0.0.3 lladdr 02:00:00:00:00:02 dev d0 nud stale
neigh add 10.0.0.5 dev d0 nud failed
rule add prio 100 from 10.9.0.0/16 to 1.2.3.4 iif d0 oif lo fwmark 0x80/0x80 ipproto tcp dport 80-90 sport 5 uidrange 5-10 lookup 77
rule add prio 101 not fwmark 0xca6c lookup 51820 suppress_prefixlength 0
rule add prio 102 tos 0x10 blackhole
rule add prio 103 goto 32766
rule add prio 104 unreachable
rule add prio 105 nop
rule add prio 106 prohibit
"""
LINK_KEYS = ("ifname", "flags", "mtu", "operstate", "address", "addr_info")
ADDR_KEYS = ("family", "local", "prefixlen", "scope", "address")


@pytest.mark.parametrize("form", ["-nvL", "-nvxL", "-nvL --line-numbers", "-nL", "-S"])
def test_every_list_of_rules_is_read_as_iptables_save(form: str, linux: Linux) -> None:
    net = linux.namespace("rules")
    text = RULES
    if shutil.which("ipset") is None:
        text = "".join(line for line in RULES.splitlines(keepends=True) if "-set s1" not in line)
    else:
        linux.run(net, "ipset", "restore", stdin=SETS)
    linux.run(net, "iptables-restore", stdin=text)
    saved = [str(rule) for rule in parse_dump(linux.run(net, "iptables-save")).rules()]
    assert len(saved) > 60
    shown = "".join(
        f"root@n:~# iptables -t {table} {form}\n{linux.run(net, 'iptables', '-t', table, *form.split())}"
        for table in TABLES
    )
    pasted = rules(shown)
    read = [str(rule) for rule in parse_dump(pasted.text).rules()]
    if form == "-nL":  # interfaces are not shown
        read, saved = (
            [rule for rule in each if "-i " not in want and "-o " not in want]
            for each, want in ((read, ""), (saved, ""))
        )
        pairs = [
            (one, other) for one, other in zip(saved, read, strict=True) if " -i " not in one and " -o " not in one
        ]
        saved, read = [one for one, _ in pairs], [other for _, other in pairs]
    assert read == saved
    assert pasted.notes == ()


@pytest.mark.parametrize("kind", ["route", "rule", "addr", "neigh"])
def test_the_text_of_ip_is_read_as_its_json(kind: str, linux: Linux) -> None:
    net = linux.namespace("ip")
    for line in BUILD.splitlines():
        linux.run(net, "ip", *line.split())
    words = [kind, *(["show", "table", "all"] if kind == "route" else [])]
    wanted = [_kept(each, kind) for each in json.loads(linux.run(net, "ip", "-4", "-j", *words))]
    text = linux.run(net, "ip", "-4", *words)
    assert [_kept(each, kind) for each in objects(kind, text)] == wanted
    assert [_kept(each, kind) for each in objects(kind, f"root@n:~# ip {' '.join(words)}\n{text}")] == wanted


def test_the_short_forms_of_ip_addr_hold_the_addresses(linux: Linux) -> None:
    net = linux.namespace("short")
    for line in BUILD.splitlines()[:5]:
        linux.run(net, "ip", *line.split())
    for form in (["-br"], ["-o"], []):
        found = {each["ifname"]: each["addr_info"] for each in objects("addr", linux.run(net, "ip", *form, "addr"))}
        assert [(each["local"], each["prefixlen"]) for each in found["d0"]] == [("10.0.0.1", 24), ("10.3.0.1", 32)]


def _kept(each: dict[str, Any], kind: str) -> dict[str, Any]:
    """What both forms show: text leaves out lifetimes and labels."""
    if kind != "addr":
        return {key: value for key, value in each.items() if key != "iif_detached"}
    found = {key: value for key, value in each.items() if key in LINK_KEYS}
    found["addr_info"] = [{key: value for key, value in info.items() if key in ADDR_KEYS} for info in each["addr_info"]]
    return found
