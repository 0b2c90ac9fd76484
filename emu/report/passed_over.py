"""The rules that a packet met and did not match, and why: made on demand from a captured frame and the rules of that time.

The walk notes matches only. What else it looked at follows from the chains and from where each walk ended; why a rule did not
match is read from the packet's addresses, ports and devices as they were then. Must not know pages.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from emu.capture.captured import Captured
from emu.capture.interface import Interface
from emu.kernel.netfilter.matches.comment import Comment
from emu.kernel.netfilter.matches.ip import Ip, name_fits
from emu.kernel.netfilter.matches.ports import PortMatch, Ports
from emu.kernel.netfilter.matches.tcp import Tcp
from emu.kernel.netfilter.ruleset import Chain, ChainMap, Rule, RuleSet, match_name
from emu.kernel.netfilter.targets import Goto, Jump
from emu.kernel.netfilter.targets.masquerade import Masquerade
from emu.kernel.netfilter.targets.nat import Dnat, Snat
from emu.kernel.netfilter.targets.netmap import Netmap
from emu.kernel.netfilter.targets.redirect import Redirect
from emu.kernel.netfilter.targets.reject import Reject
from emu.kernel.netfilter.targets.verdicts import Accept, Drop, Return
from emu.trail import Decapsulated, Encapsulated, Natted, Policy
from emu.wire.addr import ip4_text
from emu.wire.frame import ICMP, Frame
from emu.wire.proto import PROTOCOL_NAMES

ENDING = (Accept, Drop, Reject, Dnat, Snat, Masquerade, Redirect, Netmap)
_SOURCE = ("SNAT", "un-DNAT")  # the kinds of NAT that write the source


@dataclass(frozen=True, slots=True)
class Looked:
    """A rule that a packet met, in the order of the walk. `matched`, or `why` it did not match, in words ("": not known)."""

    rule: Rule
    matched: bool
    why: str = ""


@dataclass(frozen=True, slots=True)
class Packet:
    """What rules ask of a packet first: `came` and `leaves` are devices, "" for none, None for one that is not known."""

    proto: int
    src: int
    sport: int
    dst: int
    dport: int
    came: str | None
    leaves: str | None


def looked_at(captured: Captured, rules: RuleSet, came: Interface | None = None) -> Iterator[Looked]:
    """All rules that the packet met since the tap before: those in the trail, and those between. `rules` were in force then
    (`States.rules`); `came` is where the packet came in to this namespace (None: it was made there). For a packet that a tunnel
    took up or let out here, no reasons are given. A walk without any match is listed only where its chain's policy dropped the
    packet."""
    tunnel = any(isinstance(each, Encapsulated | Decapsulated) for each in captured.trail)
    packet = None if tunnel else _began(captured, came)
    walk: list[Rule] = []
    for entry in captured.trail:
        if isinstance(entry, Rule):
            if walk and _begins(entry, walk):
                yield from _walked(walk, rules, packet)
                walk = []
            walk.append(entry)
        elif isinstance(entry, Policy):
            base = rules.chain(entry.table, entry.chain)
            if base is not None and not (walk and walk[0].table == entry.table and walk[0].chain == entry.chain):
                yield from _walked(walk, rules, packet)
                walk = []
                yield from _between(base, 0, None, None if packet is None else _at(packet, base.name))
        elif isinstance(entry, Natted):
            yield from _walked(walk, rules, packet)
            walk = []
            packet = None if packet is None else _written(packet, entry.kind, entry.after)
    yield from _walked(walk, rules, packet)


def _begins(rule: Rule, walk: Sequence[Rule]) -> bool:
    """Does another walk begin with this rule?"""
    if rule.table != walk[0].table or not rule.based:
        return rule.table != walk[0].table
    return rule.chain != walk[0].chain or any(each.based and each.number >= rule.number for each in walk)


def _walked(walk: Sequence[Rule], rules: RuleSet, packet: Packet | None) -> Iterator[Looked]:
    """One walk from its base chain on. Where the rules are not those any more, it is what the trail has."""
    chains = rules.tables.get(walk[0].table, {}) if walk else {}
    if not walk or not walk[0].based or not all(_is_in(rule, chains) for rule in walk):
        yield from (Looked(rule, True) for rule in walk)
        return
    seen = None if packet is None else _at(packet, walk[0].chain)
    stack = [(chains[walk[0].chain], 0)]  # each chain with the number of its last rule that was looked at
    for rule in walk:
        while stack and stack[-1][0].name != rule.chain:
            yield from _between(*stack.pop(), None, seen)
        chain, place = stack.pop() if stack else (chains[rule.chain], rule.number - 1)
        yield from _between(chain, place, rule.number - 1, seen)
        yield Looked(rule, True)
        target = rule.target
        if not isinstance(target, Goto | Return):  # a goto does not come back to its own chain
            stack.append((chain, rule.number))
        if isinstance(target, Goto | Jump) and target.chain in chains:
            stack.append((chains[target.chain], 0))
    while stack and not _ends(walk[-1]):
        yield from _between(*stack.pop(), None, seen)


def _between(chain: Chain, place: int, until: int | None, packet: Packet | None) -> Iterator[Looked]:
    """The rules of a chain behind number `place`, to number `until`, which did not match."""
    for rule in chain.rules[place:until]:
        yield Looked(rule, False, "" if packet is None else why_not(rule, packet))


def _is_in(rule: Rule, chains: ChainMap) -> bool:
    chain = chains.get(rule.chain)
    return chain is not None and len(chain.rules) >= rule.number and chain.rules[rule.number - 1] is rule


def _ends(rule: Rule) -> bool:
    return isinstance(rule.target, ENDING)


# -- the packet -----------------------------------------------------------------------------------


def _began(captured: Captured, came: Interface | None) -> Packet:
    """The packet as it was before the trail's first entry: the captured one, with what NAT wrote since undone."""
    frame, place = Frame.parse(captured.data), captured.place
    leaves = _device(place) if captured.direction == "out" else None
    entered = "" if came is None else _device(came)
    packet = Packet(frame.proto, frame.src, frame.sport, frame.dst, frame.dport, entered, leaves)
    for entry in reversed(captured.trail):
        if isinstance(entry, Natted):
            packet = _written(packet, entry.kind, entry.before)
    return packet


