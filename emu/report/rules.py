"""A namespace's iptables rules, as text that iptables-restore takes. Must not know where they come from."""

from __future__ import annotations

from emu.kernel.net.netns import Netns
from emu.kernel.netfilter.table import BUILT_IN
from emu.report import Report, views


@views.add("rules")
def rules(net: Netns) -> Report:
    """The iptables rules, as iptables-save prints them. Data: tables, chains with policy, rules with counters."""
    tables = net.ipv4.tables
    data = {
        table: {
            chain.name: {
                "policy": chain.policy or None,
                "rules": [
                    {"number": rule.number, "rule": str(rule), "packets": hits[0], "bytes": hits[1]}
                    for rule in chain.rules
                    for hits in [tables.counters.get(rule, (0, 0))]
                ],
            }
            for chain in chains.values()
        }
        for table in BUILT_IN
        if (chains := tables.ruleset.tables.get(table)) is not None
    }
    return Report(data, tables.save().rstrip("\n"))
