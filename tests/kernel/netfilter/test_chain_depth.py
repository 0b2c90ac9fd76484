"""How deep chains may jump: what Linux 6.18 with iptables 1.8.9 (nf_tables) takes and refuses, seen there case by case."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emu.errors import InputError
from emu.kernel.netfilter.dump import parse_dump
from emu.kernel.netfilter.hooks import Drop
from emu.kernel.netfilter.jumps import check
from emu.kernel.netfilter.rule_reader import parse_rules
from emu.kernel.netfilter.ruleset import Chain, Rule, RuleSet
from emu.kernel.netfilter.save import parse_restore, save
from emu.testing.strategies import examples
from rules import FakeNetns, packet


def deep(count: int, word: str = "-j", *, reached: bool = True, circle: bool = False) -> str:
    """FORWARD calls c0, c0 calls c1 and so on; the last one drops, or calls c0 again."""
    lines = ["*filter", *(f":c{n} - [0:0]" for n in range(count))]
    lines += ["-A FORWARD -j c0"] if reached else []
    lines += [f"-A c{n} {word} c{n + 1}" for n in range(count - 1)]
    lines += [f"-A c{count - 1} {f'{word} c0' if circle else '-j DROP'}", "COMMIT\n"]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (deep(14), None),
        (deep(15), None),
        (deep(16), 33),
        (deep(15, "-g"), None),
        (deep(16, "-g"), 33),
        (deep(16, reached=False), None),
        (deep(2000, reached=False), None),
        (deep(3, reached=False, circle=True), None),
        (deep(3, circle=True), 8),
        (deep(1, circle=True), 4),
        (deep(2000), 2017),
        (deep(20_000), 20_017),
        (deep(20_000, circle=True), 20_017),
    ],
    ids=lambda each: None if isinstance(each, str) else str(each),
)
def test_linux_takes_fifteen_chains_below_a_base_chain(text: str, line: int | None) -> None:
    """`line` is the rule that the kernel refuses (Too many links)."""
    if line is None:
        assert save(parse_restore(text)).count("\n-A c") == text.count("\n-A c")
        return
    with pytest.raises(InputError) as caught:
        parse_restore(text, "deep.rules")
    assert (caught.value.file, caught.value.line) == ("deep.rules", line)
    assert len(str(caught.value)) < 500


def test_a_chain_that_was_reached_by_a_short_way_counts_on_the_long_way_too() -> None:
    short_way_first = deep(15).replace("-A FORWARD", "-A FORWARD -j c7\n-A FORWARD")
    parse_restore(short_way_first)
    longer = short_way_first.replace("-A c3 -j c4", "-A c3 -j x\n-A x -j c4").replace(":c0 ", ":x - [0:0]\n:c0 ")
    with pytest.raises(InputError, match="more than 15 chains deep: FORWARD -> c0 -> c1"):
        parse_restore(longer)


@pytest.mark.parametrize("depth", [16, 2000, 20_000])
def test_a_dump_of_the_old_iptables_may_be_deeper_and_is_walked(depth: int) -> None:
    """iptables-legacy loads 2,000 chains: its stack is as large as the table needs."""
    net = FakeNetns()
    net.tables.replace(parse_dump(deep(depth)))
    verdict = net.run("FORWARD", packet())
    assert isinstance(verdict, Drop) and str(verdict.by) == f"-A c{depth - 1} -j DROP"
    assert len(net.tables.counters) == depth + 1
    with pytest.raises(InputError, match="the jumps go in a circle") as caught:
        parse_dump(deep(depth, circle=True))
    assert len(str(caught.value)) < 500


def test_rules_as_values_are_checked_too() -> None:
    """A merge may close a circle that neither side has; then nothing is changed."""
    net = FakeNetns()
    head = "*filter\n:a - [0:0]\n:b - [0:0]\n"
    ours = parse_restore(head + "-A a -j b\n-A FORWARD -j a\nCOMMIT\n").tables["filter"]
    theirs = parse_restore(head + "-A b -j a\nCOMMIT\n").tables["filter"]
    net.tables.restore(RuleSet({"filter": ours}))
    with pytest.raises(InputError, match="the jumps go in a circle: FORWARD -> a -> b -> a"):
        net.tables.restore(RuleSet({"filter": {**ours, "b": theirs["b"]}}))
    with pytest.raises(InputError, match="the jumps go in a circle: FORWARD -> a -> b -> a"):
        net.tables.restore(RuleSet({"filter": {**theirs, "a": ours["a"]}}), noflush=True)
    with pytest.raises(InputError, match="chains deep"):
        net.tables.restore(parse_dump(deep(40)), noflush=True)
    assert net.tables.ruleset.tables["filter"]["b"].rules == ()
    assert net.run("FORWARD", packet()) is None


NAMES = "abcd"
TARGETS = [*(f"-j {name}" for name in NAMES), "-g b", "-j MASQUERADE", "-j DNAT --to-destination 10.0.0.1", "-j ACCEPT"]
BODIES = st.lists(st.sampled_from(TARGETS), max_size=2)
BASES = ("PREROUTING", "POSTROUTING")
TABLES = st.fixed_dictionaries(dict.fromkeys([*BASES, *NAMES], BODIES))
CHANGES = st.lists(st.dictionaries(st.sampled_from(NAMES), BODIES, min_size=1, max_size=2), min_size=1, max_size=4)


def chains(bodies: dict[str, list[str]]) -> dict[str, Chain]:
    """The chains of a nat table, by name, checked by nothing."""
    made = {}
    for name, lines in bodies.items():
        rules = [rule for line in lines for rule in parse_rules(line.split(), "nat", name, 0, NAMES)]
        made[name] = Chain(name, "ACCEPT" if name in BASES else "", rules)
    return made


def refusal(of: dict[str, Chain]) -> str:
    try:
        check(RuleSet.of({"nat": of}))
    except InputError as error:
        return str(error)
    return ""


@given(TABLES, CHANGES)
@examples(300)
def test_a_chain_that_was_walked_is_judged_as_one_that_was_not(
    first: dict[str, list[str]], changes: list[dict[str, list[str]]]
) -> None:
    bodies, there = {**first}, chains(first)
    refusal(there)
    for change in changes:
        bodies |= change
        there |= chains(change)
        assert refusal(there) == refusal(chains(bodies))


@pytest.mark.pure("a list counts who iterates it")
def test_what_many_nodes_have_is_walked_once() -> None:
    deep_ones = parse_restore(deep(15)).tables["filter"]
    walked = 0

    class Counted(list[Rule]):
        def __iter__(self) -> Iterator[Rule]:
            nonlocal walked
            walked += 1
            return super().__iter__()

    for chain in deep_ones.values():
        chain._rules = Counted(chain.lines)
    for _ in range(3):
        own = parse_restore("*filter\n:own - [0:0]\n-A FORWARD -j own\nCOMMIT\n").tables["filter"]
        forward = Chain(
            "FORWARD", "ACCEPT", [*own["FORWARD"].lines, *parse_rules(["-j", "c0"], "filter", "FORWARD", 0, ["c0"])]
        )
        check(RuleSet({"filter": {**deep_ones, **own, "FORWARD": forward}}))
    assert walked == 15
