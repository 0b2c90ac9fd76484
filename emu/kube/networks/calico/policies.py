"""Policies as felix writes them: a chain for each policy and direction, sets for its peers, and the calls by tier in a pod's chains. Pure.

What the peers and ports of one rule ask for is one rule of iptables where that has room, else blocks of rules that work on mark bits. Sets
are named by a hash of the selector (`selectors.py`). Source: felix/rules/policy.go and endpoints.go, and libcalico-go's
conversion, of projectcalico/calico 87c15906. Must not know pods or nodes.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Iterator, Sequence
from hashlib import sha3_224
from itertools import groupby
from typing import NamedTuple

from emu.kube.networks.calico.chains import Lines, comment, limited
from emu.kube.networks.calico.marks import (
    ACCEPTED,
    DROPPED,
    PASSED,
    SCRATCH_0,
    SCRATCH_1,
    clear,
    jump,
    marked,
    put,
    unmarked,
)
from emu.kube.networks.calico.selectors import ALL, peer_set, peer_text, port_set, subject_text
from emu.kube.policy.groups import Group, Groups
from emu.kube.policy.rules import (
    DENY,
    PASS,
    Block,
    Domains,
    Net,
    Nets,
    Nodes,
    Peer,
    Pods,
    Policy,
    Ports,
    Rule,
    Unknown,
    Way,
)
from emu.kube.policy.verdict import Selecting
from emu.wire.addr import ip4_text

TIERS = {"Admin": "kube-admin", "": "default", "Baseline": "kube-baseline"}
SHORT = {"NetworkPolicy": "knp", "ClusterNetworkPolicy": "kcnp"}
_SLOTS = 15  # of a multiport match; a range takes two
_STRIDE = 5  # calls in a group's chain between two looks at the verdict
_RETURN = jump("RETURN")


class SetOf(NamedTuple):
    """A set: its type, and its members as `ipset add` takes them."""

    name: str
    kind: str
    members: tuple[str, ...]


class Written(NamedTuple):
    """A policy's chains by name, and its sets."""

    chains: dict[str, Lines]
    sets: tuple[SetOf, ...]


def policy_chain(policy: Policy, way: Way) -> str:
    """`cali-pi-knp/shop/web`, or a hash where that is too long."""
    middle = f"{policy.namespace}/" if policy.namespace else ""
    return limited("cali-pi-" if way == "ingress" else "cali-po-", f"{SHORT[policy.kind]}/{middle}{policy.name}")


