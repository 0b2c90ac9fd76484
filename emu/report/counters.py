"""A namespace's rules with what they counted, laid out as `iptables -vnL` lays them out, table by table.

Matches other than addresses, interfaces and protocol are spelled as iptables-save spells them. Must not know where rules
come from.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from emu.kernel.net.netns import Netns
from emu.kernel.netfilter.matches.comment import Comment
from emu.kernel.netfilter.matches.ip import Address, Ip
from emu.kernel.netfilter.ruleset import Rule, match_name
from emu.kernel.netfilter.table import BUILT_IN
from emu.report import Report, views
from emu.wire.addr import ip4_text, mask
from emu.wire.proto import PROTOCOL_NAMES

HEADINGS = f"{'pkts':>5} {'bytes':>5} {'target':<10} {'prot':<4} opt {'in':<6} {'out':<6} {'source':<19}  destination"
_UNITS = ((100_000, 1, ""), (10_000_000, 1000, "K"), (10_000_000_000, 1_000_000, "M"))


@views.add("counters")
def counters(net: Netns) -> Report:
    """The rules with their counters, as `iptables -vnL` lists them. Data: as `emu show rules`, and references."""
    tables, lines = net.ipv4.tables, []
    data: dict[str, Any] = {}
    for table in BUILT_IN:
        chains = tables.ruleset.tables.get(table)
        if chains is None:
            continue
        used = Counter(rule.jump for chain in chains.values() for rule in chain.rules if rule.jump)
        lines.append(f"table {table}")
        data[table] = {}
        for chain in chains.values():
            what = f"policy {chain.policy}" if chain.policy else f"{used[chain.name]} references"
            lines += [f"Chain {chain.name} ({what})", HEADINGS]
            rows = [(rule, *tables.counters.get(rule, (0, 0))) for rule in chain.rules]
            lines += [_row(*row) for row in rows]
            lines.append("")
            data[table][chain.name] = {
                "policy": chain.policy or None,
                "references": used[chain.name],
                "rules": [{"rule": str(rule), "packets": packets, "bytes": octets} for rule, packets, octets in rows],
            }
    return Report(data, "\n".join(lines).rstrip())


def abbreviated(count: int) -> str:
    """A count as iptables abbreviates it: 99999, 100K, 12M."""
    for limit, unit, letter in _UNITS:
        if count < limit:
            return f"{(count + unit // 2) // unit}{letter}"
    return f"{(count + 500_000_000) // 1_000_000_000}G"


def _row(rule: Rule, packets: int, octets: int) -> str:
    first = rule.matches[0] if rule.matches else None
    basics = first if isinstance(first, Ip) else Ip()
    proto = "all" if not basics.proto else PROTOCOL_NAMES.get(basics.proto, str(basics.proto))
    target = "" if rule.target is None else rule.target.spec().split(maxsplit=2)[1]
    fields = [
        f"{abbreviated(packets):>5} {abbreviated(octets):>5} {target:<10} {'!' * basics.proto_negated + proto:<4} --  ",
        f"{_device(basics.indev):<6} {_device(basics.outdev):<6} ",
        f"{_address(basics.src):<19}  {_address(basics.dst):<19}",
    ]
    return ("".join(fields) + "  " + " ".join(_rest(rule))).rstrip()


def _rest(rule: Rule) -> list[str]:
    words = []
    for match in rule.matches:
        if isinstance(match, Comment):
            words.append(f"/* {match.text} */")
        elif not isinstance(match, Ip):
            words.append(" ".join(each for each in (match_name(type(match)), match.spec()) if each))
    target = "" if rule.target is None else rule.target.spec()
    if rule.target is not None:
        words += target.split(maxsplit=2)[2:]
        if target.startswith("-g"):
            words.append("[goto]")
    return words


def _device(device: tuple[str, bool] | None) -> str:
    return "*" if device is None else f"{'!' * device[1]}{device[0]}"


def _address(address: Address | None) -> str:
    if address is None:
        return "0.0.0.0/0"
    bits = address.mask.bit_count()
    length = f"/{bits}" if mask(bits) == address.mask else f"/{ip4_text(address.mask)}"
    return f"{'!' * address.negated}{ip4_text(address.addr)}{'' if length == '/32' else length}"
