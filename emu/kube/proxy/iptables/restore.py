"""What a sync's `iptables-restore --noflush` makes of the rules in force: full, or only of what changed. Pure.

A full sync makes the jumps in the built-in chains and writes every chain of kube-proxy's; a partial one writes the
chains that all Services share, and those of the ports that changed. Rules of other programs stay. Must not know when
syncs happen.
"""

from __future__ import annotations

from collections.abc import Mapping

from emu.kernel.netfilter.ruleset import BUILT_IN, Chain, RuleSet
from emu.kube.proxy.iptables import names

SHARED = frozenset(
    (
        names.SERVICES,
        names.EXTERNAL_SERVICES,
        names.NODE_PORTS,
        names.POSTROUTING,
        names.MARK_MASQ,
        names.FORWARD,
        names.PROXY_FIREWALL,
        names.FIREWALL,
    )
)
PER_SERVICE = ("KUBE-SVC-", "KUBE-SVL-", "KUBE-EXT-", "KUBE-FW-", "KUBE-SEP-")


def full(current: RuleSet, new: RuleSet, *, keep_stale: bool = False) -> RuleSet:
    """Every chain of `new`, and its jumps in front of what the built-in chains hold, where they are missing."""
    result: dict[str, Mapping[str, Chain]] = dict(current.tables)
    for table, theirs in new.tables.items():
        ours = current.tables.get(table)
        if ours is None:
            result[table] = theirs
            continue
        both = {**ours, **{name: chain for name, chain in theirs.items() if not chain.policy}}
        for name in BUILT_IN[table]:
            both[name] = _with_jumps(ours[name], theirs[name])
        result[table] = both if keep_stale else _without_stale(both, theirs)
    return RuleSet(result)


def partial(current: RuleSet, old: RuleSet, new: RuleSet, *, keep_stale: bool = False) -> RuleSet | None:
    """`current` with what differs between two compilations. None: the restore fails, since a chain is not there that
    a rule jumps to (another program deleted it)."""
    result: dict[str, Mapping[str, Chain]] = dict(current.tables)
    for table, theirs in new.tables.items():
        ours, mine = current.tables.get(table, {}), old.tables.get(table, {})
        written = {
            name: chain
            for name, chain in theirs.items()
            if not chain.policy and (name in SHARED or mine.get(name) is not chain)
        }
        both = {**ours, **written}
        for chain in written.values():
            if any(rule.jump and rule.jump not in both for rule in chain.rules):
                return None
        result[table] = both if keep_stale else _without_stale(both, theirs)
    return RuleSet(result)


def intact(current: RuleSet) -> bool:
    """Whether the canary chains are there: without them the tables were flushed."""
    return all(current.chain(table, names.CANARY) is not None for table in ("mangle", "nat", "filter"))


def _without_stale(both: dict[str, Chain], wanted: Mapping[str, Chain]) -> dict[str, Chain]:
    """Without the chains of Services and endpoints that are no longer in use."""
    for name in both.keys() - wanted.keys():
        if name.startswith(PER_SERVICE):
            del both[name]
    return both


def _with_jumps(ours: Chain, theirs: Chain) -> Chain:
    if not theirs.rules:
        return ours
    there = {rule.spec for rule in ours.rules}
    missing = tuple(rule for rule in theirs.rules if rule.spec not in there)
    return Chain(ours.name, ours.policy, missing + ours.rules) if missing else ours
