"""flanneld's iptables rules: who is masqueraded, and what is forwarded (pkg/trafficmngr/iptables).

A set of rules is one chain and the jump to it. Must not know nodes or backends.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from emu.kernel.net.netns import Netns
from emu.kube.cni.iptables import Table, Words, comment
from emu.wire.addr import Prefix

KUBE_PROXY_MARK = "0x4000/0x4000"
MULTICAST = "224.0.0.0/4"


class Rules(NamedTuple):
    """A table, the chain of its own, and the rules in order: each is a chain and words."""

    table: str
    chain: str
    rules: Sequence[tuple[str, Words]]


def masquerade(network: Prefix, subnet: Prefix) -> Rules:
    """Of what crosses POSTROUTING, pods' packets keep their source inside `network`. What comes from outside keeps it only
    towards the node's own pods, `subnet`: another node would answer it past this one."""
    words, name = comment("flanneld masq"), "FLANNEL-POSTRTG"
    cluster, pods = str(network), str(subnet)
    leaves = [*words, "-j", "RETURN"]
    changed = [*words, "-j", "MASQUERADE", "--random-fully"]
    return Rules(
        "nat",
        name,
        [
            ("POSTROUTING", [*words, "-j", name]),
            (name, ["-m", "mark", "--mark", KUBE_PROXY_MARK, *leaves]),
            (name, ["-s", pods, "-d", cluster, *leaves]),
            (name, ["-s", cluster, "-d", pods, *leaves]),
            (name, ["!", "-s", cluster, "-d", pods, *leaves]),
            (name, ["-s", cluster, "!", "-d", MULTICAST, *changed]),
            (name, ["!", "-s", cluster, "-d", cluster, *changed]),
        ],
    )


def forward(network: Prefix) -> Rules:
    """Pods' packets are forwarded, whatever the policy of FORWARD is."""
    words, name = comment("flanneld forward"), "FLANNEL-FWD"
    return Rules(
        "filter",
        name,
        [
            ("FORWARD", [*words, "-j", name]),
            (name, ["-s", str(network), *words, "-j", "ACCEPT"]),
            (name, ["-d", str(network), *words, "-j", "ACCEPT"]),
        ],
    )


def there(net: Netns, rules: Rules) -> bool:
    """Is every rule there?"""
    table = Table(net, rules.table)
    return rules.chain in table and all(table.has(chain, words) for chain, words in rules.rules)


def put(net: Netns, rules: Rules) -> None:
    """ipTablesBootstrap: each rule is deleted where it is, and appended, so that they are in order."""
    table = Table(net, rules.table)
    table.ensure(rules.chain)
    for chain, words in rules.rules:
        table.delete(chain, words)
        table.add(chain, words)
    table.run()
