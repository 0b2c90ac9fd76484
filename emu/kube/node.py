"""A node and what runs on it: its root namespace, its pods' sandboxes, and the rules that its proxy put in force.

Must not know the store or the other nodes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from emu.clock import Clock
from emu.kernel import boot
from emu.kernel.net.netns import Netns
from emu.kernel.netfilter.ruleset import Chain, RuleSet
from emu.kernel.netfilter.save import parse_restore
from emu.wire.addr import Prefix

# the kernel's defaults that a node's boot changes (kubelet and kube-proxy require them)
NODE_SYSCTLS: Mapping[str, int | str] = {
    "net.ipv4.ip_forward": 1,
    "net.bridge.bridge-nf-call-iptables": 1,
    "net.bridge.bridge-nf-call-arptables": 0,
}


@dataclass(slots=True, eq=False)
class Container:
    """A container of a pod: the apps it runs (one a port), or the errno names of ports it could not have."""

    name: str
    apps: list[Any] = field(default_factory=list)
    errors: dict[int, str] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Sandbox:
    """A pod as its node runs it: one namespace that all its containers share, and what CNI answered.

    A pod of the host's network has the node's namespace and no CNI result.
    """

    name: str
    uid: str
    node: Node
    net: Netns
    ip: int
    containers: list[Container] = field(default_factory=list)
    result: Any = None

    @property
    def host_network(self) -> bool:
        return self.net is self.node.net


class Node:
    """A node. `ip` is its address on the underlay, `pod_cidr` what its pods' addresses come from."""

    def __init__(
        self, clock: Clock, name: str, index: int, ip: int, pod_cidr: Prefix | None, sysctls: Mapping[str, int | str]
    ) -> None:
        self.name, self.index, self.ip, self.pod_cidr = name, index, ip, pod_cidr
        self.net = boot.namespace(clock, name, {**NODE_SYSCTLS, **sysctls})
        boot.netfilter(self.net)
        self.sandboxes: dict[str, Sandbox] = {}
        self._proxied: RuleSet | None = None

    def add_rules(self, text: str) -> None:
        """Append rules that are not kube-proxy's (`iptables-restore --noflush`). Raises InputError."""
        tables = self.net.tables
        if tables.ruleset.tables:
            tables.restore(text, noflush=True)
        else:
            tables.replace(_parsed(text))

    def proxy(self, rules: RuleSet, shared: dict[Any, Any]) -> None:
        """Put kube-proxy's rules in force. The jumps in the built-in chains are prepended once; later syncs replace
        kube-proxy's own chains and leave everybody else's alone. `shared` keeps what agreeing nodes can have together.
        """
        tables, before = self.net.tables, self._proxied
        if rules is before:
            return
        current: RuleSet = tables.ruleset
        key = ("in force", current, before, rules)
        if key not in shared:
            if before is None:
                shared[key] = current.merge(rules, insert=True)
            else:
                shared[key] = _replace_chains(current, before, rules)
        tables.replace(shared[key])
        self._proxied = rules


@cache
def _parsed(text: str) -> RuleSet:
    return parse_restore(text)


def _replace_chains(current: RuleSet, old: RuleSet, new: RuleSet) -> RuleSet:
    """`current` with the user chains of `old` gone and those of `new` in their place."""
    result: dict[str, Mapping[str, Chain]] = {}
    for table, chains in current.tables.items():
        mine = old.tables.get(table, {})
        kept = {name: chain for name, chain in chains.items() if chain.policy or name not in mine}
        added = {name: chain for name, chain in new.tables.get(table, {}).items() if not chain.policy}
        result[table] = {**kept, **added}
    return RuleSet(result)
