"""Chains as felix writes them: each rule with a comment `cali:HASH`, by which felix knows a rule that is its own.

The hash of a rule is of the rule's words in felix's own spelling and of the hash of the rule before it, so that it names a place in a
chain. Source: felix/generictables/rules.go, felix/iptables/renderer.go of projectcalico/calico 1ed57381. Must not know what rules are for.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache, partial
from hashlib import sha224, sha256

from emu.fork import itself
from emu.kernel.netfilter.layered import changed, differing
from emu.kernel.netfilter.matches.comment import Comment
from emu.kernel.netfilter.matches.ip import Ip
from emu.kernel.netfilter.ruleset import BUILT_IN, Chain, ChainMap, LateChain, Rule, RuleSet
from emu.kernel.netfilter.targets import Goto
from emu.kube.policy.tables import read

PREFIX = "cali-"
_HASH = re.compile(r"^cali:[A-Za-z0-9_-]{16}$")
_MOST = 28  # characters of a chain's name
_TO_ENDPOINT = re.compile(r"--(in|out)-interface ([a-z0-9]{1,14}[a-z0-9+]) --goto (cali-\S+)")
_APPENDED = "*appends*"  # what felix hashes behind a built-in chain's name for the rules at its end

Lines = tuple[str, ...]  # rules in felix's spelling: comments, matches, `--jump TARGET`


class Tables:
    """What felix wants of a node's rules, by table: its own `chains`, and rules `first` and `last` in built-in ones. The same words are
    equal; `made` are the chains of these words, those of the tables `before` where the words are the same."""

    __slots__ = ("chains", "first", "last", "made")
    __deepcopy__ = itself

    def __init__(
        self,
        chains: Mapping[str, Mapping[str, Lines]],
        first: Mapping[str, Mapping[str, Lines]],
        last: Mapping[str, Mapping[str, Lines]],
        before: Tables | None = None,
    ) -> None:
        self.chains, self.first, self.last = chains, first, last
        self.made = {table: {**self._built_in(table), **self._own(table, before)} for table in chains}

    def _built_in(self, table: str) -> dict[str, Chain]:
        first, last = self.first.get(table, {}), self.last.get(table, {})
        return {name: _ends(table, name, first.get(name, ()), last.get(name, ())) for name in BUILT_IN[table]}

    def _own(self, table: str, before: Tables | None) -> dict[str, Chain]:
        words, made = ({}, {}) if before is None else (before.chains.get(table, {}), before.made.get(table, {}))
        return {
            name: made[name] if words.get(name) == lines else _chain(table, name, lines)
            for name, lines in self.chains[table].items()
        }

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tables) and (
            self is other or (self.chains, self.first, self.last) == (other.chains, other.first, other.last)
        )

    __hash__ = None  # type: ignore[assignment]


def comment(text: str) -> str:
    return f'-m comment --comment "{text}"'


def limited(prefix: str, suffix: str) -> str:
    """A chain's name: a suffix that is too long gives way to a hash (GetLengthLimitedID)."""
    if len(prefix) + len(suffix) <= _MOST:
        return prefix + suffix
    return f"{prefix}_{urlsafe_b64encode(sha256(suffix.encode()).digest()).decode()}"[:_MOST]


def hashes(chain: str, lines: Sequence[str], name: str = "") -> Iterator[str]:
    """The hash of each rule. `name` is what is hashed for the chain, its own name by default."""
    value = sha224((name or chain).encode()).digest()
    for line in lines:
        words = f"-A {name or chain} HASH {line}".rstrip()
        value = sha224(value + words.encode()).digest()
        yield urlsafe_b64encode(value).decode()[:16]


def merged(current: RuleSet, wanted: Tables) -> RuleSet:
    """The rules in force, with felix's in place: its chains as they are wanted, no others of its own, its rules first and last
    in built-in chains. Chains and rules that stay are the same objects."""
    tables: dict[str, ChainMap] = dict(current.tables)
    for table, new in wanted.made.items():
        there = tables.get(table) or {name: Chain(name, "ACCEPT") for name in BUILT_IN[table]}
        result: dict[str, Chain | None] = {name: None for name in there if name.startswith(PREFIX) and name not in new}
        for name, chain in new.items():
            if chain.policy:
                result[name] = _with(there[name], chain, len(wanted.last.get(table, {}).get(name, ())))
            else:
                result[name] = _kept(there.get(name), chain)
        tables[table] = changed(there, {name: chain for name, chain in result.items() if there.get(name) is not chain})
    return RuleSet({table: tables[table] for table in BUILT_IN if table in tables})


