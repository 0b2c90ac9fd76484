"""A looked-up chain decides, reports and counts exactly as a scanned one; its cost does not grow with its length."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from emu.kernel.netfilter.hooks import Drop, Reject
from emu.kernel.netfilter.lookup import Index, program, scan
from emu.kernel.netfilter.ruleset import RuleSet
from emu.kernel.netfilter.table import walker
from emu.wire.frame import Frame
from rules import FakeNetns, packet, ruleset

ADDRESSES = [f"10.96.0.{n}" for n in range(6)]
PORTS = [0, 53, 80, 443]


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


frames = st.builds(
    packet,
    src=st.sampled_from(["10.0.0.1", "10.0.0.9"]),
    dst=st.sampled_from([*ADDRESSES, "192.0.2.1"]),
    proto=st.sampled_from([6, 17, 1]),
    dport=st.sampled_from(PORTS),
    frag=st.sampled_from([0, 0, 0, 0x2000, 7]),
)


def outcome(net: FakeNetns, rules: RuleSet, packets: list[Frame], compiled: Any) -> list[Any]:
    counters: dict[Any, list[int]] = {}
    chains = rules.tables["filter"]
    walk = walker("filter", chains["FORWARD"], chains, counters, compiled)
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
    scanned = outcome(FakeNetns(), rules, packets, scan)
    assert looked_up == scanned


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
