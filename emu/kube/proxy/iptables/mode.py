"""Proxy mode iptables: rules for `iptables-restore --noflush`, shared by the nodes that agree.

Must not know how rules are compiled, or what a full and a partial restore write.
"""

from __future__ import annotations

from typing import NamedTuple

from emu.kernel.net.netns import Netns
from emu.kernel.netfilter.ruleset import RuleSet
from emu.kube.proxy.config import ProxyConfig
from emu.kube.proxy.iptables import restore
from emu.kube.proxy.iptables.compile import Compiler, ProxyRules
from emu.kube.proxy.iptables.restore import Restored
from emu.kube.proxy.mode import Mode, modes
from emu.kube.proxy.services import Snapshot


class _Applied(NamedTuple):
    """What kube-proxy wrote last on a node, and what was in force after that; None: it has written nothing yet."""

    rules: ProxyRules
    restored: Restored | None


class _Restore(NamedTuple):
    """All that the result of a restore depends on."""

    current: RuleSet
    before: _Applied
    rules: ProxyRules
    full: bool
    keep_stale: bool


EMPTY = RuleSet({})
NOTHING = _Applied(ProxyRules({"nat": {}}, {}), None)


@modes.add("iptables")
class Iptables(Mode[ProxyRules]):
    def __init__(self) -> None:
        self._compiler = Compiler()
        self._snapshot: Snapshot | None = None
        self._applied: dict[Netns, _Applied] = {}
        self._restored: dict[_Restore, _Applied | None] = {}  # for the nodes that sync this snapshot

    def compile(self, snapshot: Snapshot, config: ProxyConfig) -> ProxyRules:
        if snapshot is not self._snapshot:
            self._snapshot = snapshot
            self._restored.clear()
        return self._compiler.compile(snapshot, config)

    def apply(self, net: Netns, rules: ProxyRules, *, full: bool, keep_stale: bool) -> bool:
        tables, before = net.ipv4.tables, self._applied.get(net, NOTHING)
        current = tables.ruleset
        ours = before.restored is not None and current is before.restored.ruleset
        if ours and not full and rules is before.rules:
            return True
        # two nodes without rules hold two empty rule sets: for a restore they are one
        step = _Restore(current if current.tables else EMPTY, before, rules, full, keep_stale)
        made = self._restored.get(step, NOTHING)
        if made is NOTHING:
            made = self._restored[step] = _restore(step)
        if made is None or made.restored is None:
            return False
        tables.replace(made.restored.ruleset)
        self._applied[net] = made
        return True

    def intact(self, net: Netns) -> bool:
        return restore.intact(net.ipv4.tables.ruleset)


def _restore(step: _Restore) -> _Applied | None:
    """None: the restore fails."""
    current, (old, last), rules, whole, keep_stale = step
    if whole:
        return _Applied(rules, restore.full(current, rules, keep_stale=keep_stale))
    if last is not None and last.ruleset is current:
        return _Applied(rules, restore.follow(last, old, rules, keep_stale=keep_stale))
    made = restore.partial(current, old, rules, keep_stale=keep_stale)
    return None if made is None else _Applied(rules, made)