def in_place(current: RuleSet, wanted: Tables, left: RuleSet | None = None) -> bool:
    """Whether felix would leave the rules as they are. `left`: rules that it would have left so."""
    if left is current:
        return True
    if left is not None and not any(
        _touched(current.tables.get(table, {}), left.tables[table]) for table in wanted.made
    ):
        return True
    made = merged(current, wanted)
    return all(
        len(chains) == len(there := current.tables.get(table, {})) and not any(differing(chains, there))
        for table, chains in made.tables.items()
    )


def _touched(there: ChainMap, left: ChainMap) -> bool:
    """Whether any chain is another one that felix writes in."""
    return any(
        chain.policy or chain.name.startswith(PREFIX) for chain in (*differing(there, left), *differing(left, there))
    )


@lru_cache(maxsize=256)
def _with(there: Chain, new: Chain, last: int) -> Chain:
    """A built-in chain: felix's rules out of `there` give way to `new`, of which the `last` ones stand at the end. One object for all nodes
    that have both."""
    others = [rule for rule in there.rules if not _HASH.match(rule.comment)]
    cut = len(new.rules) - last
    return _kept(there, Chain(there.name, there.policy, (*new.rules[:cut], *others, *new.rules[cut:])))


def _kept(old: Chain | None, new: Chain) -> Chain:
    """`new`, with those rules of `old` that are the same."""
    if old is None or old is new or (isinstance(old, LateChain) and not old.made):
        return new
    rules = list(new.rules)
    for number, (one, other) in enumerate(zip(old.rules, new.rules, strict=False)):
        if one is not other and one.spec == other.spec:
            rules[number] = one
    same = len(old.rules) == len(rules) and all(one is other for one, other in zip(old.rules, rules, strict=True))
    return old if same else Chain(new.name, new.policy, tuple(rules))


# -- words become rules ---------------------------------------------------------------------------


@lru_cache(maxsize=1 << 12)
def _chain(table: str, name: str, lines: Lines) -> Chain:
    """A chain of felix's own: one object for all nodes that have it."""
    return LateChain(name, _forms(table, lines), partial(written, table, name, lines))


@lru_cache(maxsize=256)
def _ends(table: str, name: str, first: Lines, last: Lines) -> Chain:
    """A built-in chain that has felix's first and last rules alone."""
    return Chain(name, "ACCEPT", (*written(table, name, first), *written(table, name, last, name + _APPENDED)))


def written(table: str, chain: str, lines: Lines, name: str = "") -> Iterator[Rule]:
    """The rules of a chain, each with its hash; `name` as `hashes` has it. They share with their forms what keeps no state."""
    number = 0
    for line, value in zip(lines, hashes(chain, lines, name), strict=True):
        text = f"cali:{value}"
        for form in _form(table, line):
            number += 1
            basics = 1 if form.matches and isinstance(form.matches[0], Ip) else 0
            parts = (*form.matches[:basics], Comment(text), *form.matches[basics:])
            yield Rule(table, chain, number, parts, form.target, text)


@lru_cache(maxsize=1 << 10)
def _forms(table: str, lines: Lines) -> tuple[Rule, ...]:
    """What a chain's rules ask and do, for all chains with the same words."""
    return tuple(form for line in lines for form in _form(table, line))


def _form(table: str, line: str) -> tuple[Rule, ...]:
    """A rule without its place and hash; several, if it lists several addresses."""
    found = _TO_ENDPOINT.fullmatch(line)
    if found is not None:  # each device has its own
        way, device, chain = found.groups()
        name = (device, False)
        return (Rule(table, "", 0, (Ip(indev=name) if way == "in" else Ip(outdev=name),), Goto(chain)),)
    rules = _read(table, line)
    if all(match.pure for rule in rules for match in rule.matches):
        return rules
    return tuple(read(line, "", table))


@lru_cache(maxsize=1 << 10)
def _read(table: str, line: str) -> tuple[Rule, ...]:
    return tuple(read(line, "", table))
