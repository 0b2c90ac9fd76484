"""What a sync's `iptables-restore --noflush` makes of the rules in force: full, or only of what changed. Pure.

A full sync makes the jumps in the built-in chains and writes every chain of kube-proxy's; a partial one writes the
chains that all Services share, and those of the ports that changed. Rules of other programs stay. Must not know when
syncs happen.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from emu.kernel.netfilter.layered import changed, copied
from emu.kernel.netfilter.ruleset import BUILT_IN, Chain, RuleSet
from emu.kube.proxy.iptables import names
from emu.kube.proxy.iptables.compile import ProxyRules

PER_SERVICE = ("KUBE-SVC-", "KUBE-SVL-", "KUBE-EXT-", "KUBE-FW-", "KUBE-SEP-")


class Restored(NamedTuple):
    """What is in force after a restore, and the chains left in it that are no longer in use."""

    ruleset: RuleSet
    stale: frozenset[str] = frozenset()


def full(current: RuleSet, new: ProxyRules, *, keep_stale: bool = False) -> Restored:
    """Every chain of `new`, and its jumps in front of what the built-in chains hold, where they are missing."""
    result: Tables = {table: copied(chains) for table, chains in current.tables.items()}
    stale: set[str] = set()
    for table, theirs in new.ruleset.tables.items():
        if table not in result:
            result[table] = dict(theirs)
            continue
        ours, both = current.tables[table], result[table]
        both.update((name, chain) for name, chain in theirs.items() if not chain.policy)
        for name in BUILT_IN[table]:
            both[name] = _with_jumps(ours[name], theirs[name])
        stale |= _not_in_use(both, theirs)
    return _finish(result, stale, keep_stale)


def partial(current: RuleSet, old: ProxyRules, new: ProxyRules, *, keep_stale: bool = False) -> Restored | None:
    """`current`, to which other programs may have done anything, with what differs between two compilations. None: the
    restore fails, since a chain is not there that a rule jumps to (another program deleted it)."""
    tables, written = dict(current.tables), _to_write(old, new)
    for table, chains in written.items():
        tables[table] = changed(tables.get(table) or _new_table(table), chains)
    for table, chains in written.items():
        both = tables[table]
        for chain in chains.values():
            if any(rule.jump and rule.jump not in both for rule in chain.rules):
                return None
    stale = _not_in_use(tables["nat"], new.ruleset.tables["nat"])
    if stale and not keep_stale:
        tables["nat"] = changed(tables["nat"], dict.fromkeys(stale))
        stale = set()
    return Restored(RuleSet(tables), frozenset(stale))


def follow(last: Restored, old: ProxyRules, new: ProxyRules, *, keep_stale: bool = False) -> Restored:
    """As `partial`, where what is in force is what the last sync left: it costs what differs, not what is there."""
    stale = {*last.stale}
    differing = new.differing(old)
    for key in differing:
        stale |= old.ports[key].chains.keys() if key in old.ports else set()
    for key in differing:
        stale -= new.ports[key].chains.keys() if key in new.ports else set()
    gone = frozenset() if keep_stale else stale
    tables = dict(last.ruleset.tables)
    for table, chains in _to_write(old, new).items():
        there = tables.get(table)
        if there is None:
            there = _new_table(table)
        going = dict.fromkeys(gone) if table == "nat" else {}
        tables[table] = changed(there, {**chains, **going})
    return Restored(RuleSet(tables), frozenset(stale - gone))


Tables = dict[str, dict[str, Chain]]  # of its own: nothing else holds these


def _new_table(table: str) -> dict[str, Chain]:
    """The kernel makes a table with all its built-in chains."""
    return {name: Chain(name, "ACCEPT") for name in BUILT_IN[table]}


def _to_write(old: ProxyRules, new: ProxyRules) -> dict[str, dict[str, Chain]]:
    """The chains that a partial sync writes, by table."""
    written = {
        table: {name: chain for name, chain in chains.items() if not chain.policy}
        for table, chains in new.shared.items()
    }
    for key in new.differing(old):
        if key in new.ports:
            known = old.ports[key].chains if key in old.ports else {}
            chains = new.ports[key].chains
            written["nat"].update((name, chain) for name, chain in chains.items() if known.get(name) is not chain)
    return written


def _not_in_use(there: Mapping[str, Chain], wanted: Mapping[str, Chain]) -> set[str]:
    """The chains of Services and endpoints that no rule set wants any more."""
    return {name for name in there.keys() - wanted.keys() if name.startswith(PER_SERVICE)}


def _finish(tables: Tables, stale: set[str], keep_stale: bool) -> Restored:
    if keep_stale or not stale:
        return Restored(RuleSet(tables), frozenset(stale))
    for name in stale:
        tables["nat"].pop(name, None)
    return Restored(RuleSet(tables))


def intact(current: RuleSet) -> bool:
    """Whether the canary chains are there: without them the tables were flushed."""
    return all(current.chain(table, names.CANARY) is not None for table in ("mangle", "nat", "filter"))


@lru_cache(maxsize=64)
def _with_jumps(ours: Chain, theirs: Chain) -> Chain:
    """One object for all nodes that have both."""
    if not theirs.rules:
        return ours
    there = {rule.spec for rule in ours.rules}
    missing = tuple(rule for rule in theirs.rules if rule.spec not in there)
    return Chain(ours.name, ours.policy, missing + ours.rules) if missing else ours
