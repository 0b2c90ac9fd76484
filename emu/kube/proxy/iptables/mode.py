"""Proxy mode iptables: rules for `iptables-restore --noflush`, shared by the nodes that agree.

Must not know how rules are compiled, or what a full and a partial restore write.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from emu.kernel.net.netns import Netns
from emu.kernel.netfilter.ruleset import RuleSet
from emu.kernel.netfilter.table import Shared
from emu.kube.proxy.config import ProxyConfig
from emu.kube.proxy.iptables import restore
from emu.kube.proxy.iptables.compile import Compiler, ProxyRules
from emu.kube.proxy.iptables.restore import Restored
from emu.kube.proxy.mode import Mode, modes
from emu.kube.proxy.services import Snapshot


class _Applied(NamedTuple):
    """What kube-proxy wrote last on a node, and what was in force after that."""

    rules: ProxyRules
    restored: Restored


class _Restore(NamedTuple):
    """All that the result of a restore depends on."""

    current: RuleSet
    before: _Applied | None
    rules: ProxyRules
    full: bool
    keep_stale: bool


EMPTY, NO_RULES = RuleSet({}), ProxyRules({"nat": {}}, {})


@modes.add("iptables")
class Iptables(Mode[ProxyRules]):
    def __init__(self) -> None:
        self._compiler = Compiler()
        self._snapshot: Snapshot | None = None
        self._intact: RuleSet | None = None  # the last one that was found to be
        # for the nodes that sync this snapshot
        self._restored: dict[_Restore, _Applied | None] = {}
        self._left: dict[ProxyRules, list[_Applied]] = {}

    def compile(self, snapshot: Snapshot, config: ProxyConfig) -> ProxyRules:
        if snapshot is not self._snapshot:
            self._snapshot = snapshot
            self._restored, self._left = {}, {}
        return self._compiler.compile(snapshot, config)

    def alike(self, snapshot: Snapshot) -> bool:
        return self._compiler.alike(snapshot)

    def apply(
        self, nets: Sequence[Netns], before: _Applied | None, rules: ProxyRules, *, full: bool, keep_stale: bool
    ) -> list[_Applied | None]:
        shared = _shared(nets)
        if shared is not None:  # nodes that stay together are looked at as one
            made = self._restore(_Restore(shared.ruleset, before, rules, full, keep_stale))
            if made is not None and made.restored.ruleset is not shared.ruleset:
                shared.replace(made.restored.ruleset)
            return [made]
        tables = [net.ipv4.tables for net in nets]
        there = [each.ruleset for each in tables]
        left = {
            current: self._restore(_Restore(current, before, rules, full, keep_stale))
            for current in dict.fromkeys(there)
        }
        for each, current in zip(tables, there, strict=True):
            found = left[current]
            if found is not None and found.restored.ruleset is not current:
                each.replace(found.restored.ruleset)
        if len({*left.values()}) > 1 or None in left.values():
            return [left[current] for current in there]
        Shared(nets, tables, tables[0].ruleset)
        return [*left.values()][:1]

    def _restore(self, step: _Restore) -> _Applied | None:
        """What a restore leaves, made once. None: it fails."""
        current, before = step.current, step.before
        if before is not None and current is before.restored.ruleset and not step.full and step.rules is before.rules:
            return before
        if not current.tables:  # two nodes without rules hold two empty rule sets: for a restore they are one
            step = step._replace(current=EMPTY)
        if step not in self._restored:
            made = _restore(step)
            self._restored[step] = None if made is None else self._one(made)
        return self._restored[step]

    def _one(self, made: _Applied) -> _Applied:
        """One object for all nodes where the same is in force, whatever was there before."""
        known = self._left.setdefault(made.rules, [])
        for each in known:
            if (
                each.restored.stale == made.restored.stale
                and each.restored.ruleset.tables == made.restored.ruleset.tables
            ):
                return each
        known.append(made)
        return made

    def intact(self, net: Netns) -> bool:
        return self._holds(net.ipv4.tables.ruleset)

    def all_intact(self, nets: Sequence[Netns]) -> bool:
        shared = _shared(nets)
        rulesets = {net.ipv4.tables.ruleset for net in nets} if shared is None else (shared.ruleset,)
        return all(map(self._holds, rulesets))

    def _holds(self, ruleset: RuleSet) -> bool:
        if ruleset is not self._intact:  # most nodes have the same
            if not restore.intact(ruleset):
                return False
            self._intact = ruleset
        return True


def _shared(nets: Sequence[Netns]) -> Shared | None:
    """What is in force in all of them as one, if that is so."""
    shared = nets[0].ipv4.tables.shared
    return shared if shared is not None and shared.of is nets and shared.whole else None


def _restore(step: _Restore) -> _Applied | None:
    current, before, rules, whole, keep_stale = step
    if whole:
        return _Applied(rules, restore.full(current, rules, keep_stale=keep_stale))
    if before is not None and before.restored.ruleset is current:
        return _Applied(rules, restore.follow(before.restored, before.rules, rules, keep_stale=keep_stale))
    old = NO_RULES if before is None else before.rules
    made = restore.partial(current, old, rules, keep_stale=keep_stale)
    return None if made is None else _Applied(rules, made)