class Draft:
    """A policy that is being written; `groups` are those that its sets depend on."""

    def __init__(self, policy: Policy, groups: Groups) -> None:
        self.policy = policy
        self._all = groups.of(Pods("", type(policy.subject.pods)(), type(policy.subject.pods)()))
        self._groups: dict[Pods, Group] = {}
        self._of = groups
        self.groups = tuple(dict.fromkeys(self._asked()))
        self._sets: dict[str, SetOf] = {}

    def _asked(self) -> Iterator[Group]:
        for rule in (rule for rules in self.policy.rules.values() for rule in rules):
            for peer in rule.peers or ():
                if isinstance(peer, Pods):
                    yield self._of.of(peer)
            if any(ports.name for ports in rule.ports or ()):
                yield self._all

    @property
    def versions(self) -> tuple[int, ...]:
        return tuple(group.version for group in self.groups)

    def written(self) -> Written:
        self._sets = {}
        chains = {}
        place = f"{self.policy.namespace}/{self.policy.name}" if self.policy.namespace else self.policy.name
        for way, rules in self.policy.rules.items():
            lines = [line for rule in rules for line in self._rule(rule, way)]
            while lines and lines[-1].endswith(_RETURN):
                lines.pop()
            title = comment(f"Kubernetes{self.policy.kind} {place} {way}")
            chains[policy_chain(self.policy, way)] = tuple([f"{title} {lines[0]}", *lines[1:]] if lines else [title])
        return Written(chains, tuple(self._sets.values()))

    def _rule(self, rule: Rule, way: Way) -> Iterator[str]:
        """One rule becomes one for each protocol and peer."""
        for protocol, ports in _by_protocol(rule):
            for peer in rule.peers or (None,):
                yield from self._one(rule.action, protocol, ports, peer, way)

    def _one(self, action: str, protocol: str, ports: list[Ports], peer: Peer | None, way: Way) -> Iterator[str]:
        side = "src" if way == "ingress" else "dst"
        option = "--source" if way == "ingress" else "--destination"
        only_names = way == "egress" and bool(ports) and all(each.name for each in ports)
        nets, holes, asked = self._addresses(peer, in_ports=only_names)
        if nets is None:
            return
        matches, block = [], list[str]()
        named = [self._named(each, peer, way) for each in ports if each.name]
        splits = [*_splits([each for each in ports if not each.name and each.first])]
        blocks = _Blocks()
        if len(splits) + len(named) > 1:
            found = [f"-p {protocol} -m multiport --destination-ports {split}" for split in splits]
            block += blocks.positive([*found, *(f"-m set --match-set {name} dst,dst" for name in named)])
            splits, named = [], []
        if len(nets) > 1:
            block += blocks.positive([f"{option} {net}" for net in nets])
            nets = []
        if len(nets) + len(holes) > 1 or (holes and not nets):
            block += blocks.negative([f"{option} {net}" for net in holes])
        if protocol:
            matches.append(f"-p {protocol}")
        sources = [f"{option} {net}" for net in nets]
        sources += [f"-m set --match-set {asked} {side}"] if asked else []
        targets = [f"-m multiport --destination-ports {split}" for split in splits]
        targets += [f"-m set --match-set {name} dst,dst" for name in named]
        matches += [*sources, *targets]
        if block:
            matches.append(marked(SCRATCH_0))
        yield from block
        yield from _acts(action, " ".join(matches))

    def _addresses(self, peer: Peer | None, *, in_ports: bool) -> tuple[list[str] | None, list[str], str]:
        """A peer's networks, exceptions and set; networks None: it has no IPv4 address. `in_ports`: the sets of its named ports have
        its addresses, so that no other set is asked."""
        if peer is None:
            return [], [], ""
        if isinstance(peer, Pods):
            if in_ports:
                return [], [], ""
            group = self._of.of(peer)
            name = peer_set(peer_text(peer))
            members = tuple(ip4_text(end.addr) for end in group.ends if end.width == 32)
            self._sets[name] = SetOf(name, "hash:net", members)
            return [], [], name
        if isinstance(peer, Block):
            if peer.net.width != 32:
                return None, [], ""
            return [_cidr(peer.net)], [_cidr(hole) for hole in peer.holes], ""
        if isinstance(peer, Nets):
            found = [_cidr(net) for net in peer.nets if net.width == 32]
            return found or None, [], ""
        if isinstance(peer, Unknown) and peer.everything:
            return [], [], ""
        return None, [], ""

    def _named(self, ports: Ports, peer: Peer | None, way: Way) -> str:
        """The set of addresses and ports that have a name: of the rule's destination, all pods where it selects none."""
        selected = way == "egress" and isinstance(peer, Pods)
        chosen = self._of.of(peer) if selected and isinstance(peer, Pods) else self._all
        text = peer_text(chosen.pods) if selected else ALL
        name = port_set(text, ports.protocol.lower(), ports.name)
        members = [
            f"{ip4_text(end.addr)},{port.protocol.lower()}:{port.number}"
            for end in chosen.ends
            if end.pod is not None and end.width == 32
            for port in ports.of(end.pod)
        ]
        self._sets[name] = SetOf(name, "hash:ip,port", tuple(dict.fromkeys(members)))
        return name


class _Blocks:
    """Blocks of rules before a rule: the bit SCRATCH_0 is set in the end if all of them matched, SCRATCH_1 is for one block."""

    def __init__(self) -> None:
        self._begun = self._positive = False

    def _begin(self, bits: int) -> list[str]:
        if self._begun:
            return []
        self._begun = True
        return [f"--jump MARK --set-mark {_hex(bits)}/{SCRATCH_0 | SCRATCH_1:#x}"]

    def positive(self, matches: Sequence[str]) -> list[str]:
        """One of these has to match."""
        lines = self._begin(0)
        bit = SCRATCH_1 if self._positive else SCRATCH_0
        lines += [f"{match} {put(bit)}" for match in matches]
        if self._positive:
            lines.append(f"{unmarked(SCRATCH_1)} {clear(SCRATCH_0)}")
        self._positive = True
        return lines

    def negative(self, matches: Sequence[str]) -> list[str]:
        """None of these may match."""
        return [*self._begin(SCRATCH_0), *(f"{match} {clear(SCRATCH_0)}" for match in matches)]


def _hex(bits: int) -> str:
    return f"{bits:#x}" if bits else "0"


