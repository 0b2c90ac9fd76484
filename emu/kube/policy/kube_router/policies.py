"""A policy as kube-router writes it: a chain that marks what the policy allows, and the sets that it asks. Pure.

Every node has every policy. Kept as kube-router has it, also where that is not what the API means: a port name in an egress rule
without `to` is its number at any address, one beside an ipBlock is left out, rules of both directions stand in one chain, and the ipBlocks
of a rule in one set. Must
not know pods' own chains, or nodes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from emu.kube.policy.ends import End
from emu.kube.policy.groups import Group, Groups
from emu.kube.policy.index import PolicyIndex
from emu.kube.policy.kube_router import names
from emu.kube.policy.rules import WAYS, Block, Net, Pods, Policy, Ports, Rule, Way
from emu.kube.policy.verdict import Packet, Selecting, has_port, hits_of
from emu.wire.addr import ip4_text

MARKED = "0x10000/0x10000"
_LONGEST = 120


class SetOf(NamedTuple):
    """A set: its type, and its elements as `ipset add` takes them."""

    name: str
    kind: str
    elements: tuple[str, ...]


class Written(NamedTuple):
    """A policy's chain (its name, and rules as the words behind `-A CHAIN`) and its sets."""

    chain: str
    lines: tuple[str, ...]
    sets: tuple[SetOf, ...]
    policy: Policy


class _Numbered(NamedTuple):
    protocol: str
    number: int
    addresses: list[str]


class _NamedPorts:
    """Which pods give a port name which number. All ports of the pod that comes first share one list of addresses, as in
    kube-router: what a later pod adds to one of them, it adds to all."""

    def __init__(self, ends: Iterable[End]) -> None:
        self._found: dict[tuple[str, str], dict[int, list[str]]] = {}
        for end in ends:
            own = [ip4_text(end.addr)]
            for port in end.pod.ports if end.pod is not None else ():
                numbers = self._found.setdefault((port.name, port.protocol), {})
                if port.number not in numbers:
                    numbers[port.number] = own
                else:
                    numbers[port.number] += [ip4_text(end.addr)]

    def of(self, ports: Ports) -> Iterator[_Numbered]:
        for number, addresses in self._found.get((ports.name, ports.protocol), {}).items():
            yield _Numbered(ports.protocol, number, addresses)


class Peers(NamedTuple):
    """A rule's peers by kind."""

    groups: tuple[Group, ...]
    blocks: tuple[Block, ...]


def peers_of(rule: Rule, groups: Groups) -> Peers:
    peers = rule.peers or ()
    found = tuple(groups.of(peer) for peer in peers if isinstance(peer, Pods))
    return Peers(found, tuple(peer for peer in peers if isinstance(peer, Block)))


