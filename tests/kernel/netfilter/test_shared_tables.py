"""Namespaces that have their rules in force together: each reads, counts and records as one that has its rules alone."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from emu.kernel.netfilter.hooks import FORWARD, Drop
from emu.kernel.netfilter.save import parse_restore
from emu.kernel.netfilter.table import Shared, Tables
from rules import FakeNetns, packet

RULES = [
    parse_restore(f"*filter\n-A FORWARD -p tcp -m tcp --dport {port} -j DROP\nCOMMIT\n{more}")
    for port in (80, 81)
    for more in ("", "*mangle\n-A FORWARD -j ACCEPT\nCOMMIT\n")
]
PLACES = 3
WORDS = ("all", "one", "packet", "record", "join")
steps = st.lists(
    st.tuples(st.sampled_from(WORDS), st.integers(0, PLACES - 1), st.integers(0, len(RULES) - 1)), max_size=12
)


class Recorded:
    def __init__(self) -> None:
        self.rulesets: list[object] = []

    def ruled(self, ruleset: Any) -> None:
        self.rulesets.append(ruleset)

    def changed(self, table: str, key: object, text: str, at_ns: int | None = None) -> None: ...
    def reread(self, table: str) -> None: ...
    def arrived(self, frame: Any, fact: Any) -> None: ...


class Side:
    """Some namespaces with the same rules at first: together, or each alone."""

    def __init__(self, *, together: bool) -> None:
        self.nets = [FakeNetns() for _ in range(PLACES)]
        self.tables = [Tables(net.hooks, RULES[0]) for net in self.nets]
        self.recorders = [Recorded() for _ in range(PLACES)]
        self.together = together
        self.shared = Shared(self, self.tables, RULES[0]) if together else None

    def step(self, word: str, place: int, number: int) -> object:
        if word == "all":
            for each in self.tables if self.shared is None else ():
                each.replace(RULES[number])
            if self.shared is not None:
                self.shared.replace(RULES[number])
                for each in self.tables:
                    if each.shared is None:
                        each.replace(RULES[number])
        elif word == "one":
            self.tables[place].replace(RULES[number])
        elif word == "record":
            self.tables[place].recorder = self.recorders[place]
        elif word == "packet":
            return isinstance(self.nets[place].hooks.run(FORWARD, packet(dport=80)), Drop)
        elif self.together and len({each.ruleset for each in self.tables}) == 1:
            self.shared = Shared(self, self.tables, self.tables[0].ruleset)
        return None

    def state(self) -> list[object]:
        return [
            (each.ruleset, each.counters, recorder.rulesets)
            for each, recorder in zip(self.tables, self.recorders, strict=True)
        ]


@settings(deadline=None)
@given(steps)
def test_rules_in_force_together_act_as_those_of_each(found: list[tuple[str, int, int]]) -> None:
    one, other = Side(together=True), Side(together=False)
    for step in found:
        assert one.step(*step) == other.step(*step)
        assert one.state() == other.state()


def test_a_change_is_made_once_and_where_packets_came() -> None:
    side = Side(together=True)
    shared = side.shared
    assert shared is not None
    shared.replace(RULES[2])
    assert shared.awake == set()  # nothing depends on the rules: no packet came
    side.step("packet", 1, 0)
    assert shared.awake == {1}
    shared.replace(RULES[0])
    assert all(each.ruleset is RULES[0] for each in side.tables)
    side.tables[2].replace(RULES[1])
    assert [each.shared is shared for each in side.tables] == [True, True, False]
    shared.replace(RULES[2])
    assert [RULES.index(each.ruleset) for each in side.tables] == [2, 2, 1]
