"""What routes and rules of a dump do to a packet: the outcomes of `emu trace --rules`, with probabilities."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from emu.report.node import read_node
from emu.report.outcomes import Probe, outcomes
from emu.report.packet import complete, ending
from emu.wire.addr import ip4
from emu.wire.frame import ICMP, TCP, UDP

LINK: dict[str, Any] = {
    "dst": "10.0.0.0/24",
    "dev": "eth0",
    "protocol": "kernel",
    "scope": "link",
    "prefsrc": "10.0.0.2",
    "flags": [],
}
OTHER: dict[str, Any] = {
    "dst": "10.0.1.0/24",
    "dev": "eth1",
    "protocol": "kernel",
    "scope": "link",
    "prefsrc": "10.0.1.2",
    "flags": [],
}
WAY: dict[str, Any] = {"dst": "default", "gateway": "10.0.0.1", "dev": "eth0", "flags": []}
SECOND: dict[str, Any] = {"dst": "default", "gateway": "10.0.1.1", "dev": "eth1", "metric": 9, "flags": []}
OURS = Probe(TCP, ip4("10.0.0.2"), ip4("192.0.2.9"), 40000, 443)
THEIRS = replace(OURS, src=ip4("10.0.0.77"), device="eth0")
EAST, WEST = {"gateway": "10.0.0.1", "dev": "eth0", "weight": 1}, {"gateway": "10.0.1.1", "dev": "eth1", "weight": 3}
SEVERAL = {"dst": "default", "nexthops": [EAST | {"flags": []}, WEST | {"flags": []}], "flags": []}
FIRST = "leaves out of eth0 to the next hop 10.0.0.1"
OVER_ETH1 = "leaves out of eth1 to the next hop 10.0.1.1"
NOTHING = "error (ENETUNREACH)"


def found(probe: Probe, routes: list[dict[str, Any]], policy: list[dict[str, Any]] | None = None) -> dict[str, float]:
    node = read_node(
        "*filter\nCOMMIT\n", routes=json.dumps([LINK, OTHER, *routes]), policy=json.dumps(policy) if policy else ""
    )
    whole = complete(node, probe)
    ends: dict[str, float] = {}
    for outcome in outcomes(node, whole, answer=False):
        text = ending(outcome.there)
        ends[text] = round(ends.get(text, 0) + outcome.probability, 6)
    return ends


@pytest.mark.parametrize(
    ("route", "end"),
    [
        ({}, FIRST),
        ({"flags": ["dead", "linkdown"]}, OVER_ETH1),
        ({"flags": ["linkdown"]}, "dropped (QDISC_DROP)"),
        ({"tos": "0x10"}, OVER_ETH1),
        ({"tos": "odd"}, "undecided by route default: tos odd is not modelled"),
        ({"encap": "mpls"}, "undecided by route default: the encapsulation is not modelled"),
        ({"via": {"family": "inet6", "host": "fe80::1"}}, "undecided by route default: the next hop of another address family is not modelled"),
        ({"type": "xresolve"}, "undecided by route default: the type xresolve is not modelled"),
        ({"realms": "3"}, FIRST),
        ({"wonder": 1}, "undecided by route default: wonder is not modelled"),
        ({"type": "unreachable"}, "error (EHOSTUNREACH) by route unreachable default"),
        ({"type": "blackhole"}, "error (EINVAL) by route blackhole default"),
        ({"type": "throw"}, NOTHING),
    ],
)  # fmt: skip
def test_what_a_route_states_counts(route: dict[str, Any], end: str) -> None:
    way = WAY | route
    if way.get("type") in ("unreachable", "blackhole", "throw"):
        way = {key: value for key, value in way.items() if key not in ("dev", "gateway")}
    assert found(OURS, [way, SECOND]) == {end: 1.0}


def rules(*more: dict[str, Any]) -> list[dict[str, Any]]:
    first: dict[str, Any] = {"priority": 0, "src": "all", "table": "local"}
    return [first, *({"src": "all"} | each for each in more), {"priority": 32766, "src": "all", "table": "main"}]


TO_9 = {"priority": 9, "table": "9"}


@pytest.mark.parametrize(
    ("probe", "rule", "end"),
    [
        (OURS, {}, OVER_ETH1),
        (OURS, {"not": None, "src": "10.0.0.0", "srclen": 24}, FIRST),
        (OURS, {"ipproto": "udp"}, FIRST),
        (OURS, {"ipproto": "tcp", "dport_start": 400, "dport_end": 500}, OVER_ETH1),
        (THEIRS, {"dport": 443}, OVER_ETH1),
        (THEIRS, {"dport": 444}, FIRST),
        (THEIRS, {"sport": 40000, "iif": "eth0"}, OVER_ETH1),
        (THEIRS, {"iif": "lo"}, FIRST),
        (OURS, {"iif": "lo"}, OVER_ETH1),
        (OURS, {"oif": "eth1"}, FIRST),
        (OURS, {"tos": "0x10"}, FIRST),
        (replace(OURS, uid=1500), {"uid_start": 1000, "uid_end": 2000}, OVER_ETH1),
        (OURS, {"uid_start": 1000, "uid_end": 2000}, FIRST),
        (THEIRS, {"uid_start": 0, "uid_end": 0}, OVER_ETH1),
        (replace(OURS, mark=0x21), {"fwmark": "0x11", "fwmask": "0xf"}, OVER_ETH1),
        (OURS, {"suppress_prefixlen": 0}, FIRST),
        (OURS, {"suppress_ifgroup": "default"}, FIRST),
        (OURS, {"suppress_ifgroup": "5"}, OVER_ETH1),
        (OURS, {"goto": 40000}, NOTHING),
        (OURS, {"goto": 40001, "unresolved": None}, FIRST),
        (OURS, {"nop": None}, FIRST),
        (OURS, {"action": "unreachable"}, f"{NOTHING} by rule 9: from all unreachable"),
        (OURS, {"action": "prohibit"}, "error (EACCES) by rule 9: from all prohibit"),
        (THEIRS, {"action": "prohibit", "iif": "eth0"}, "rejected (icmp admin-prohibited) by rule 9: from all iif eth0 prohibit"),
        (THEIRS, {"action": "unreachable", "iif": "eth0"}, "rejected (icmp net-unreachable) by rule 9: from all iif eth0 unreachable"),
        (THEIRS, {"action": "blackhole"}, "dropped (IP_INNOROUTES) by rule 9: from all blackhole"),
        (OURS, {"l3mdev": None}, FIRST),
        (THEIRS, {"l3mdev": None}, "undecided by rule 9: from all l3mdev lookup 9: l3mdev is not modelled"),
        (THEIRS, {"table": "[l3mdev-table]"}, "undecided by rule 9: from all l3mdev lookup 0: l3mdev is not modelled"),
        (OURS, {"realms": "3/4"}, OVER_ETH1),
        (THEIRS, {"tun_id": 7}, "undecided by rule 9: from all tun_id 7 lookup 9: tun_id 7 is not modelled"),
        (OURS, {"wonder": 1}, "undecided by rule 9: from all wonder lookup 9: wonder is not modelled"),
        (OURS, {"wonder": 1, "dst": "10.9.9.9"}, FIRST),
    ],
)  # fmt: skip
def test_what_a_rule_states_counts(probe: Probe, rule: dict[str, Any], end: str) -> None:
    routes = [WAY, SECOND | {"table": "9", "metric": 0}]
    last: dict[str, Any] = {"priority": 40000, "src": "all", "table": "default"}
    assert found(probe, routes, rules(TO_9 | rule) + [last]) == {end: 1.0}


@pytest.mark.parametrize(
    ("probe", "ends"),
    [
        (THEIRS, {FIRST: 0.25, OVER_ETH1: 0.75}),
        (replace(THEIRS, proto=UDP), {FIRST: 0.25, OVER_ETH1: 0.75}),
        (replace(THEIRS, proto=ICMP), {FIRST: 0.25, OVER_ETH1: 0.75}),
        (OURS, {FIRST: 1.0}),  # its source is the address of that link
    ],
)
def test_next_hops_are_outcomes_by_their_weights(probe: Probe, ends: dict[str, float]) -> None:
    assert found(probe, [SEVERAL]) == ends


def test_a_next_hop_that_is_dead_has_no_share() -> None:
    hops = [EAST | {"flags": []}, WEST | {"flags": ["dead"]}, WEST | {"gateway": "10.0.1.3", "flags": []}]
    assert found(THEIRS, [SEVERAL | {"nexthops": hops}]) == {
        FIRST: 0.25,
        "leaves out of eth1 to the next hop 10.0.1.3": 0.75,
    }


def test_next_hops_of_one_flow_are_chosen_once() -> None:
    """An established connection's later packets take the way of its first one."""
    node = read_node("*filter\nCOMMIT\n", routes=json.dumps([LINK, OTHER, SEVERAL]))
    whole = complete(node, replace(THEIRS, state="established"))
    shares = {ending(each.there): each.probability for each in outcomes(node, whole)}
    assert {text: round(share, 6) for text, share in shares.items()} == {FIRST: 0.25, OVER_ETH1: 0.75}