def _acts(action: str, match: str) -> Iterator[str]:
    """What a rule does with a packet that it matches: it sets a mark, and by that mark leaves the chain, or drops."""
    bit, act = {DENY: (DROPPED, jump("DROP")), PASS: (PASSED, _RETURN)}.get(action, (ACCEPTED, _RETURN))
    yield f"{match} {put(bit)}".strip()
    yield f"{marked(bit)} {act}"


def _by_protocol(rule: Rule) -> list[tuple[str, list[Ports]]]:
    """The protocols of a rule by name, each with its ports: none for all of them. "" is every protocol."""
    if rule.ports is None:
        return [("", [])]
    found: dict[str, list[Ports]] = {}
    whole: set[str] = set()
    for ports in rule.ports:
        for protocol in (ports.protocol,) if ports.protocol else ("TCP", "UDP", "SCTP"):
            given = ports._replace(protocol=protocol)
            found.setdefault(protocol, []).append(given)
            if not given.name and not given.first:
                whole.add(protocol)
    return [(protocol.lower(), [] if protocol in whole else found[protocol]) for protocol in sorted(found)]


def _splits(ports: Sequence[Ports]) -> Iterator[str]:
    """Ranges that touch as one, in the order of numbers, in lists that a multiport match has room for."""
    merged: list[list[int]] = []
    for first, last in sorted((each.first, each.last) for each in ports):
        if merged and first <= merged[-1][1] + 1:
            merged[-1][1] = max(merged[-1][1], last)
        else:
            merged.append([first, last])
    words: list[str] = []
    used = 0
    for first, last in merged:
        slots = 1 if first == last else 2
        if used + slots > _SLOTS:
            yield ",".join(words)
            words, used = [], 0
        words.append(str(first) if first == last else f"{first}:{last}")
        used += slots
    if words:
        yield ",".join(words)


def _cidr(net: Net) -> str:
    return f"{ip4_text(net.net)}/{net.length}"


# -- a pod's calls ----------------------------------------------------------------------------------


def calls(selecting: Selecting, way: Way) -> tuple[Lines, dict[str, Lines]]:
    """The calls of a pod's policies, tier by tier, and the chains of groups of policies that have one selector."""
    lines: list[str] = []
    groups: dict[str, Lines] = {}
    for tier, policies in zip(TIERS.values(), selecting, strict=True):
        if not policies:
            continue
        lines.append(f"{comment(f'Start of tier {tier}')} {clear(PASSED)}")
        for _, members in groupby(policies, subject_text):
            together = [*members]
            if len(together) == 1:
                name = policy_chain(together[0], way)
            else:
                name = _group_name(together, way)
                groups[name] = _group(together, way)
            lines.append(f"{unmarked(PASSED)} {jump(name)}")
            lines.append(f"{comment('Return if policy accepted')} {marked(ACCEPTED)} {_RETURN}")
        if tier == "default":
            end = comment(f"End of tier {tier}. Drop if no policies passed packet")
            lines.append(f"{end} {unmarked(PASSED)} {jump('DROP')}")
    return tuple(lines), groups


def _group_name(policies: Sequence[Policy], way: Way) -> str:
    words = [subject_text(policies[0]), "inbound" if way == "ingress" else "outbound", str(len(policies))]
    words += [f"{{Name: {p.name}, Namespace: {p.namespace}, Kind: Kubernetes{p.kind}}}" for p in policies]
    value = sha3_224("".join(f"{word}\n" for word in words).encode()).digest()
    prefix = "cali-gi-" if way == "ingress" else "cali-go-"
    return prefix + urlsafe_b64encode(value).decode()[: 28 - len(prefix)]


def _group(policies: Sequence[Policy], way: Way) -> Lines:
    lines = []
    both = ACCEPTED | PASSED
    for number, policy in enumerate(policies):
        if number and not number % _STRIDE:
            lines.append(f"{comment('Return on verdict')} -m mark ! --mark 0/{both:#x} {_RETURN}")
        match = f"{unmarked(both)} " if number % _STRIDE else ""
        lines.append(f"{match}{jump(policy_chain(policy, way))}")
    return tuple(lines)


def unread(policy: Policy) -> str:
    """What of a policy is left out here, "" for nothing: peers that are nodes or domain names."""
    peers = (peer for rules in policy.rules.values() for rule in rules for peer in rule.peers or ())
    left_out = any(isinstance(peer, Nodes | Domains) for peer in peers)
    return "peers that are nodes or domain names are not modelled: rules are as without them" if left_out else ""
