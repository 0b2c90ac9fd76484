"""The kernel's random choices in a flow, as the values that the emulator's named random sources must give.

The draws of a statistic match follow from the rules that the kernel traces, an ephemeral port from the socket, a port chosen
by NAT from conntrack's events, a tunnel's source port from its outer packets, a proxy's delay from the times of ARP frames. Must
not know how sides are compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from emu.clock import Clock, Values
from emu.kernel.net.netns import Netns
from emu.kernel.netfilter.matches.statistic import Statistic
from emu.kernel.netfilter.ruleset import Chain, RuleSet
from emu.twin.ring import Seen
from emu.twin.space import Space
from emu.twin.traces import Opened, Walked
from emu.wire.addr import BROADCAST_MAC
from emu.wire.arp import REPLY, REQUEST
from emu.wire.captured import macs
from emu.wire.frame import ICMP, UDP, Frame
from emu.wire.summary import read

HIT, MISS = 0, (1 << 31) - 1  # below every probability, and above
_LOWEST = (
    (512, 1),
    (1024, 600),
    (65536, 1024),
)  # nf_nat_l4proto_unique_tuple: ports below the first get one from the second on


def statistic(rules: RuleSet, walked: Iterable[Walked]) -> list[int]:
    """The draws of a namespace's "statistic" source, in order: one at every statistic rule of a chain until one matches."""
    values: list[int] = []
    known: dict[tuple[str, str], list[tuple[int, bool]]] = {}
    for table, name, number in walked:
        if (table, name) not in known:
            chain = rules.chain(table, name)
            known[table, name] = [] if chain is None else _chances(chain)
        for place, negated in known[table, name]:
            if number and place > number:
                break
            values.append(HIT if negated is not (place == number) else MISS)
    return values


def _chances(chain: Chain) -> list[tuple[int, bool]]:
    """The number of each rule that matches by chance, and whether it is negated."""
    return [
        (rule.number, match.negated)
        for rule in chain.rules
        for match in rule.matches
        if isinstance(match, Statistic) and match.mode == "random"
    ]


def nat(opened: Iterable[Opened]) -> list[int]:
    """The draws of a namespace's "nat" source: the start of the search for a free port, for each new connection whose port
    NAT changed, in order."""
    found = [(_lowest(each.proto, each.orig[2]), each.orig[2], each.reply[3]) for each in opened]
    return [answered - lowest for lowest, sport, answered in found if sport != answered >= lowest]


def _lowest(proto: int, sport: int) -> int:
    """The first port, or id, of those that NAT may choose for this one."""
    return 0 if proto == ICMP else next(lowest for end, lowest in _LOWEST if sport < end)


def reachable(clock: Clock, net: Netns, times_ms: Mapping[str, int]) -> None:
    """How long neighbours stay REACHABLE, by device."""
    for device, time_ms in times_ms.items():
        if device in net.devices:
            base_ms = net.sysctl.neigh(device, "base_reachable_time_ms")
            clock.script(f"neighbour/{net.name}/{device}", Values([(time_ms - base_ms // 2) * 1_000_000]))


def ports(clock: Clock, net: Netns, protocol: str, numbers: list[int]) -> None:
    """The ephemeral ports of the sockets, in order."""
    low, _high = net.sysctl.numbers("net.ipv4.ip_local_port_range")
    clock.script(f"ports/{net.name}/{protocol}", Values([number - low for number in numbers]))


def tunnels(net: Netns, seen: Iterable[Seen]) -> None:
    """The source ports of tunnels' outer packets, by the flows in them."""
    if net.vxlan is None:
        return
    for each in seen:
        packet = read(each.data)
        if each.way == "out" and packet.proto == UDP and packet.has_ports and packet.dport in net.vxlan.devices:
            net.vxlan.learn(Frame.parse(each.data))


def proxied(clock: Clock, net: Netns, seen: Iterable[Seen]) -> int:
    """The delays of proxied ARP replies (proxy_delay): from the request to the reply. Gives how many requests have none."""
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
                # one that is never answered waits as long as can be
                asked.setdefault((each.device, tpa, spa), []).append(len(waits))
                waits.append(longest_ns - 1)
                begun[len(waits) - 1] = each.at_ns
        elif arp.flags == REPLY and each.way == "out" and asked.get((each.device, spa, tpa)):
            number = asked[each.device, spa, tpa].pop(0)
            waits[number] = min(max(each.at_ns - begun[number], 0), longest_ns - 1)
    clock.script(f"proxy_delay/{net.name}", Values(waits))
    return sum(map(len, asked.values()))


def from_frames(clock: Clock, spaces: Mapping[Netns, Space], seen: Sequence[Seen]) -> int:
    """What frames show of all namespaces: delays of proxies and ports of tunnels. Gives how many requests have no reply of a proxy."""
    waiting = 0
    for net, space in spaces.items():
        own = [each for each in seen if each.space == space.name]
        waiting += proxied(clock, net, own)
        tunnels(net, own)
    return waiting