class Draft:
    """A policy that is being written. `groups` are all that its text depends on, with the pods of its namespace where a rule asks for
    these."""

    def __init__(self, policy: Policy, groups: Groups) -> None:
        self.policy = policy
        self.targets = groups.of(policy.subject)
        self.peers = {(way, rule.number): peers_of(rule, groups) for way in policy.rules for rule in policy.rules[way]}
        self._namespace = groups.of(policy.subject._replace(pods=type(policy.subject.pods)()))
        named = any(rule.peers is None and _names(rule) for rule in policy.rules.get("egress", ()))
        found = [self.targets, *(group for each in self.peers.values() for group in each.groups)]
        self.groups = tuple(dict.fromkeys([*found, self._namespace] if named else found))
        self._lines: list[str] = []
        self._sets: dict[str, SetOf] = {}

    @property
    def versions(self) -> tuple[int, ...]:
        return tuple(group.version for group in self.groups)

    def written(self) -> Written:
        self._lines, self._sets = [], {}
        namespace, name = self.policy.namespace, self.policy.name
        targets = [ip4_text(end.addr) for end in self.targets.ends if end.width == 32]
        for way in WAYS:
            if way in self.policy.rules:
                prefix = names.DESTINATION if way == "ingress" else names.SOURCE
                own = self._set(names.target_set(prefix, namespace, name), "hash:ip", targets)
                for rule in self.policy.rules[way]:
                    (self._ingress if way == "ingress" else self._egress)(rule, own)
        lines = tuple(self._lines)
        return Written(
            names.policy_chain(namespace, name, "\n".join(lines)), lines, tuple(self._sets.values()), self.policy
        )

    def _set(self, name: str, kind: str, addresses: Iterable[str]) -> str:
        """A set of these elements; the type is that of the first that asks for it."""
        kind = self._sets[name].kind if name in self._sets else kind
        self._sets[name] = SetOf(name, kind, tuple(f"{each} timeout 0" for each in dict.fromkeys(addresses)))
        return name

    def _add(self, comment: str, source: str, destination: str, ports: tuple[str, int, int] | None = None) -> None:
        """The two rules of an allowed case: mark, and leave the chain with the mark."""
        words = [commented(self.policy.namespace, self.policy.name, comment)]
        words += [f"-m set --match-set {source} src"] if source else []
        words += [f"-m set --match-set {destination} dst"] if destination else []
        if ports is not None:
            protocol, first, last = ports
            words.append(f"-p {protocol.lower()}")
            if first:
                words.append(f"-m {protocol.lower()} --dport {first}{f':{last}' if last != first else ''}")
        match = " ".join(words)
        self._lines += [f"{match} -j MARK --set-xmark {MARKED}", f"{match} -m mark --mark {MARKED} -j RETURN"]

    def _peer_sets(self, way: Way, rule: Rule) -> tuple[str, str]:
        """The sets of a rule's pods and of its blocks; "" for none."""
        prefix = names.SOURCE if way == "ingress" else names.DESTINATION
        space, name = self.policy.namespace, self.policy.name
        peers = self.peers[way, rule.number]
        found = [ip4_text(end.addr) for group in peers.groups for end in group.ends if end.width == 32]
        pods, blocks = "", ""
        if found:
            pods = self._set(names.peer_set(prefix, space, name, way, rule.number, "pod"), "hash:ip", found)
        nets = [element for block in peers.blocks for element in _elements(block)]
        if nets:
            blocks = self._set(names.peer_set(prefix, space, name, way, rule.number, "ipblock"), "hash:net", ())
            self._sets[blocks] = SetOf(blocks, "hash:net", tuple(dict.fromkeys(nets)))
        return pods, blocks

    def _ingress(self, rule: Rule, own: str) -> None:
        pods, blocks = self._peer_sets("ingress", rule)
        numbers, named = _numbers(rule), [*self._named(rule, self.targets.ends)]
        for source, kind, wanted in (
            (pods, "pods", bool(pods)),
            ("", "any", rule.peers is None),
            (blocks, "cidr", bool(blocks)),
        ):
            if not wanted:
                continue
            for ports in numbers:
                self._add(f"ingress {kind}", source, own, ports)
            for count, each in enumerate(named):
                there = names.port_set(self.policy.namespace, self.policy.name, "ingress", rule.number, count)
                self._set(there, "hash:net" if kind == "cidr" else "hash:ip", each.addresses)
                self._add(f"ingress {kind} np", source, there, (each.protocol, each.number, each.number))
            if rule.ports is None or (kind == "pods" and not numbers and not named):
                self._add(f"ingress {kind}", source, own)

    def _egress(self, rule: Rule, own: str) -> None:
        pods, blocks = self._peer_sets("egress", rule)
        numbers = _numbers(rule)
        peers = [end for group in self.peers["egress", rule.number].groups for end in group.ends]
        named = [*self._named(rule, self._namespace.ends if rule.peers is None else peers)]
        if pods:
            for ports in numbers:
                self._add("egress pods", own, pods, ports)
            for count, each in enumerate(named):
                there = names.port_set(self.policy.namespace, self.policy.name, "egress", rule.number, count)
                self._set(there, "hash:ip", each.addresses)
                self._add("egress pods np", own, there, (each.protocol, each.number, each.number))
            if not numbers and not named:
                self._add("egress pods", own, pods)
        if rule.peers is None:
            for ports in numbers:
                self._add("egress any", own, "", ports)
            for each in named if rule.ports is not None else ():
                self._add("egress any np", own, "", (each.protocol, each.number, each.number))
            if rule.ports is None:
                self._add("egress any", own, "")
        if blocks:
            for ports in numbers:
                self._add("egress cidr", own, blocks, ports)
            if rule.ports is None:
                self._add("egress cidr", own, blocks)

    def _named(self, rule: Rule, ends: Sequence[End]) -> Iterator[_Numbered]:
        wanted = _names(rule)
        if wanted:
            known = _NamedPorts(end for end in ends if end.width == 32)
            for ports in wanted:
                yield from known.of(ports)


def commented(namespace: str, name: str, kind: str) -> str:
    """The comment of a rule about a policy or a pod: whose it is, and what kind of rule, up to 120 characters."""
    return f'-m comment --comment "{f"{namespace}/{name} {kind}"[:_LONGEST]}"'


def _names(rule: Rule) -> list[Ports]:
    return [ports for ports in rule.ports or () if ports.name]


def _numbers(rule: Rule) -> list[tuple[str, int, int]]:
    return [(ports.protocol, ports.first, ports.last) for ports in rule.ports or () if not ports.name]


def _elements(block: Block) -> Iterator[str]:
    """The block and its exceptions as elements of a hash:net, which takes no /0."""
    if block.net.width == 32:
        yield from (f"{each} timeout 0" for each in _halves(block.net))
        for hole in block.holes:
            yield from (f"{each} timeout 0 nomatch" for each in _halves(hole))


def _halves(net: Net) -> tuple[str, ...]:
    return (f"{ip4_text(net.net)}/{net.length}",) if net.length else ("0.0.0.0/1", "128.0.0.0/1")


def by_the_other_direction(index: PolicyIndex, packet: Packet, way: Way) -> bool:
    """Whether a policy of both directions lets a packet pass on one side by a rule that is about the other: its one chain has the rules of
    both, and pods call it without a direction."""
    pod, other = packet.source, packet.destination
    if way == "ingress":
        pod, other = other, pod
    if pod.pod is None or other.pod is None:
        return False
    opposite: Way = "egress" if way == "ingress" else "ingress"
    both = [each for each in index.selecting(pod.pod, way).own if len(each.rules) == 2 and each.subject.has(other)]
    hits = hits_of(Selecting(own=tuple(both)), pod, opposite)
    return any(has_port(hit.rule, packet) for hit in hits.own)


def by_another_blocks_exception(index: PolicyIndex, packet: Packet, way: Way) -> bool:
    """Whether an address may be left out that a rule allows: all ipBlocks of a rule are one set, in which the exception of one block is none
    of another's either."""
    pod, other = packet.source, packet.destination
    if way == "ingress":
        pod, other = other, pod
    if pod.pod is None:
        return False
    for policy in index.selecting(pod.pod, way).own:
        for rule in policy.rules[way]:
            blocks = [peer for peer in rule.peers or () if isinstance(peer, Block)]
            if len(blocks) > 1 and any(hole.has(other) for block in blocks for hole in block.holes):
                return True
    return False
