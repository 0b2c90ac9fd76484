"""A looked-up chain decides, reports and counts exactly as a scanned one; its cost does not grow with its length."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emu.kernel.netfilter.conn import (
    IP_CT_ESTABLISHED,
    IP_CT_ESTABLISHED_REPLY,
    IP_CT_NEW,
    IP_CT_RELATED,
    SRC_NAT,
    Conn,
    NoTable,
)
from emu.kernel.netfilter.hooks import Drop, Reject
from emu.kernel.netfilter.lookup import Index, path, program, scan
from emu.kernel.netfilter.ruleset import Chain, Edit, RuleSet
from emu.kernel.netfilter.table import walker
from emu.wire.frame import Frame
from rules import FakeNetns, packet, ruleset

ADDRESSES = [f"10.96.0.{n}" for n in range(6)]
PORTS = [0, 53, 80, 443]


# what a walk may know beforehand, and, with SNAT and a direction, what it may not
states = st.sampled_from(
    [
        "", "", "", "-m conntrack --ctstate RELATED,ESTABLISHED", "-m conntrack --ctstate NEW", "-m state ! --state NEW",
        "-m mark --mark 0x1/0x1", "-m conntrack --ctstate SNAT", "-m conntrack --ctstate NEW --ctdir REPLY",
    ]
)  # fmt: skip


@st.composite
def rule_lines(draw: st.DrawFn, chain: str, jumps: tuple[str, ...]) -> str:
    words = [f"-A {chain}"]
    dst = draw(st.sampled_from([*ADDRESSES, *ADDRESSES, "10.96.0.0/30", ""]))
    if dst:
        words.append(f"{draw(st.sampled_from(['', '', '', '! ']))}-d {dst}")
    if draw(st.integers(0, 7)) == 0:
        words.append("-s 10.0.0.0/31")
    proto = draw(st.sampled_from(["", "tcp", "udp", "tcp"]))
    if proto:
        words.append(f"-p {proto}")
    if draw(st.integers(0, 5)) == 0:
        words.append("-m statistic --mode random --probability 0.5")
    words.append(draw(states))
    if proto and draw(st.booleans()):
        port = draw(st.sampled_from([*map(str, PORTS), "50:90"]))
        words.append(f"-m {proto} {draw(st.sampled_from(['', '', '! ']))}--dport {port}")
    if draw(st.integers(0, 5)) == 0:
        words.append("-m statistic --mode nth --every 2 --packet 0")
    targets = ["", "-j ACCEPT", "-j DROP", "-j RETURN", "-j REJECT", "-j MARK --or-mark 1", *jumps]
    words.append(draw(st.sampled_from(targets)))
    return " ".join(words).strip()


@st.composite
def rulesets(draw: st.DrawFn) -> RuleSet:
    lines = [":a - [0:0]", ":b - [0:0]"]
    for chain, jumps in (("FORWARD", ("-j a", "-g b", "-j b")), ("a", ("-j b", "-g b")), ("b", ())):
        lines += draw(st.lists(rule_lines(chain, jumps), min_size=0, max_size=24))
    return ruleset("filter", *lines)


def tracked(status: int, ctinfo: int, ctdir: int, mark: int, **fields: Any) -> Frame:
    """A packet of a connection, whose status counts for `--ctstate SNAT`."""
    frame = packet(**fields)
    orig = frame.proto, frame.src, frame.dst, frame.sport, frame.dport
    if status >= 0:
        frame.ct = Conn(NoTable(), 1, orig, orig, 0)
        frame.ct.status = status
        frame.ctinfo, frame.ctdir = ctinfo, ctdir
    frame.mark = mark
    return frame


frames = st.builds(
    tracked,
    status=st.sampled_from([-1, 0, 0, SRC_NAT]),
    ctinfo=st.sampled_from([IP_CT_ESTABLISHED, IP_CT_RELATED, IP_CT_NEW, IP_CT_ESTABLISHED_REPLY]),
    ctdir=st.sampled_from([0, 1]),
    mark=st.sampled_from([0, 0, 1, 2]),
    src=st.sampled_from(["10.0.0.1", "10.0.0.9"]),
    dst=st.sampled_from([*ADDRESSES, "192.0.2.1"]),
    proto=st.sampled_from([6, 17, 1]),
    dport=st.sampled_from(PORTS),
    frag=st.sampled_from([0, 0, 0, 0x2000, 7]),
)


def outcome(net: FakeNetns, rules: RuleSet, packets: list[Frame], compiled: Any, known: Any = path) -> list[Any]:
    counters: dict[Any, list[int]] = {}
    chains = rules.tables["filter"]
    walk = walker("filter", chains["FORWARD"], chains, counters, compiled, known)
    found: list[Any] = []
    for frame in packets:
        verdict = walk(frame, net.state("FORWARD"))
        if isinstance(verdict, Drop | Reject):
            found.append((type(verdict), verdict.by))
        found += [verdict is None, frame.trail, frame.mark]
    return [*found, counters]


@settings(max_examples=300, deadline=None)
@given(rulesets(), st.lists(frames, min_size=1, max_size=12))
def test_look_up_equals_scan(rules: RuleSet, packets: list[Frame]) -> None:
    looked_up = outcome(FakeNetns(), rules, [frame.clone() for frame in packets], program)
    scanned = outcome(FakeNetns(), rules, packets, scan, lambda *_: None)
    assert looked_up == scanned


@settings(max_examples=300, deadline=None)
@given(rulesets(), rulesets(), st.data())
def test_a_chain_made_by_edits_is_looked_up_as_one_made_anew(
    rules: RuleSet, others: RuleSet, data: st.DataObject
) -> None:
    chains = {**rules.tables["filter"]}
    lines = others.tables["filter"]["FORWARD"].rules
    for _ in range(data.draw(st.integers(1, 4))):
        known = chains["FORWARD"]
        if data.draw(st.booleans()):
            program(known)  # a walk came by: what is made next goes on from it
        edits, count = [], len(known.lines)
        for _ in range(data.draw(st.integers(1, 3))):
            at = data.draw(st.integers(0, count))
            until = data.draw(st.integers(at, min(count, at + 3)))
            first = data.draw(st.integers(0, len(lines)))
            edits.append(Edit(at, until, lines[first : first + 3]))
            count += len(edits[-1].lines) - (until - at)
        chains["FORWARD"] = known.edited(edits)
        now = RuleSet({"filter": chains})
        packets = data.draw(st.lists(frames, min_size=1, max_size=6))
        if data.draw(st.booleans()):
            looked_up = outcome(FakeNetns(), now, [frame.clone() for frame in packets], program)
            assert looked_up == outcome(FakeNetns(), now, packets, scan, lambda *_: None)
    edited = chains["FORWARD"]
    anew = Chain(edited.name, edited.policy, edited.lines)
    assert [(rule.number, str(rule)) for rule in edited.rules] == [(rule.number, str(rule)) for rule in anew.rules]


def test_a_rule_that_stays_in_a_chain_is_found_at_its_new_place() -> None:
    chain = ruleset("filter", *(f"-A FORWARD -d 10.0.0.{n}" for n in range(20))).tables["filter"]["FORWARD"]
    there = chain.rules
    other = ruleset("filter", "-A FORWARD -d 10.1.0.1").tables["filter"]["FORWARD"].rules
    later = chain.edited([Edit(3, 4, ()), Edit(10, 10, other * 2)])
    assert [later.now(rule) for rule in there] == [*later.rules[:3], None, *later.rules[3:10], *later.rules[12:]]
    assert later.now(there[2]) is there[2] and later.rules[15].number == 16


BY_STATE = ruleset(
    "filter",
    ":KUBE-FORWARD - [0:0]",
    "-A FORWARD -m conntrack --ctstate NEW -j REJECT",
    "-A FORWARD -j KUBE-FORWARD",
    "-A FORWARD -d 10.96.0.1",
    "-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP",
    "-A KUBE-FORWARD -m mark --mark 0x1/0x1 -j RETURN",
    "-A KUBE-FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT",
).tables["filter"]


@pytest.mark.parametrize(
    ("ctinfo", "mark", "met"),
    [
        (IP_CT_ESTABLISHED, 0, ["-j KUBE-FORWARD", "-m conntrack --ctstate ESTABLISHED -j ACCEPT"]),
        (IP_CT_ESTABLISHED_REPLY, 2, ["-j KUBE-FORWARD", "-m conntrack --ctstate ESTABLISHED -j ACCEPT"]),
        (IP_CT_NEW, 0, None),  # dropped
        (IP_CT_ESTABLISHED, 1, None),  # the rule behind the call asks for the destination
    ],
)
def test_a_walk_that_states_and_marks_decide_is_known(ctinfo: int, mark: int, met: list[str] | None) -> None:
    frame = tracked(0, ctinfo, 0, mark, dst="10.96.0.9")
    found = path(BY_STATE["FORWARD"], BY_STATE, frame, FakeNetns().state("FORWARD"))
    assert (None if found is None else [rule.spec for rule in found]) == met


def candidates(rules: RuleSet, chain: str, frame: Frame) -> int:
    node = program(rules.tables["nat"][chain])
    while isinstance(node, Index):
        node = node.find(frame)
    return len(node)


def test_the_cost_does_not_grow_with_services_or_ports() -> None:
    services = [f"-A s -d 10.{n >> 8}.{n & 255}.1/32 -p tcp -m tcp --dport 80 -j RETURN" for n in range(3000)]
    many_ports = [f"-A s -d 10.99.0.1/32 -p tcp -m tcp --dport {n} -j RETURN" for n in range(1, 2000)]
    node_ports = [f"-A n -p tcp -m tcp --dport {n} -j RETURN" for n in range(30000, 32000)]
    rules = ruleset("nat", ":s - [0:0]", ":n - [0:0]", *services, *many_ports, "-A s -p udp", *node_ports)
    assert candidates(rules, "s", packet(dst="10.3.7.1", dport=80)) == 2
    assert candidates(rules, "s", packet(dst="10.3.7.2", dport=80)) == 1
    assert candidates(rules, "s", packet(dst="10.99.0.1", dport=1500)) == 2
    assert candidates(rules, "n", packet(dport=31000)) == 1
    assert candidates(rules, "n", packet(dport=80)) == 0


def test_a_rule_that_draws_before_it_looks_at_ports_is_never_skipped() -> None:
    lines = [f"-A FORWARD -p tcp -m statistic --mode random --probability 0.5 -m tcp --dport {n}" for n in range(9)]
    chain = ruleset("filter", *lines).tables["filter"]["FORWARD"]
    assert not isinstance(program(chain), Index)
