"""A namespace's policy rules, as `ip rule show` lists them. Must not know who made them."""

from __future__ import annotations

from typing import Any

from emu.kernel.net.fib_rules import FULL_MASK, GOTO, LOOKUP, NOP, PROTOCOLS, TABLE_NAMES, IpRule, Range
from emu.kernel.net.netns import Netns
from emu.report import Report, views
from emu.wire.addr import Prefix, ip4_text


@views.add("ip-rules")
def ip_rules(net: Netns) -> Report:
    """The policy rules, as `ip rule show` lists them: which table of routes a packet asks."""
    found = net.ipv4.fib.rules
    return Report(
        [_as_ip_prints(rule) for rule in found], "\n".join(rule.text().replace(": ", ":\t", 1) for rule in found)
    )


def _as_ip_prints(rule: IpRule) -> dict[str, Any]:
    """A rule as `ip -j rule` prints it: what does not apply is no key."""
    found: dict[str, Any] = {"priority": rule.priority}
    if rule.invert:
        found["not"] = None
    found |= _prefix("src", rule.src) or {"src": "all"}
    found |= _prefix("dst", rule.dst)
    if rule.tos:
        found["tos"] = f"{rule.tos:#04x}"
    if rule.mark or rule.mask:
        found["fwmark"] = f"{rule.mark:#x}"
        found |= {"fwmask": f"{rule.mask:#x}"} if rule.mask != FULL_MASK else {}
    found |= {"iif": rule.iif} if rule.iif else {}
    found |= {"oif": rule.oif} if rule.oif else {}
    if rule.uids:
        found |= {"uid_start": rule.uids[0], "uid_end": rule.uids[1]}
    if rule.proto:
        found["ipproto"] = PROTOCOLS.get(rule.proto, f"ipproto-{rule.proto}")
    found |= _ports("sport", rule.sports)
    found |= _ports("dport", rule.dports)
    return found | _action(rule)


def _action(rule: IpRule) -> dict[str, Any]:
    if rule.action == GOTO:
        return {"goto": rule.target}
    if rule.action == NOP:
        return {"nop": None}
    if rule.action != LOOKUP:
        return {"action": rule.action}
    found: dict[str, Any] = {"table": TABLE_NAMES.get(rule.table, str(rule.table))}
    if rule.suppress_length >= 0:
        found["suppress_prefixlen"] = rule.suppress_length
    if rule.suppress_group >= 0:
        found["suppress_ifgroup"] = str(rule.suppress_group) if rule.suppress_group else "default"
    return found


def _prefix(key: str, prefix: Prefix) -> dict[str, Any]:
    if not prefix.length:
        return {}
    return {key: ip4_text(prefix.net)} | ({f"{key}len": prefix.length} if prefix.length < 32 else {})


def _ports(key: str, ports: Range | None) -> dict[str, Any]:
    if ports is None:
        return {}
    return {key: ports[0]} if ports[0] == ports[1] else {f"{key}_start": ports[0], f"{key}_end": ports[1]}
