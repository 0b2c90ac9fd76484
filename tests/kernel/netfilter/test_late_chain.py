"""A chain whose rules are made when one is looked at does what a chain does that was given them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from emu.errors import InputError
from emu.kernel.netfilter.matches.set import Set
from emu.kernel.netfilter.ruleset import Chain, Edit, LateChain, Rule, RuleSet
from emu.kernel.netfilter.save import save
from emu.kernel.netfilter.targets import Goto, Jump
from emu.kernel.netfilter.targets.verdicts import Accept
from rules import FakeNetns, packet, ruleset

LINES = ("-A X -s 10.9.9.9/32 -j DROP", "-A X -p tcp -j ACCEPT")


def tables(*lines: str) -> RuleSet:
    return ruleset("filter", ":X - [0:0]", ":Y - [0:0]", "-A FORWARD -j X", *lines)


def with_late(*lines: str) -> tuple[RuleSet, LateChain]:
    """The same rules, and their chain X, which is late."""
    given = tables(*lines)
    chains = dict(given.tables["filter"])
    rules = chains["X"].rules
    chains["X"] = late = LateChain("X", rules, lambda: rules)
    return RuleSet({"filter": chains}), late


def test_its_rules_are_made_once_when_a_packet_comes() -> None:
    late, chain = with_late(*LINES)
    net = FakeNetns()
    net.tables.restore(late)
    before, frame = chain.made, packet()
    assert net.run("FORWARD", frame) is None
    assert (before, chain.made) == (False, True)
    assert [str(each) for each in frame.trail or ()] == ["-A FORWARD -j X", LINES[1]]
    assert net.tables.counters[chain.rules[1]] == [1, frame.tot_len] and chain.rules is chain.rules


@pytest.mark.parametrize(
    "look",
    [
        lambda chain: [*chain.rules],
        lambda chain: [*chain.lines],
        lambda chain: [*chain],
        lambda chain: [chain.rule(0), chain.rule(1)],
        lambda chain: [*chain.edited([Edit(0, 0, ())]).rules],
        lambda chain: [chain.now(each) for each in chain.rules],
    ],
)
def test_every_look_shows_the_same(look: Callable[[Chain], list[object]]) -> None:
    _, late = with_late(*LINES)
    assert look(late) == [*late.forms] and late.made


def test_the_text_is_that_of_its_rules() -> None:
    assert save(with_late(*LINES)[0]) == save(tables(*LINES))
    assert repr(with_late(*LINES)[1]) == "<chain X of 2>"


@pytest.mark.parametrize(
    ("rule", "what"),
    [
        (Rule("filter", "X", 1, (), Jump("Y")), "the jumps go in a circle: FORWARD -> X -> Y -> X"),
        (Rule("filter", "X", 1, (), Goto("FORWARD")), "a rule cannot jump to FORWARD"),
        (Rule("filter", "X", 1, (), Jump("Z")), "no chain or target is called 'Z'"),
        (Rule("filter", "X", 1, (Set("nowhere", ("src",), False, False),), Accept()), "there is no set 'nowhere'"),
    ],
)
def test_what_its_rules_ask_is_refused_as_ever(rule: Rule, what: str) -> None:
    """The forms are looked at: no rule is made."""
    given = tables("-A Y -j X")
    for chain in (Chain("X", "", (rule,)), LateChain("X", (rule,), tuple)):
        net = FakeNetns()
        with pytest.raises(InputError) as caught:
            net.tables.restore(RuleSet({"filter": {**given.tables["filter"], "X": chain}}))
        assert caught.value.what == what and net.tables.ruleset.tables == {}
