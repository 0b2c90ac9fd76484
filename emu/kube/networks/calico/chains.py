"""Chains as felix writes them: each rule with a comment `cali:HASH`, by which felix knows a rule that is its own.

The hash of a rule is of the rule's words in felix's own spelling and of the hash of the rule before it, so that it names a place in a
chain. Source: felix/generictables/rules.go, felix/iptables/renderer.go of projectcalico/calico 1ed57381. Must not know what rules are for.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from hashlib import sha224, sha256
from typing import NamedTuple

from emu.kernel.netfilter.layered import changed, differing
from emu.kernel.netfilter.ruleset import BUILT_IN, Chain, ChainMap, RuleSet
from emu.kernel.netfilter.save import parse_restore

PREFIX = "cali-"
_HASH = re.compile(r"^cali:[A-Za-z0-9_-]{16}$")
_MOST = 28  # characters of a chain's name
_APPENDED = "*appends*"  # what felix hashes behind a built-in chain's name for the rules at its end

Lines = tuple[str, ...]  # rules in felix's spelling: comments, matches, `--jump TARGET`


class Tables(NamedTuple):
    """What felix wants of a node's rules, by table: its own `chains`, and rules `first` and `last` in built-in ones."""

    chains: Mapping[str, Mapping[str, Lines]]
    first: Mapping[str, Mapping[str, Lines]]
    last: Mapping[str, Mapping[str, Lines]]


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
    for table, new in _parsed(wanted).tables.items():
        there = tables.get(table) or {name: Chain(name, "ACCEPT") for name in BUILT_IN[table]}
        result: dict[str, Chain | None] = {name: None for name in there if name.startswith(PREFIX) and name not in new}
        for name in BUILT_IN[table]:
            result[name] = _with(there[name], new[name], len(wanted.last.get(table, {}).get(name, ())))
        for name, chain in new.items():
            if not chain.policy:
                result[name] = _kept(there.get(name), chain)
        tables[table] = changed(there, {name: chain for name, chain in result.items() if there.get(name) is not chain})
    return RuleSet({table: tables[table] for table in BUILT_IN if table in tables})


def in_place(current: RuleSet, wanted: Tables) -> bool:
    """Whether felix would leave the rules as they are."""
    made = merged(current, wanted)
    return all(
        len(chains) == len(there := current.tables.get(table, {})) and not any(differing(chains, there))
        for table, chains in made.tables.items()
    )


def _with(there: Chain, new: Chain, last: int) -> Chain:
    """A built-in chain: felix's rules out of `there` give way to `new`, of which the `last` ones stand at the end."""
    others = [rule for rule in there.rules if not _HASH.match(rule.comment)]
    cut = len(new.rules) - last
    return _kept(there, Chain(there.name, there.policy, (*new.rules[:cut], *others, *new.rules[cut:])))


def _kept(old: Chain | None, new: Chain) -> Chain:
    """`new`, with those rules of `old` that are the same."""
    if old is None:
        return new
    rules = list(new.rules)
    for number, (one, other) in enumerate(zip(old.rules, new.rules, strict=False)):
        if one is not other and one.spec == other.spec:
            rules[number] = one
    same = len(old.rules) == len(rules) and all(one is other for one, other in zip(old.rules, rules, strict=True))
    return old if same else Chain(new.name, new.policy, tuple(rules))


def _parsed(wanted: Tables) -> RuleSet:
    return _read("".join(_text(wanted)))


@lru_cache(maxsize=64)
def _read(text: str) -> RuleSet:
    return parse_restore(text)


def _text(wanted: Tables) -> Iterator[str]:
    """As iptables-restore reads it; built-in chains have the first and the last rules alone."""
    for table, chains in wanted.chains.items():
        yield f"*{table}\n"
        yield from (f":{name} - [0:0]\n" for name in chains)
        for name in BUILT_IN[table]:
            yield _rules(name, wanted.first.get(table, {}).get(name, ()))
            yield _rules(name, wanted.last.get(table, {}).get(name, ()), name + _APPENDED)
        for name, lines in chains.items():
            yield _rules(name, lines)
        yield "COMMIT\n"


@lru_cache(maxsize=1 << 16)
def _rules(chain: str, lines: Lines, name: str = "") -> str:
    """A chain's rules as text, made once for the same lines: a change concerns few of a cluster's chains."""
    values = hashes(chain, lines, name)
    return "".join(
        f"-A {chain} {comment(f'cali:{value}')} {line}".rstrip() + "\n"
        for line, value in zip(lines, values, strict=True)
    )
