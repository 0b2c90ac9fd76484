"""The rules that nearly allow a packet, and what each lacks: one sentence for a rule, in the words of policies. Pure.

A rule is near if it has the packet's port and not its peer, or its peer and not its port. Must not know who asks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from emu.kube.api.meta import LabelSelector
from emu.kube.policy.ends import End, PodEnd, address_text
from emu.kube.policy.rules import Block, Net, Pods, Policy, Ports, Rule, Way
from emu.kube.policy.verdict import Packet, Reason, has_port


class Meant(NamedTuple):
    """What the sender meant before NAT: the `address` and `port` that it asked for (0: the same), its own `source` where a node has put its
    address there (0: none has), and the `host` pod that sends from its node's network."""

    address: int = 0
    port: int = 0
    source: int = 0
    host: PodEnd | None = None


def near(reason: Reason, packet: Packet, meant: Meant) -> Iterator[str]:
    """Why the rules of the policies that isolate a pod do not allow a packet: those that nearly do."""
    if reason.word != "isolated":
        return
    other = packet.source if reason.way == "ingress" else packet.destination
    for policy in reason.policies:
        for rule in policy.rules[reason.way]:
            place = f"{reason.way}[{rule.number}] of {policy.namespace}/{policy.name}"
            peers = rule.peers is None or any(peer.has(other) for peer in rule.peers)
            if peers and rule.ports is not None:
                yield from _ports(place, rule.ports, packet, meant)
            elif not peers and has_port(rule, packet):
                yield from _peers(place, policy, rule, reason.way, packet, meant)


def _ports(place: str, ports: tuple[Ports, ...], packet: Packet, meant: Meant) -> Iterator[str]:
    asked = f"{packet.protocol}/{packet.port}"
    for each in ports:
        if each.name:
            pod = packet.destination.pod
            numbers = each.of(pod) if pod is not None else []
            there = ", ".join(str(one.number) for one in numbers)
            what = f"is {there} in {pod}" if numbers else "no container port of the destination has"
            yield f"{place} allows the port that is called {each.name}, which {what}; the packet is to {packet.port}"
        elif each.protocol != packet.protocol and each.protocol and each.first <= packet.port <= each.last:
            yield f"{place} allows {each.protocol} {_range(each)}, and the packet is {packet.protocol}: each protocol needs an entry of its own"
        elif meant.port != packet.port and each.has(packet.protocol, meant.port, packet.destination):
            yield f"{place} allows port {meant.port}, which is the Service's: a policy sees the packet behind DNAT, and its port is {packet.port}, the targetPort"
        else:
            yield f"{place} allows {each.protocol} {_range(each)} only, and the packet is {asked}"


def _range(ports: Ports) -> str:
    return str(ports.first) if ports.first == ports.last else f"{ports.first}-{ports.last}"


def _peers(place: str, policy: Policy, rule: Rule, way: Way, packet: Packet, meant: Meant) -> Iterator[str]:
    other = packet.source if way == "ingress" else packet.destination
    side = "from" if way == "ingress" else "to"
    for number, peer in enumerate(rule.peers or ()):
        at = f"{side}[{number}] of {place}"
        if isinstance(peer, Pods):
            yield from _pods(at, peer, other, way, meant)
        elif isinstance(peer, Block):
            yield from _block(at, peer, other, way, meant)


def _pods(at: str, peer: Pods, other: End, way: Way, meant: Meant) -> Iterator[str]:
    pod = other.pod
    if pod is None:
        if way == "ingress" and meant.host is not None and peer.selects(meant.host):
            yield f"{at} selects {meant.host} by its labels, and it has hostNetwork: its packets have the address of its node, which only an ipBlock means"
        return
    if peer.namespace:
        if pod.namespace != peer.namespace and peer.pods.matches(pod.labels):
            yield f"{at} has a podSelector alone: it means pods of the policy's own namespace {peer.namespace}, and {pod} is in {pod.namespace}"
        return
    spaces, pods = peer.namespaces.matches(pod.namespace_labels), peer.pods.matches(pod.labels)
    if spaces != pods and _asks(peer.namespaces) and _asks(peer.pods):
        has, lacks = ("namespaceSelector", "podSelector") if spaces else ("podSelector", "namespaceSelector")
        yield f"{at} is one item with two selectors, and both must hold: {pod} meets its {has}, and not its {lacks}"


def _asks(selector: LabelSelector) -> bool:
    return not selector.empty


def _block(at: str, peer: Block, other: End, way: Way, meant: Meant) -> Iterator[str]:
    addr = address_text(other.addr, other.width)
    hole = next((hole for hole in peer.holes if hole.has(other)), None)
    if hole is not None:
        yield f"except {_text(hole)} in {at} leaves out {addr}: nothing in that item takes it back, another item may"
    elif way == "egress" and meant.address and peer.has(End(meant.address)):
        asked = address_text(meant.address, 32)
        yield f"{at} has {asked}, which is a Service's: a policy sees the packet behind DNAT, and its destination is {addr}"
    elif way == "ingress" and meant.source and peer.has(End(meant.source)):
        client = address_text(meant.source, 32)
        yield f"{at} has the client's address {client}, and the packet comes from {addr}: a node has masqueraded it on its way (externalTrafficPolicy Local keeps the client's)"


def _text(net: Net) -> str:
    return f"{address_text(net.net, net.width)}/{net.length}"
