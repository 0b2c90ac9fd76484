"""Rules as pure values: Rule, Chain, RuleSet. They hold no counters and no namespace, so that all nodes share them.

A RuleSet is what iptables-save shows: the tables that are there, each with its built-in and user chains. Must not
know how rules are walked (`table.py`), looked up (`lookup.py`) or spelled in a file (`save.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

from emu.fork import itself
from emu.kernel.netfilter.matches import Match, matches
from emu.kernel.netfilter.targets import Goto, Jump, Target
from emu.rule import AnyRule

# the built-in chains in the order of iptables-save; the tables in its order too
BUILT_IN: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "mangle": ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"),
        "security": ("INPUT", "FORWARD", "OUTPUT"),
        "raw": ("PREROUTING", "OUTPUT"),
        "filter": ("INPUT", "FORWARD", "OUTPUT"),
        "nat": ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"),
    }
)

MOST_EDITS = 64  # behind so many a chain is compiled anew


def match_name(kind: type[Match]) -> str:
    """The word after `-m`; "" for a rule's basics."""
    return matches.name_of(kind)


@dataclass(frozen=True, slots=True, eq=False)
class Rule(AnyRule):
    """One rule at its place: `number` counts from 1 in its chain, `line` is its line in a file (0: no file).

    Compared by identity: two rules that read alike count apart. `target` None only counts.
    """

    table: str
    chain: str
    number: int
    matches: tuple[Match, ...]
    target: Target | None = None
    comment: str = ""
    line: int = 0

    __deepcopy__ = itself

    @property
    def spec(self) -> str:
        """As iptables-save writes it, without `-A CHAIN`."""
        words = []
        for match in self.matches:
            name, text = match_name(type(match)), match.spec()
            if name:
                words.append(f"-m {name}")
            if text:
                words.append(text)
        if self.target is not None:
            words.append(self.target.spec())
        return " ".join(words)

    @property
    def act(self) -> str:
        """The target as iptables-save writes it, without `-j`."""
        return "" if self.target is None else self.target.spec().removeprefix("-j ")

    @property
    def based(self) -> bool:
        return self.chain in BUILT_IN.get(self.table, ())

    @property
    def rejects(self) -> bool:
        return "-j REJECT" in self.spec

    @property
    def jump(self) -> str:
        """The chain that a jump or goto names, or ""."""
        target = self.target
        return target.chain if isinstance(target, Jump | Goto) else ""

    def at(self, number: int) -> Rule:
        """The rule at another place of its chain: itself, if that is where it is."""
        if self.number == number:
            return self
        return Rule(self.table, self.chain, number, self.matches, self.target, self.comment, self.line)

    def __str__(self) -> str:
        return f"-A {self.chain} {self.spec}".rstrip()


class Edit(NamedTuple):
    """A part of a chain, by places from 0, that other lines take the place of."""

    at: int
    until: int
    lines: Sequence[Rule]


Placed = dict[
    tuple[str, ...], "Rule"
]  # the base chains that a target may be reached from, and the first rule that has it


class Below(NamedTuple):
    """What jumps of a chain come to (see `jumps.py`): how deep they go, the targets that may stand in some base chains alone, and all
    chains."""

    depth: int
    placed: Placed
    chains: dict[str, Chain]


