"""A trail's entries in words: for each type how much it decides, a sentence for a learner, and a fact.

`WORDS` is the whole list: a new type of trail entry is one row (and its functions). Reads entries and
the frame they happened to; must not know how comments are put together, cached or written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from emu.capture.blanks import address_text, mac_text
from emu.capture.reasons import REASONS
from emu.capture.tap import DROP, OUT
from emu.capture.view import View
from emu.kernel.link.vxlan import NoRemote
from emu.kernel.net.fib_rules import MAIN_TABLE, TABLE_NAMES
from emu.kernel.net.fib_semantics import Route
from emu.kernel.net.neighbour import Neighbour
from emu.kernel.netfilter.conn import Conn
from emu.rule import AnyRule
from emu.trail import (
    Answered,
    Asked,
    Born,
    Bridged,
    Carried,
    Decapsulated,
    Delivered,
    Dropped,
    Encapsulated,
    Forbidden,
    Learned,
    Natted,
    Note,
    Policy,
    Probed,
    Tracked,
    Waited,
)
from emu.wire.addr import BROADCAST_MAC, ZERO_MAC
from emu.wire.frame import ETH_HLEN
from emu.wire.summary import Summary
from emu.wire.vxlan import HEADROOM
from emu.wire.vxlan import HLEN as VXLAN_HLEN

Text = Callable[[Any, View], str]


class Word(NamedTuple):
    """How one type of entry is shown. The entries of the highest `rank` in a trail give the sentence; "" from `fact`: no fact."""

    rank: int
    sentence: Text
    fact: Text


def _nothing(entry: Any, view: View) -> str:
    return ""


# -- ends ----------------------------------------------------------------------------------------


def decided_by(by: Any, *, lines: bool = False) -> str:
    """What decided, as one line: a rule (`lines`: with its line in the file), a policy, a route, a neighbour, a
    connection."""
    if isinstance(by, AnyRule):
        line = f", line {by.line}" if lines else ""
        return f"{by.table} {by.chain} rule {by.number}{line}: {by}"
    if isinstance(by, Policy):
        return f"the policy {by.verdict} of {by.table} {by.chain}"
    if isinstance(by, Route):
        return by.why or f"route {by.text()}"
    if isinstance(by, Neighbour):
        return f"neighbour {address_text(by.addr)} dev {by.device.name}"
    if isinstance(by, Conn):
        return f"ct {by.name}"
    return "" if by is None else str(by)


def _dropped_sentence(entry: Dropped, view: View) -> str:
    why = REASONS.get(entry.reason, entry.reason)
    if isinstance(entry.by, AnyRule) and entry.reason != "UNDECIDED":
        why = f'a rule drops it: "{entry.by.comment}"' if entry.by.comment else "a rule drops it"
        if entry.by.rejects:
            why = why.replace("drops", "rejects", 1)
    elif isinstance(entry.by, Probed):
        why = f"the program {entry.by.program} there decides so, {entry.by.by}"
    elif isinstance(entry.by, Policy):
        why = "no rule accepts it"
    elif isinstance(entry.by, NoRemote):
        why = f"{entry.by.device} knows no host behind the MAC {mac_text(entry.by.mac)}"
    return f"{entry.place} drops {view.phrase}{view.between}: {why}"


def _forbidden_sentence(entry: Forbidden, view: View) -> str:
    found = next((each for each in view.trail if isinstance(each, Dropped)), None)
    begin = f"{_dropped_sentence(found, view)}. " if found is not None else ""
    return f"{begin}The {entry.way} of {entry.pod} forbids it: {entry.reason}"


def _forbidden_fact(entry: Forbidden, view: View) -> str:
    return f"policy {entry}"


def _probed_sentence(entry: Probed, view: View) -> str:
    return f"{plain(view)}. The program {entry.program} at {entry.device} lets it pass, {entry.by}"


def _probed_fact(entry: Probed, view: View) -> str:
    return str(entry)


def _dropped_fact(entry: Dropped, view: View) -> str:
    by = decided_by(entry.by)
    return f"dropped {entry.reason} at {entry.place}" + (f" by {by}" if by else "")


# -- ARP -----------------------------------------------------------------------------------------


def _asked_sentence(entry: Asked, view: View) -> str:
    name = view.name(entry.addr)
    if entry.why == "announce":
        return f"{view.owner} announces {name} on {entry.device} (gratuitous ARP)"
    if entry.why == "probe" or not entry.dst:
        return f"{view.owner} asks whether {name} is still there: its neighbour entry is stale"
    if entry.dst == entry.addr:
        return f"{view.owner} asks who has {name}: a packet for it waits"
    return f"{view.owner} asks who has {name}, the next hop of a packet to {view.name(entry.dst)} that waits"


def _asked_fact(entry: Asked, view: View) -> str:
    return f"arp who-has {address_text(entry.addr)} dev {entry.device} ({entry.why})"


def _answered_sentence(entry: Answered, view: View) -> str:
    name = view.name(entry.addr)
    if entry.proxy:
        return f"{view.owner} answers for {name}, which it reaches through {entry.device} (proxy ARP)"
    return f"{view.owner} answers that {name} is at its own MAC"


def _answered_fact(entry: Answered, view: View) -> str:
    return f"arp {address_text(entry.addr)} is {'proxied, behind' if entry.proxy else 'local, asked on'} {entry.device}"


def _waited_sentence(entry: Waited, view: View) -> str:
    return f"{view.owner} has the MAC of {view.name(entry.addr)} now, and sends {view.phrase} that waited for it"


def _waited_fact(entry: Waited, view: View) -> str:
    return f"waited for ARP: {address_text(entry.addr)} dev {entry.device}"


# -- NAT and connections -------------------------------------------------------------------------


# the owners of chains, by the beginning of the chains' names
OWNERS = {"KUBE-": "kube-proxy", "IP-MASQ": "ip-masq-agent", "CNI-": "the CNI plugin", "AWS-": "aws-node"}


def _decider(entry: Natted, view: View) -> AnyRule | None:
    """The nat rule that chose this translation; None when the connection had it already."""
    last: AnyRule | None = None
    for each in view.trail:
        if each is entry:
            break
        if isinstance(each, Natted):
            last = None
        elif isinstance(each, AnyRule) and each.table == "nat":
            last = each
    return last


def _natted_sentence(entry: Natted, view: View) -> str:
    before, after = view.called(entry.before), view.called(entry.after)
    rule = _decider(entry, view)
    known = f"(connection {getattr(entry.conn, 'name', '?')} has it already, no rule is walked)"
    if entry.kind == "un-DNAT":
        return f"un-DNAT: the reply's source {before} becomes {after}, the address that the client asked {known}"
    if entry.kind == "un-SNAT":
        return f"un-SNAT: the reply's destination {before} becomes {after}, the original source {known}"
    half = "source" if entry.kind == "SNAT" else "destination"
    if rule is None:
        return f"{entry.kind}: the {half} {before} becomes {after} {known}"
    who = next((owner for start, owner in OWNERS.items() if rule.chain.startswith(start)), "")
    if entry.kind == "SNAT":
        why = ", the address of the interface that it goes out of (masquerade)" if "-j MASQUERADE" in rule.spec else ""
        return f"SNAT: {f'a rule of {who}' if who else 'a rule'} rewrites the source {before} to {after}{why}"
    if who == "kube-proxy":
        return f"DNAT: kube-proxy's rules rewrite the Service address {before} to the endpoint {after}"
    return f"DNAT: {f'a rule of {who}' if who else 'a rule'} rewrites the destination {before} to {after}"


def natted_fact(entry: Natted, view: View) -> str:
    """The kind, the half that changed and the connection: `DNAT dst 10.96.0.10:80 -> 10.244.2.5:8080, ct NEW node-1#5`."""
    half = "dst" if entry.kind in ("DNAT", "un-SNAT") else "src"
    return f"{entry.kind} {half} {view.where(entry.before)} -> {view.where(entry.after)}, ct {_conn(entry.conn, view)}"


def _conn(conn: Any, view: View) -> str:
    new = any(each.__class__ is Tracked and each.new and each.conn is conn for each in view.trail)
    return f"{'NEW ' if new else ''}{getattr(conn, 'name', '?')}"


def _tracked_sentence(entry: Tracked, view: View) -> str:
    if entry.conn is None:
        return f"{view.owner} finds no connection for {view.phrase}{view.between} ({entry.state})"
    if entry.new:
        return f"{view.owner} tracks a new connection: {view.phrase}{view.between}"
    return f"{view.owner} tracks {view.phrase}{view.between}: the connection is {entry.state} now"


def _tracked_fact(entry: Tracked, view: View) -> str:
    if entry.conn is None:
        return f"ct {entry.state}"
    if not entry.new:
        return f"ct {entry.conn.name} is {entry.state}"
    shown = any(each.__class__ is Natted and each.conn is entry.conn for each in view.trail)
    return "" if shown else f"ct NEW {entry.conn.name}"


# -- rules ---------------------------------------------------------------------------------------


def _rule_sentence(entry: AnyRule, view: View) -> str:
    return plain(view) + ", and no rule stops it"


def _policy_sentence(entry: Policy, view: View) -> str:
    return f"{view.owner} finds no rule in {entry.chain} for {view.phrase}{view.between}: its policy is {entry.verdict}"


def _policy_fact(entry: Policy, view: View) -> str:
    return f"{entry.table} {entry.chain}: policy {entry.verdict}"


def walk_fact(rules: list[AnyRule], outcome: str = "") -> list[str]:
    """The facts of one walk over a base chain: the chains it went through and what the last rule did (or `outcome`).

    Jumps into chains without a match are left out; a rule that changes the packet and continues has a line of its own.
    """
    base = rules[0].chain
    shown = [rule for rule, then in zip(rules, [*rules[1:], None], strict=True) if _counts(rule, then)]
    if not shown:
        return [f"{rules[0].table} {base}: {', '.join(rule.jump for rule in rules)}: no rule there matches"]
    last = shown[-1]
    # the call stack at the last rule: a chain that returned is not on it
    path: list[str] = []
    for rule in rules:
        while path and path[-1] != rule.chain:
            path.pop()
        path = path or [rule.chain]
        if rule is last:
            break
        if rule.jump:
            path.append(rule.jump)
    if len(path) > 1 and any(rule.based for rule in rules if rule.chain == path[0]):
        del path[0]
    chains = " -> ".join(path)
    facts = [f"{rule.table} {rule.chain} rule {rule.number}: {_act(rule)}" for rule in shown[:-1] if not rule.jump]
    if outcome:
        return [f"{last.table} {chains}: {outcome}", *facts, f"rule {last.number} of {last.chain}: {last.spec}"]
    return [*facts, f"{last.table} {chains} rule {last.number}: {_act(last)}"]


def _counts(rule: AnyRule, then: AnyRule | None) -> bool:
    return not rule.jump or (then is not None and then.chain == rule.jump)


def _act(rule: AnyRule) -> str:
    return rule.act or "counted"


# -- routes, bridges, tunnels, ends --------------------------------------------------------------


def _route_sentence(entry: Route, view: View) -> str:
    return f"{view.owner} routes {view.phrase}{view.between}: {entry.text()}"


def _route_fact(entry: Route, view: View) -> str:
    known = entry.table == MAIN_TABLE or entry.kind != "unicast"
    text = f"route {entry.text()}" + ("" if known else f" table {TABLE_NAMES.get(entry.table, entry.table)}")
    if view.has(Born) or view.has(Encapsulated) or entry.kind != "unicast":
        return text  # a host's own packet has not been routed before
    return f"{text}\nttl {view.packet.ttl + 1} -> {view.packet.ttl}"


_BORN = 60


def _born_sentence(entry: Born, view: View) -> str:
    if view.packet.quote:
        text = f"{view.owner} sends {view.phrase}{view.between}"
    else:
        text = f"{view.owner}: {entry.what}, {view.phrase}{view.between}"
    # the last one: OUTPUT may have changed the destination, and with it the route
    route = next((each for each in reversed(view.trail) if each.__class__ is Route), None)
    if route is None or route.kind != "unicast":
        return text
    if route.gateway:
        return f"{text}. The destination is not on link, so the frame goes to the gateway {view.name(route.gateway)}"
    return f"{text}. The destination is on link at {view.device}, so the frame goes to it directly"


def _born_fact(entry: Born, view: View) -> str:
    decided = any(word_of(each).rank > _BORN for each in view.trail)
    return f"born here: {entry.what}" if decided else ""


def _group(view: View) -> str:
    return "broadcast" if view.dmac == BROADCAST_MAC else "multicast"


def _bridged_sentence(entry: Bridged, view: View) -> str:
    if entry.up:
        if view.dmac[0] & 1:
            return f"{entry.bridge} passes {view.phrase} up to {view.owner} too, because it is a {_group(view)}"
        if view.foreign:
            return f"{entry.bridge} is promiscuous, so {view.owner} sees {view.phrase} too"
        return f"{entry.bridge} passes {view.phrase}{view.between} up to {view.owner}: its destination MAC is the bridge's own"
    if entry.flooded:
        ports = "the only other port" if entry.flooded == 1 else f"{entry.flooded} ports"
        grouped = view.dmac[0] & 1
        why = f"it is a {_group(view)}" if grouped else f"its FDB has no entry for {mac_text(view.dmac)}"
        return f"{entry.bridge} floods {view.phrase} to {ports}, because {why}"
    if any(each.__class__ is Bridged and each.flooded for each in view.trail):
        return ""  # the sentence about the flood is enough
    return f"{entry.bridge} finds the destination MAC in its FDB, and sends {view.phrase}{view.between} out of {entry.port}"


def _bridged_fact(entry: Bridged, view: View) -> str:
    if entry.up:
        return f"bridge {entry.bridge}: handed up"
    if entry.flooded:
        return f"bridge {entry.bridge}: flooded to {entry.flooded} port{'' if entry.flooded == 1 else 's'}"
    if any(each.__class__ is Bridged and each.flooded for each in view.trail):
        return ""
    return f"bridge {entry.bridge}: fdb {mac_text(view.dmac)} -> {entry.port}"


def _learned_fact(entry: Learned, view: View) -> str:
    return f"bridge {entry.bridge}: learned that {mac_text(entry.mac)} is behind {entry.port}"


def _encapsulated_sentence(entry: Encapsulated, view: View) -> str:
    if entry.vni is None:
        return f"{view.owner} sends a packet of {entry.device} in an IP packet to {view.name(entry.dst)}: IP in IP"
    return f"{view.owner} sends a frame of {entry.device} in a UDP packet to {view.name(entry.dst)}: VXLAN network {entry.vni}"


def _sizes(entry: Encapsulated, packet: Summary) -> str:
    """The lengths of both IP packets: around the inner one are Ethernet, VXLAN, UDP and IP. Nothing for a fragment."""
    if packet.fragment:
        return ""
    inside = packet.size - VXLAN_HLEN - ETH_HLEN
    return f"\nsize {inside} bytes of IP in {inside + HEADROOM}, mtu {entry.mtu}"


def _encapsulated_fact(entry: Encapsulated, view: View) -> str:
    if entry.vni is None:
        return f"ipip {entry.device}: {address_text(entry.src)} -> {address_text(entry.dst)}"
    known = f"{mac_text(entry.mac)} dst" if entry.mac != ZERO_MAC else "no entry for its MAC, all others dst"
    lines = f"fdb {entry.device}: {known} {address_text(entry.dst)}\nvxlan {entry.device}: vni {entry.vni}, {address_text(entry.src)} -> {address_text(entry.dst)}"
    return lines + _sizes(entry, view.packet)


def _decapsulated_sentence(entry: Decapsulated, view: View) -> str:
    source = view.name(entry.src)
    if entry.vni is None:
        return f"{entry.device} of {view.owner} takes {view.phrase}{view.between} out of the IP packet from {source}: IP in IP"
    return f"{entry.device} of {view.owner} takes {view.phrase}{view.between} out of the UDP packet from {source}: VXLAN network {entry.vni}"


def _decapsulated_fact(entry: Decapsulated, view: View) -> str:
    if entry.vni is None:
        return f"ipip {entry.device}: from {address_text(entry.src)}"
    return f"vxlan {entry.device}: vni {entry.vni}, from {address_text(entry.src)}"


def _carried_sentence(entry: Carried, view: View) -> str:
    if entry.half:
        before, after = view.called((entry.before, 0)), view.called((entry.after, 0))
        return f"{entry.who} rewrites the {entry.half} {before} to {after}, address for address; ports stay"
    return f"{entry.who} carries {view.phrase}{view.between}: {entry.between}"


def _carried_fact(entry: Carried, view: View) -> str:
    if entry.half:
        return f"{entry.who}: {address_text(entry.before)} -> {address_text(entry.after)}, {entry.between}"
    return f"{entry.who}: {entry.between} ({entry.way}), TTL stays {view.packet.ttl}"


def _delivered_sentence(entry: Delivered, view: View) -> str:
    return f"{entry.netns} delivers {view.phrase} to {entry.to}"


def _delivered_fact(entry: Delivered, view: View) -> str:
    return f"delivered to {entry.to}"


def _note(entry: Note, view: View) -> str:
    return entry.text


def _note_fact(entry: Note, view: View) -> str:
    return entry.text if len(view.trail) > 1 else ""  # alone it is the sentence


WORDS: Mapping[type, Word] = {
    Forbidden: Word(105, _forbidden_sentence, _forbidden_fact),
    Dropped: Word(100, _dropped_sentence, _dropped_fact),
    Probed: Word(11, _probed_sentence, _probed_fact),
    Policy: Word(95, _policy_sentence, _policy_fact),
    Asked: Word(90, _asked_sentence, _asked_fact),
    Answered: Word(90, _answered_sentence, _answered_fact),
    Natted: Word(80, _natted_sentence, natted_fact),
    Born: Word(_BORN, _born_sentence, _born_fact),
    Encapsulated: Word(55, _encapsulated_sentence, _encapsulated_fact),
    Decapsulated: Word(45, _decapsulated_sentence, _decapsulated_fact),
    Carried: Word(52, _carried_sentence, _carried_fact),
    Route: Word(50, _route_sentence, _route_fact),
    Bridged: Word(40, _bridged_sentence, _bridged_fact),
    Learned: Word(4, lambda entry, view: plain(view), _learned_fact),
    Waited: Word(30, _waited_sentence, _waited_fact),
    Tracked: Word(20, _tracked_sentence, _tracked_fact),
    Note: Word(15, _note, _note_fact),
    Delivered: Word(12, _delivered_sentence, _delivered_fact),
    AnyRule: Word(10, _rule_sentence, _nothing),
}
UNKNOWN = Word(5, lambda entry, view: plain(view), lambda entry, view: str(entry))


def word_of(entry: Any) -> Word:
    """The words of an entry; rules of all modes share theirs."""
    word = WORDS.get(entry.__class__)
    if word is None:
        word = WORDS[AnyRule] if isinstance(entry, AnyRule) else UNKNOWN
    return word


def plain(view: View) -> str:
    """A sentence from the bytes and the interface alone, for a frame without entries since the tap before."""
    what = f"{view.phrase}{view.between}"
    if view.direction == DROP:
        return f"{view.owner} drops {what}"
    if view.direction == OUT:
        return f"{view.bridge}'s port {view.device} sends {what}" if view.bridge else f"{view.owner} sends {what}"
    if view.kind == "loopback":
        return f"{view.owner} receives what it sent to itself: {what}"
    if view.bridge:
        return f"{view.bridge}'s port {view.device} receives {what}"
    if view.foreign:
        return f"{view.device} of {view.owner} receives {what}, which is for another MAC"
    return f"{view.owner} receives {what}"
