"""Proxy mode iptables: rules for `iptables-restore --noflush`, shared by the nodes that agree.

Must not know how rules are compiled, or what a full and a partial restore write.
"""

from __future__ import annotations

from typing import NamedTuple

from emu.kernel.net.netns import Netns
from emu.kernel.netfilter.ruleset import RuleSet
from emu.kube.proxy.config import ProxyConfig
from emu.kube.proxy.iptables import restore
from emu.kube.proxy.iptables.compile import Compiler
from emu.kube.proxy.mode import Mode, modes
from emu.kube.proxy.services import Snapshot


class _Applied(NamedTuple):
    """What kube-proxy wrote last on a node, and the node's whole rule set after that."""

    rules: RuleSet
    in_force: RuleSet | None


class _Restore(NamedTuple):
    """All that the result of a restore depends on."""

    current: RuleSet
    before: RuleSet
    rules: RuleSet
    full: bool
    keep_stale: bool


EMPTY = RuleSet({})
NOTHING = _Applied(EMPTY, None)


@modes.add("iptables")
class Iptables(Mode[RuleSet]):
    def __init__(self) -> None:
        self._compiler = Compiler()
        self._snapshot: Snapshot | None = None
        self._applied: dict[Netns, _Applied] = {}
        self._restored: dict[_Restore, RuleSet | None] = {}  # for the nodes that sync this snapshot

    def compile(self, snapshot: Snapshot, config: ProxyConfig) -> RuleSet:
        if snapshot is not self._snapshot:
            self._snapshot = snapshot
            self._restored.clear()
        return self._compiler.compile(snapshot, config)

    def apply(self, net: Netns, rules: RuleSet, *, full: bool, keep_stale: bool) -> bool:
        tables, before = net.ipv4.tables, self._applied.get(net, NOTHING)
        current = tables.ruleset
        # two nodes without rules hold two empty rule sets: for a restore they are one
        step = _Restore(current if current.tables else EMPTY, before.rules, rules, full, keep_stale)
        if step not in self._restored:
            self._restored[step] = _restore(step)
        made = self._restored[step]
        if made is None:
            return False
        if full or rules is not before.rules or current is not before.in_force:
            tables.replace(made)
        self._applied[net] = _Applied(rules, tables.ruleset)
        return True

    def intact(self, net: Netns) -> bool:
        return restore.intact(net.ipv4.tables.ruleset)


def _restore(step: _Restore) -> RuleSet | None:
    if step.full:
        return restore.full(step.current, step.rules, keep_stale=step.keep_stale)
    return restore.partial(step.current, step.before, step.rules, keep_stale=step.keep_stale)