class Chain:
    """A chain: `policy` is ACCEPT or DROP for built-in ones, "" for users'. Immutable, compared by identity.

    `since`: a program of an earlier moment, and the edits that came behind it, where a chain was made by edits. `below`: what a walk of
    its jumps found, which holds where the chains below are the same.
    """

    __slots__ = ("_rules", "below", "name", "policy", "program", "since")
    __deepcopy__ = itself

    def __init__(self, name: str, policy: str = "", rules: Iterable[Rule] = ()) -> None:
        """The rules in their order: each is numbered when it is first asked for. Of a long chain most never are."""
        self.name, self.policy = name, policy
        self._rules: list[Rule] | tuple[Rule, ...] = [*rules]
        self.program: Any = None  # compiled at the first walk, see lookup.program
        self.since: tuple[Any, tuple[Edit, ...]] | None = None
        self.below: Below | None = None  # as a walk found it

    @property
    def rules(self) -> tuple[Rule, ...]:
        rules = self._all()
        if not isinstance(rules, tuple):
            rules = self._rules = tuple(rule.at(number) for number, rule in enumerate(rules, 1))
        return rules

    def __iter__(self) -> Iterator[Rule]:
        return map(self.rule, range(len(self._all())))

    def rule(self, at: int) -> Rule:
        """The rule at a place, from 0."""
        rules = self._all()
        rule = rules[at]
        if rule.number != at + 1 and isinstance(rules, list):
            rule = rules[at] = rule.at(at + 1)
        return rule

    @property
    def lines(self) -> Sequence[Rule]:
        """The rules, whose numbers may not be those of their places."""
        return self._all()

    @property
    def forms(self) -> Sequence[Rule]:
        """Rules that ask and do what those of the chain do; their places and comments may be others."""
        return self._rules

    def _all(self) -> list[Rule] | tuple[Rule, ...]:
        return self._rules

    def edited(self, edits: Sequence[Edit]) -> Chain:
        """The chain after these edits, each made after the one before. It costs what they change."""
        lines = [*self._all()]
        for at, until, others in edits:
            lines[at:until] = others
        chain = Chain(self.name, self.policy, lines)
        known, earlier = (self.program, ()) if self.since is None or self.program is not None else self.since
        if known is not None and len(earlier) + len(edits) <= MOST_EDITS:
            chain.since = known, (*earlier, *edits)
        return chain

    def now(self, rule: Rule) -> Rule | None:
        """What a rule of an earlier moment is in this chain: itself, or the one made of it when its number changed. It is
        looked for outwards from its place."""
        lines, place = self._all(), rule.number - 1
        for far in range(max(place + 1, len(lines) - place)):
            for at in (place - far, place + far):
                if 0 <= at < len(lines) and (
                    lines[at] is rule or (lines[at].matches is rule.matches and lines[at].target is rule.target)
                ):
                    return self.rule(at)
        return None

    def __repr__(self) -> str:
        return f"<chain {self.name} of {len(self.forms)}>"


class LateChain(Chain):
    """A user's chain whose rules are made when the first one is looked at: no packet comes to most. Until then there are the `forms`
    alone, which chains share that differ in their rules' comments."""

    __slots__ = ("_forms", "_make")

    def __init__(self, name: str, forms: Sequence[Rule], make: Callable[[], Iterable[Rule]]) -> None:
        super().__init__(name)
        self._forms = forms
        self._make: Callable[[], Iterable[Rule]] | None = make

    @property
    def forms(self) -> Sequence[Rule]:
        return self._forms

    @property
    def made(self) -> bool:
        """Whether someone may hold one of the rules."""
        return self._make is None

    def _all(self) -> list[Rule] | tuple[Rule, ...]:
        if self._make is not None:
            self._rules, self._make = [*self._make()], None
        return self._rules


ChainMap = Mapping[str, Chain]


@dataclass(frozen=True, slots=True, eq=False)
class RuleSet:
    """Tables by name, chains by name. A table that is there has all its built-in chains."""

    tables: Mapping[str, ChainMap]

    __deepcopy__ = itself

    @classmethod
    def of(cls, tables: Mapping[str, Mapping[str, Chain]]) -> RuleSet:
        """Fill in built-in chains that are not named: empty, with policy ACCEPT."""
        full = {}
        for table, chains in tables.items():
            built_in = {name: chains.get(name) or Chain(name, "ACCEPT") for name in BUILT_IN[table]}
            full[table] = {**built_in, **chains}
        return cls(full)

    def chain(self, table: str, name: str) -> Chain | None:
        return self.tables.get(table, {}).get(name)

    def rules(self) -> Iterator[Rule]:
        """Every rule, table by table in iptables-save's order."""
        for table in BUILT_IN:
            for chain in self.tables.get(table, {}).values():
                yield from chain.rules

    def merge(self, other: RuleSet, *, insert: bool = False) -> RuleSet:
        """Both in one namespace. The other's rules in built-in chains come after ours (`insert`: before ours, as `-I`
        puts them); its user chains are added, or take the place of ours of the same name. A policy of DROP wins.

        Chains that one side alone has are shared, not copied.
        """
        merged: dict[str, Mapping[str, Chain]] = dict(self.tables)
        for table, theirs in other.tables.items():
            ours = merged.get(table)
            if ours is None:
                merged[table] = theirs
                continue
            both = {**ours, **theirs}
            for name in BUILT_IN[table]:
                mine, more = ours[name], theirs[name]
                policy = "DROP" if "DROP" in (mine.policy, more.policy) else mine.policy
                if not more.rules and policy == mine.policy:
                    both[name] = mine
                elif mine.rules or policy != more.policy:
                    rules = more.rules + mine.rules if insert else mine.rules + more.rules
                    both[name] = Chain(name, policy, rules)
            merged[table] = both
        return RuleSet(merged)
