"""What policies have to do with a flow, besides the cause: remarks, one sentence each, about what people get wrong.

Of a flow that arrives: why a policy that was meant to stop it does not. Of one that is forbidden: the rules that nearly allow it, and how
it is refused. Must not know how a flow is run.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from emu.kube.api.networking import NetworkPolicy
from emu.kube.policy.ends import PodEnd, pod_end
from emu.kube.policy.follow import index_of
from emu.kube.policy.index import METADATA_NAME, PolicyIndex
from emu.kube.policy.near import Meant, near
from emu.kube.policy.rules import Pods, Policy, Way
from emu.kube.policy.used import masqueraded
from emu.kube.policy.verdict import Packet, Reason, Verdict
from emu.why.case import Case
from emu.wire.addr import ip4

_ANY_PORT = 40000  # of a client: where an answer goes to


class Judged(NamedTuple):
    """A flow's first packet as policies saw it, and what they decide about it. `source` is the sender's own address."""

    known: PolicyIndex
    packet: Packet
    verdict: Verdict
    source: int


def judged(case: Case, addr: int, protocol: str, port: int) -> Judged:
    """The client's packet to an address and port behind DNAT. With a node's address as its source, where another node than the pod's own has
    masqueraded it: that is what the rules on the pod's node see."""
    index = index_of(case.store)
    source = next((each.addr for each in case.flow.client.addresses if each.device.name != "lo"), 0)
    name = {"PING": "ICMP"}.get(protocol, protocol)
    packet = Packet(index.end(source), index.end(addr), name, 0 if name == "ICMP" else port)
    for nat in case.flow.translations:
        if nat.kind == "SNAT":
            packet = masqueraded(index, packet, nat.after[0])
    return Judged(index, packet, index.judge(packet), source)


def of_flow(case: Case) -> Judged | None:
    """As `judged`, of the flow that decides; None where no packet was sent to an address."""
    address, port = case.reached
    kind = case.flow.kind.upper()
    if not case.flow.target.addr or kind not in ("TCP", "UDP", "PING"):
        return None
    return judged(case, ip4(address), kind, port)


def remarks(case: Case) -> tuple[str, ...]:
    """The sentences about a flow, none where no policy selects one of its ends."""
    if not case.store.list(NetworkPolicy):
        return ()
    found = of_flow(case)
    if found is None:
        return ()
    if case.word == "delivered":
        return tuple(dict.fromkeys((*_unheeded(case, found), *_passing(case, found))))
    if found.verdict.allowed or not case.policed:
        return ()
    return tuple(dict.fromkeys((*_nearly(case, found), *_refusal(case))))


def _unheeded(case: Case, found: Judged) -> Iterator[str]:
    """Policies forbid it, and it arrives all the same."""
    if found.verdict.allowed:
        return
    reason = found.verdict.deciding
    if not case.policed:
        yield f"the {reason.way} of {_pod(found, reason)} is {reason}; but nothing in this network enforces policies, so they have no effect"
        return
    one, other = found.packet.source.pod, found.packet.destination.pod
    if one is None or other is None or one.node != other.node:
        return
    net = case.places.nodes[one.node].net if one.node in case.places.nodes else None
    if net is not None and not net.bridge_nf_call_iptables:
        yield (
            f"the {reason.way} of {_pod(found, reason)} is {reason}; but net.bridge.bridge-nf-call-iptables is 0 on {one.node}: "
            "frames between two ports of its bridge meet no iptables rule, and so no policy"
        )


def _pod(found: Judged, reason: Reason) -> str:
    return str(found.packet.source if reason.way == "egress" else found.packet.destination)


def _passing(case: Case, found: Judged) -> Iterator[str]:
    """Policies select an end, and the flow passes by what they do not bind."""
    index, packet, verdict, _ = found
    sender, receiver = packet.source.pod, packet.destination.pod
    if sender is not None and verdict.egress.word == "not isolated":
        for policy in index.selecting(sender, "ingress").own:
            yield _one_way(case, policy, sender)
    if receiver is not None and verdict.ingress.word == "own node" and _isolating(index, receiver, "ingress"):
        name = _isolating(index, receiver, "ingress")[0].name
        yield f"{receiver.node} is the own node of {receiver}: its packets, such as the kubelet's probes, are allowed whatever {receiver.namespace}/{name} states"
    yield from _either(verdict.egress)
    yield from _either(verdict.ingress)
    back = index.judge(Packet(packet.destination, packet.source, packet.protocol, _ANY_PORT))
    if verdict.allowed and not back.allowed and packet.protocol != "ICMP":
        yield f"the answers of {packet.destination} need no rule: they belong to the connection (its own call to {packet.source} would be forbidden: {back.deciding})"


def _isolating(index: PolicyIndex, pod: PodEnd, way: Way) -> tuple[Policy, ...]:
    return index.selecting(pod, way).own


def _one_way(case: Case, policy: Policy, sender: PodEnd) -> str:
    """A policy that isolates the sender for ingress alone."""
    name = f"{policy.namespace}/{policy.name}"
    obj = case.store.get(NetworkPolicy, policy.namespace, policy.name)
    if obj is not None and not obj.spec.policy_types:
        return f"{name} has no policyTypes, and no rule of egress: it is for Ingress alone, so that {sender} may send anything; policyTypes with Egress would bind it"
    return f"{name} isolates {sender} for Ingress alone: what the pod sends is not bound by it"


def _either(reason: Reason) -> Iterator[str]:
    """Two items of one rule, each with one selector: one of them is enough."""
    peers = reason.rule.peers if reason.rule is not None else None
    pods = [(number, peer) for number, peer in enumerate(peers or ()) if isinstance(peer, Pods)]
    spaces = [number for number, peer in pods if not peer.namespace and peer.pods.empty]
    own = [number for number, peer in pods if peer.namespace]
    if not spaces or not own or reason.peer not in (*spaces, *own):
        return
    side = "from" if reason.way == "ingress" else "to"
    policy = reason.policies[0]
    yield (
        f"{side}[{reason.peer}] of {reason.way}[{reason.rule.number if reason.rule is not None else 0}] of {policy.namespace}/{policy.name} is enough: "
        f"its {len(pods)} items are alternatives; a namespaceSelector and a podSelector that must both hold stand in one item, without a dash between them"
    )


def _nearly(case: Case, found: Judged) -> Iterator[str]:
    asked, flow = case.flow.target, case.flow
    source = found.source if found.packet.source.addr != found.source else 0
    client = case.client
    host = None
    if client is not None and client.spec.host_network:
        space = next(
            (each for each in found.known.pods if each.pod is not None and each.pod.namespace == client.namespace), None
        )
        labels = (
            space.pod.namespace_labels
            if space is not None and space.pod is not None
            else {METADATA_NAME: client.namespace}
        )
        host = pod_end(client, labels)
    translated = any(nat.kind == "DNAT" for nat in flow.translations)
    meant = Meant(asked.addr if translated else 0, asked.port if translated else 0, source, host)
    yield from near(found.verdict.deciding, found.packet, meant)


def _refusal(case: Case) -> Iterator[str]:
    """How the dataplane refuses, and what it does not touch."""
    dataplane = case.places.policy
    if dataplane is None or case.word not in ("rejected", "dropped", "timeout"):
        return
    if case.word == "rejected":
        yield f"{dataplane.name} refuses with an ICMP error (REJECT), so that the client fails at once"
    else:
        yield f"{dataplane.name} drops without an answer (DROP), so that the client waits until its patience ends"
    yield "this is about a new connection: one that was open when the policy came goes on"
