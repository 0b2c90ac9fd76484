"""Every case of the shared folder by packets: each dataplane does what the matrix states, but for what is listed here.

Skipped where the folder is absent; what is listed is how a dataplane's own rules read, and not how emu walks them.
"""

from __future__ import annotations

import pytest

from policy_cases import Case, World, cases, cells
from policy_packets import POD_BLOCK, Caller, buildable, change, cluster_of

pytestmark = pytest.mark.skipif(not cases(), reason="no shared cases of network policies")

ANY_NAME = "a port name in an ingress rule is, for each pod, every number that one of the rule's pods gives it"
# by dataplane and the beginning of a case's name: why some cells come out the other way, and which
OWN: dict[str, dict[str, tuple[str, set[str]]]] = {
    "kube-router": {
        "a-name-under-the-wrong-protocol": (
            "of a port name that no pod has, the rule's pods are allowed on every port",
            {"hall/b -> hall/a 8956/SCTP", "hall/b -> hall/a 8956/UDP", "hall/b -> hall/a 3535/UDP"},
        ),
        "out-by-name-http": (
            "a port name in an egress rule without `to` is its number at any address",
            {"left/a -> out/visitor 80/TCP"},
        ),
        "target-every": (
            "a policy of both directions has one chain: an ingress rule marks what leaves its pods, too",
            {"mill/two -> mill/one 4080/TCP", "mill/two -> mill/tri 4080/TCP", "mill/tri -> mill/one 4080/TCP", "mill/tri -> mill/two 4080/TCP"},
        ),
        "two-peers-out-8-9": (
            "a port name beside an ipBlock in an egress rule is left out",
            {"mill/one -> mill/two 4080/TCP", "mill/one -> dock/one 4080/TCP"},
        ),
    },
    "calico": {},
    "kindnet": {},
    "aws-network-policy-agent": {
        "calls-to-hostnetwork-pods": (
            "the controller takes hostNetwork pods as peers, with their nodes' addresses",
            {"shop/web -> infra/agent 8080/TCP", "shop/web -> infra/agent-2 8080/TCP"},
        ),
        "calls-to-nodes-by-block": (
            "the map of each direction has the pod's own node: egress to it is open",
            {"shop/web -> node/node-1 22/TCP"},
        ),
        "nodeport-cluster-near-and-far": (
            "the programs see packets after SNAT: by a NodePort of the pod's own node, it is the node that calls",
            {"out/visitor -> node/node-2 30080/TCP"},
        ),
        "out-by-name-http": (
            "a port name in an egress rule without `to` allows nothing",
            {"left/a -> right/b 80/TCP", "left/a -> right/d 80/TCP", "left/a -> fence/c 80/TCP"},
        ),
        "service-target-by-name": (ANY_NAME, {"shop/web -> shop/b 8080/TCP", "shop/web -> shop/a 9090/TCP"}),
        "three-names": (
            ANY_NAME,
            {
                f"{source} -> names/panel {port}"
                for source in ("names/resolver", "apps/caller", "out/visitor")
                for port in ("10530/TCP", "10530/UDP", "10540/TCP")
            },
        ),
    },
}  # fmt: skip
NETWORK = {"kube-router": "bridge", "calico": "calico", "kindnet": "kindnet", "aws-network-policy-agent": "aws-vpc"}


def left_out(dataplane: str, case: Case) -> bool:
    """Whether a case is not for a dataplane: it knows no such policies, or has other addresses than the case's blocks mean."""
    text = repr(case.value)
    if dataplane != "calico" and "ClusterNetworkPolicy" in text:
        return True
    if dataplane in ("kube-router", "kindnet"):
        return False
    if dataplane == "aws-network-policy-agent" and any(addr.endswith(".1") for addr, _ in case.outside().values()):
        return True  # a VPC's router has that address
    return (dataplane != "calico" and bool(POD_BLOCK.search(text))) or "'nodes': {" in text or "domainNames" in text


def cases_of(dataplane: str) -> list[Case]:
    """The cases whose addresses a cluster can have and whose policies the dataplane knows."""
    return [each for each in cases() if each.steps and not buildable(each) and not left_out(dataplane, each)]


def test_most_cases_are_judged() -> None:
    counted = {each: len(cases_of(each)) for each in NETWORK}
    least = {"kube-router": 117, "calico": 145, "kindnet": 117, "aws-network-policy-agent": 108}
    assert all(counted[each] >= least[each] for each in NETWORK), counted


@pytest.mark.parametrize(
    ("dataplane", "case"),
    [pytest.param(each, case, id=f"{each}-{case.name}") for each in NETWORK for case in cases_of(each)],
)
def test_the_packets_of_every_cell(dataplane: str, case: Case) -> None:
    world = World(case)
    cluster = cluster_of(case, world, NETWORK[dataplane], dataplane)
    wrong: set[str] = set()
    for step in case.steps:
        for each in step.get("do", ()):
            change(cluster, *world.act(each))
        caller = Caller(cluster, world.objects)
        for cell in cells(step["matrix"]):
            if cell.wanted != "-" and caller.call(cell) != cell.wanted:
                wrong.add(str(cell))
    why, otherwise = next((OWN[dataplane][each] for each in OWN[dataplane] if case.name.startswith(each)), ("", set()))
    assert wrong == otherwise, why or case.name