def _device(place: Interface) -> str:
    """What `-i` and `-o` call it: the bridge of a port."""
    return place.bridge or place.device_name


def _written(packet: Packet, kind: str, half: tuple[int, int]) -> Packet:
    addr, port = half
    if kind in _SOURCE:
        return replace(packet, src=addr, sport=port)
    return replace(packet, dst=addr, dport=port if packet.proto != ICMP else packet.dport)


def _at(packet: Packet, base: str) -> Packet:
    """As rules of a base chain see it: some have no device to ask."""
    return replace(
        packet,
        came="" if base in ("OUTPUT", "POSTROUTING") else packet.came,
        leaves="" if base in ("PREROUTING", "INPUT") else packet.leaves,
    )


# -- reasons --------------------------------------------------------------------------------------


def why_not(rule: Rule, packet: Packet) -> str:
    """The first part of a rule that the packet does not fit, and what the packet has there; else the parts that remain, one of
    which it cannot have fitted. "": all that can be read fits, so that the packet was another one then."""
    others = []
    for match in rule.matches:
        if isinstance(match, Ip):
            found = _addresses(match, packet) or _devices(match, packet)
            unread = match.fragment is not None
        elif isinstance(match, Tcp | PortMatch):
            found = _ports(match.sport, match.dport, packet) if not match.other else ""
            unread = match.other or (isinstance(match, Tcp) and (match.flags or match.option) is not None)
        else:
            found, unread = "", not isinstance(match, Comment)
        if found:
            return found
        if unread:
            others.append(f"-m {name} {match.spec()}".rstrip() if (name := match_name(type(match))) else match.spec())
    if len(others) == 1:
        return f"{others[0]} does not hold"
    return f"one of these does not hold: {'; '.join(others)}" if others else ""


def _addresses(match: Ip, packet: Packet) -> str:
    for want, option, name, addr in (
        (match.dst, "-d", "destination", packet.dst),
        (match.src, "-s", "source", packet.src),
    ):
        if want is not None and (addr & want.mask == want.addr) is want.negated:
            return f"{want.spell(option)}: the {name} is {ip4_text(addr)}"
    if match.proto and (packet.proto == match.proto) is match.proto_negated:
        asked = f"{'! ' * match.proto_negated}-p {PROTOCOL_NAMES.get(match.proto, match.proto)}"
        return f"{asked}: the protocol is {PROTOCOL_NAMES.get(packet.proto, packet.proto)}"
    return ""


def _devices(match: Ip, packet: Packet) -> str:
    for want, option, verb, device in (
        (match.indev, "-i", "came in by", packet.came),
        (match.outdev, "-o", "leaves by", packet.leaves),
    ):
        if want is not None and device is not None and name_fits(want[0], device) is want[1]:
            return f"{'! ' * want[1]}{option} {want[0]}: it {verb} {device or 'no device'}"
    return ""


def _ports(sport: Ports | None, dport: Ports | None, packet: Packet) -> str:
    for want, option, name, port in (
        (dport, "--dport", "destination port", packet.dport),
        (sport, "--sport", "source port", packet.sport),
    ):
        if want is not None and not want.holds(port):
            return f"{want.spell(option)}: the {name} is {port}"
    return ""
