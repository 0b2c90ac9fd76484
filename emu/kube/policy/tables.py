"""How a policy agent puts chains and sets on a node: chains of its own, made once and shared, and rules at the top of built-in ones.

A chain that stays is the same object, so that its rules keep what they counted. Must not know policies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

from emu.kernel import boot
from emu.kernel.net.netns import Netns
from emu.kernel.netfilter.ipset import IpSet
from emu.kernel.netfilter.ipset_text import parse_ipset
from emu.kernel.netfilter.rule_reader import parse_rules
from emu.kernel.netfilter.ruleset import BUILT_IN, Chain, Rule, RuleSet
from emu.kernel.netfilter.save import split


class _EveryName:
    """The chains that a rule may jump to before these are there."""

    def __contains__(self, name: object) -> bool:
        return True


@lru_cache(maxsize=1 << 16)
def chain(name: str, lines: tuple[str, ...], table: str = "filter") -> Chain:
    """A chain of one's own, from the words behind `-A CHAIN`: one object for the same words. Raises InputError."""
    return Chain(name, "", tuple(rule for line in lines for rule in read(line, name, table)))


def read(line: str, chain: str, table: str = "filter") -> list[Rule]:
    return parse_rules(split(line), table, chain, 0, _EveryName())


class Wanted(NamedTuple):
    """What is to be in a node's filter table: the agent's chains, those that are the same on all nodes (`shared`) and those of this node
    (`own`), and for built-in ones the rule that stands `first`."""

    shared: Mapping[str, Chain]
    own: Mapping[str, Chain]
    first: Mapping[str, str]

    def chain(self, name: str) -> Chain | None:
        return self.own.get(name) or self.shared.get(name)

    def chains(self) -> Iterator[tuple[str, Chain]]:
        yield from self.shared.items()
        yield from self.own.items()


def put(net: Netns, wanted: Wanted, owned: Callable[[str], bool]) -> None:
    """Put the chains in force; those that are `owned` and not wanted go. What others wrote stays. Raises InputError."""
    boot.netfilter(net)
    there = net.ipv4.tables.ruleset.tables.get("filter") or {name: Chain(name, "ACCEPT") for name in BUILT_IN["filter"]}
    made: dict[str, Chain] = {}
    for name, each in there.items():
        if name in wanted.first:
            made[name] = _with_first(each, wanted.first[name], owned)
        elif not owned(name):
            made[name] = each
    for name, each in wanted.chains():
        made[name] = _kept(there.get(name), each)
    _restore(net, there, made)


def change(net: Netns, wanted: Wanted, names: Iterable[str]) -> None:
    """As `put`, where only these chains may be other ones than `put` has left. Raises InputError."""
    there = net.ipv4.tables.ruleset.tables["filter"]
    changed: dict[str, Chain | None] = {}
    for name in names:
        chain, old = wanted.chain(name), there.get(name)
        new = _kept(old, chain) if chain is not None else None
        if new is not old:
            changed[name] = new
    if changed:
        made = {**there, **{name: each for name, each in changed.items() if each is not None}}
        for name, new in changed.items():
            if new is None:
                del made[name]
        _restore(net, there, made)


def _restore(net: Netns, there: Mapping[str, Chain], made: dict[str, Chain]) -> None:
    if made.keys() != there.keys() or any(there[name] is not each for name, each in made.items()):
        net.ipv4.tables.restore(RuleSet({"filter": made}))


def in_place(net: Netns, wanted: Wanted) -> bool:
    """Are the chains there, and the rules at the top of the built-in ones?"""
    there = net.ipv4.tables.ruleset.tables.get("filter", {})
    if any(name not in there or not _alike(there[name], each) for name, each in wanted.chains()):
        return False
    return all(
        there[name].rules and there[name].rules[0].spec == read(line, name)[0].spec
        for name, line in wanted.first.items()
    )


def _with_first(chain: Chain, line: str, owned: Callable[[str], bool]) -> Chain:
    (rule,) = read(line, chain.name)
    if chain.rules and chain.rules[0].spec == rule.spec:
        return chain
    return Chain(chain.name, chain.policy, (rule, *(each for each in chain.rules if not owned(each.jump))))


def _kept(old: Chain | None, new: Chain) -> Chain:
    """`old`, if it has the same rules; else `new`."""
    return old if old is not None and _alike(old, new) else new


def _alike(one: Chain, other: Chain) -> bool:
    if one is other:
        return True
    return len(one.rules) == len(other.rules) and all(
        a is b or a.spec == b.spec for a, b in zip(one.rules, other.rules, strict=True)
    )


class SetText(NamedTuple):
    """A set, read once for all nodes."""

    text: str
    read: IpSet

    @classmethod
    def of(cls, name: str, kind: str, options: str, elements: Iterable[str]) -> SetText:
        """`elements` as `ipset add` takes them. Raises InputError."""
        text = f"create {name} {kind} {options}\n" + "".join(f"add {name} {each}\n" for each in elements)
        return cls(text, parse_ipset(text)[name])

    def copy(self) -> IpSet:
        """The set for one node, whose elements change without those of others."""
        made = self.read
        return replace(made, elements=dict(made.elements), levels=[*made.levels])


def put_sets(
    net: Netns, wanted: Mapping[str, SetText], before: Mapping[str, SetText], names: Iterable[str] | None = None
) -> None:
    """Make the sets that are new, and swap those that are not as they were `before`; of all sets, or of those with these `names`."""
    sets = net.ipv4.tables.ipsets
    for name in wanted if names is None else names:
        each = wanted.get(name)
        if each is not None and (name not in sets or before.get(name) is not each):
            sets[name] = each.copy()


def destroy_sets(
    net: Netns, wanted: Mapping[str, SetText], before: Mapping[str, SetText], names: Iterable[str] | None = None
) -> None:
    """Destroy the sets that are wanted no more, once no rule asks them."""
    for name in before if names is None else names:
        if name not in wanted:
            net.ipv4.tables.ipsets.pop(name, None)
