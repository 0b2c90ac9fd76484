"""The narrowest NetworkPolicies that would allow a packet and take nothing away, as manifests; or why none can. Pure.

A side that is isolated gets a policy that selects the pods with the labels of its controller, and one rule: the other end by its namespace
and labels, or by its address, and the port. Must not know how it is printed, or who asks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from emu.kube.policy.ends import End, PodEnd, address_text
from emu.kube.policy.index import METADATA_NAME, PolicyIndex
from emu.kube.policy.rules import Way
from emu.kube.policy.verdict import Packet, Reason

TEMPLATE_HASH, REVISION_HASH, JOB_NAME = "pod-template-hash", "controller-revision-hash", "batch.kubernetes.io/job-name"
# What controllers put on each pod or on each revision: it would bind a rule to this very pod.
PER_POD = frozenset(
    (
        TEMPLATE_HASH, REVISION_HASH, "pod-template-generation", "statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index", "controller-uid", "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-completion-index",
    )
)  # fmt: skip
_LONGEST = 240
Manifest = dict[str, Any]


class Suggestion(NamedTuple):
    """`policies` allow the packet when all are applied; none with `obstacles`, the reasons why no NetworkPolicy can, and where nothing
    forbids it."""

    policies: tuple[Manifest, ...] = ()
    obstacles: tuple[str, ...] = ()


def suggest(index: PolicyIndex, packet: Packet, protocols: Sequence[str] = ()) -> Suggestion:
    """What would allow a packet; with `protocols` its port of each of these."""
    verdict = index.judge(packet)
    closed = [each for each in (verdict.egress, verdict.ingress) if not each.allowed]
    obstacles = [text for each in closed if (text := _obstacle(index, packet, each))]
    if obstacles:
        return Suggestion(obstacles=tuple(obstacles))
    return Suggestion(tuple(_policy(index, packet, each.way, protocols or (packet.protocol,)) for each in closed))


def _obstacle(index: PolicyIndex, packet: Packet, reason: Reason) -> str:
    pod = _pod(packet, reason.way)
    if reason.word == "rule":
        policy = reason.policies[0]
        denied = f"{policy} {reason.place} denies it in the {policy.tier} tier"
        if policy.tier == "Admin":
            return f"{denied}, which is asked before NetworkPolicies: none can allow it, only a rule before it in that tier"
        return (
            f"{denied}: a NetworkPolicy that selects {pod} would be asked in its place, and would isolate the pod for {reason.way}, "
            "so that all else is forbidden; an Accept rule before it in that tier takes nothing away"
        )
    if packet.protocol not in ("TCP", "UDP", "SCTP"):
        return f"a NetworkPolicy has no word for {packet.protocol}: a rule without ports would allow every port of {pod} besides"
    if _subject(index, pod, reason.way) is None:
        others = ", ".join(str(each) for each in _unbound(index, pod, dict(pod.labels), reason.way)[:3])
        return f"{pod} has no label that {others} lacks, which no policy isolates for {reason.way}: a policy that selects both would isolate it"
    return ""


def _pod(packet: Packet, way: Way) -> PodEnd:
    found = packet.source.pod if way == "egress" else packet.destination.pod
    assert found is not None  # only a pod's side is ever closed
    return found


def _labels(pod: PodEnd) -> dict[str, str]:
    """The labels of the pod's controller: those that its other pods have, too."""
    return {key: value for key, value in sorted(pod.labels.items()) if key not in PER_POD}


def _subject(index: PolicyIndex, pod: PodEnd, way: Way) -> dict[str, str] | None:
    """Labels that select the pod, and no pod that would be isolated by that alone; None: it has none such."""
    for labels in (_labels(pod), dict(sorted(pod.labels.items()))):
        if not _unbound(index, pod, labels, way):
            return labels
    return None


def _unbound(index: PolicyIndex, pod: PodEnd, labels: Mapping[str, str], way: Way) -> list[PodEnd]:
    """The pods of its namespace with these labels that no NetworkPolicy isolates yet."""
    found = (end.pod for end in index.pods if end.pod is not None and end.pod.namespace == pod.namespace)
    alike = (each for each in found if labels.items() <= each.labels.items())
    return [each for each in alike if not index.selecting(each, way).own]


def _policy(index: PolicyIndex, packet: Packet, way: Way, protocols: Sequence[str]) -> Manifest:
    pod, other = _pod(packet, way), packet.source if way == "ingress" else packet.destination
    ports: list[dict[str, Any]] = [
        {"port": packet.port} if each == "TCP" else {"protocol": each, "port": packet.port} for each in protocols
    ]
    rule = {"from" if way == "ingress" else "to": [_peer(pod, other)], "ports": ports}
    spec: dict[str, Any] = {"podSelector": _selector(_subject(index, pod, way) or {})}
    if way == "egress":
        spec["policyTypes"] = ["Egress"]
    spec[way] = [rule]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": _name(index, packet, pod.namespace, way), "namespace": pod.namespace},
        "spec": spec,
    }


def _selector(labels: Mapping[str, str]) -> dict[str, Any]:
    return {"matchLabels": dict(labels)} if labels else {}


def _peer(pod: PodEnd, other: End) -> dict[str, Any]:
    if other.pod is None:
        return {"ipBlock": {"cidr": f"{address_text(other.addr, other.width)}/{other.width}"}}
    space = (
        {"namespaceSelector": _selector({METADATA_NAME: other.pod.namespace})}
        if other.pod.namespace != pod.namespace
        else {}
    )
    return space | {"podSelector": _selector(_labels(other.pod))}


def _workload(pod: PodEnd) -> str:
    """The pod's name without what its controllers put behind their own: `web-7d4b9c-x2kqp` of a Deployment is `web`."""
    template = pod.labels.get(TEMPLATE_HASH, "")
    if template and f"-{template}-" in pod.name:
        return pod.name[: pod.name.rindex(f"-{template}-")]
    generated = REVISION_HASH in pod.labels or JOB_NAME in pod.labels  # one part behind the owner's name
    return pod.name.rpartition("-")[0] if generated and "-" in pod.name else pod.name


def _name(index: PolicyIndex, packet: Packet, namespace: str, way: Way) -> str:
    """A name that no policy of the namespace has."""
    ends = [_workload(end.pod) if end.pod is not None else str(end) for end in (packet.source, packet.destination)]
    side = "from" if way == "ingress" else "to"
    other = ends[0] if way == "ingress" else ends[1]
    name = f"allow-{side}-{other}-{packet.port}".replace(":", "-")[:_LONGEST].strip("-.").lower()
    taken = {policy.name for policy in index.policies if policy.namespace == namespace}
    return next(each for each in (name, *(f"{name}-{n}" for n in range(2, len(taken) + 3))) if each not in taken)
