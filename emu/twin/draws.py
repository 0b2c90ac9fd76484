"""What the kernel drew in a flow, as the values that the emulator's named random sources must give to draw the same.

A statistic match's draws follow from the rules' counters, an ephemeral port from the socket, a remapped port from the
connection, a proxy's delay from the times of ARP frames. Must not know how sides are compared.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from emu.clock import Clock, Values
from emu.kernel.net.netns import Netns
from emu.kernel.netfilter.matches.statistic import Statistic
from emu.kernel.netfilter.ruleset import Chain
from emu.twin.ring import Seen
from emu.twin.tables import Counters
from emu.wire.addr import BROADCAST_MAC
from emu.wire.arp import REPLY, REQUEST
from emu.wire.captured import macs
from emu.wire.summary import read

HIT, MISS = 0, (1 << 31) - 1  # below every probability, and above
_TUPLES = re.compile(r"\bsport=(\d+) dport=(\d+)\b.*?\bsport=(\d+) dport=(\d+)\b")
_FIRST_FREE = 1024  # nf_nat_l4proto_unique_tuple: where ports above 1023 are looked for


def statistic(net: Netns, counted: Counters) -> list[int]:
    """The draws of a namespace's "statistic", from what each rule counted in this flow."""
    values: list[int] = []
    for table, chains in net.ipv4.tables.ruleset.tables.items():
        for chain in chains.values():
            values += _walks(chain, table, counted)
    return values


def _walks(chain: Chain, table: str, counted: Counters) -> Iterator[int]:
    """Each walk through a chain: a draw at every statistic rule until one hits. Several walks in one flow are told in
    the order of the rules that they took, which nobody can see otherwise."""
    missed = 0
    negated: list[bool] = []
    for rule in chain.rules:
        match = next((each for each in rule.matches if isinstance(each, Statistic) and each.mode == "random"), None)
        hits = counted.get((table, chain.name, rule.number), (0, 0))[0]
        if match is not None:
            for _ in range(hits):
                yield from (HIT if miss else MISS for miss in negated)
                yield MISS if match.negated else HIT
            missed += 1
            negated.append(match.negated)
        elif missed:
            # the rule that takes what all others left
            for _ in range(hits):
                yield from (HIT if miss else MISS for miss in negated)
            return


def nat(before: set[str], after: list[str]) -> list[int]:
    """The draws of a namespace's "nat": where the search for a free port began, for each new connection that got another
    one."""
    values = []
    for line in after:
        match = _TUPLES.search(line)
        if match is not None and _tuples(line) not in before:
            sport, answered = int(match[1]), int(match[4])
            if sport != answered and answered >= _FIRST_FREE:
                values.append(answered - _FIRST_FREE)
    return values


def connections(lines: list[str]) -> set[str]:
    """The tuples of conntrack's entries, without what changes while they live."""
    return {_tuples(line) for line in lines}


def _tuples(line: str) -> str:
    return " ".join(re.findall(r"\b(?:src|dst|sport|dport|id)=\S+", line))


def reachable(clock: Clock, net: Netns, times_ms: Mapping[str, int]) -> None:
    """How long neighbours stay REACHABLE, by device."""
    for device, time_ms in times_ms.items():
        if device in net.devices:
            base_ms = net.sysctl.neigh(device, "base_reachable_time_ms")
            clock.script(f"neighbour/{net.name}/{device}", Values([(time_ms - base_ms // 2) * 1_000_000]))


def ports(clock: Clock, net: Netns, protocol: str, numbers: list[int]) -> None:
    """The ephemeral ports that sockets got, in their order."""
    low, _high = net.sysctl.numbers("net.ipv4.ip_local_port_range")
    clock.script(f"ports/{net.name}/{protocol}", Values([number - low for number in numbers]))


def proxied(clock: Clock, net: Netns, seen: Iterable[Seen]) -> None:
    """How long a proxy kept those waiting who asked for somebody else's address (proxy_delay): from request to answer."""
    asked: dict[tuple[str, int, int], list[int]] = {}
    waits: list[int] = []
    begun: dict[int, int] = {}
    for each in seen:
        arp = read(each.data)
        if arp.kind != "ARP" or not net.sysctl.conf(each.device, "proxy_arp"):
            continue
        spa, tpa = arp.src, arp.dst
        longest_ns = net.sysctl.neigh_ns(each.device, "proxy_delay")
        if arp.flags == REQUEST and each.way == "in" and macs(each.data)[0] == BROADCAST_MAC and longest_ns:
            if not net.ipv4.is_local(tpa):
                # one that is not answered before the flow is over waits as long as can be
                asked.setdefault((each.device, tpa, spa), []).append(len(waits))
                waits.append(longest_ns - 1)
                begun[len(waits) - 1] = each.at_ns
        elif arp.flags == REPLY and each.way == "out" and asked.get((each.device, spa, tpa)):
            number = asked[each.device, spa, tpa].pop(0)
            waits[number] = min(max(each.at_ns - begun[number], 0), longest_ns - 1)
    clock.script(f"proxy_delay/{net.name}", Values(waits))
