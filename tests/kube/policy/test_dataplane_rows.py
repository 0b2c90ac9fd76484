"""What policies do to packets, a row for each dataplane: replies, changes under a connection, nodes, hostNetwork, hairpins, NodePorts.

A cell is an outcome; where dataplanes differ, the reason stands beside the row.
"""

from __future__ import annotations

import pytest

import emu
from emu.kube.api.loader import load_text
from emu.kube.plan import HostConfig
from emu.kube.underlay.shape import LanSettings, NicSettings
from emu.trail import Forbidden
from policy_packets import UNDERLAYS

NETWORKS = {"kube-router": "bridge", "calico": "calico", "kindnet": "kindnet", "aws-network-policy-agent": "aws-vpc"}
DATAPLANES = tuple(NETWORKS)
OUTSIDE = "198.18.0.9"


def pod(name: str, node: str, *, host: bool = False) -> str:
    port = 9090 if host else 8080
    return (
        f"{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, labels: {{app: {name}}}}}, spec: {{nodeName: {node}, "
        f"hostNetwork: {str(host).lower()}, containers: [{{name: c, ports: [{{containerPort: {port}}}, "
        f"{{containerPort: {port}, protocol: UDP}}]}}]}}}}"
    )


def service(name: str, number: int, policy: str = "Cluster") -> str:
    return (
        f"{{apiVersion: v1, kind: Service, metadata: {{name: {name}}}, spec: {{type: NodePort, clusterIP: 10.96.0.{number}, "
        f"externalTrafficPolicy: {policy}, selector: {{app: db}}, ports: [{{port: 80, targetPort: 8080, nodePort: 300{number}}}]}}}}"
    )


OBJECTS = "\n---\n".join(
    (
        pod("web", "node-1"), pod("db", "node-1"), pod("far", "node-2"), pod("host", "node-1", host=True),
        service("db", 80), service("local", 81, "Local"),
    )
)  # fmt: skip


def policy(spec: str, name: str = "p") -> str:
    return f"{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{name: {name}}}, spec: {spec}}}"


CLOSED = policy("{podSelector: {matchLabels: {app: db}}, policyTypes: [Ingress]}")
MUTE = policy("{podSelector: {matchLabels: {app: db}}, policyTypes: [Egress]}", "mute")
FROM_WEB = policy(
    "{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]}"
)
TO_DB = policy(
    "{podSelector: {matchLabels: {app: far}}, policyTypes: [Egress], egress: [{to: [{podSelector: {matchLabels: {app: db}}}], ports: [{port: 8080}]}]}"
)
FROM_OUTSIDE = policy(
    f"{{podSelector: {{matchLabels: {{app: db}}}}, ingress: [{{from: [{{ipBlock: {{cidr: {OUTSIDE}/32}}}}]}}]}}"
)
TO_CLUSTER_IPS = policy(
    "{podSelector: {matchLabels: {app: far}}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 10.96.0.0/12}}]}]}"
)


def cluster(dataplane: str, *manifests: str) -> emu.Cluster:
    """Two nodes on one subnet, a host outside of the cluster on another; in a VPC both are the VPC's."""
    network = NETWORKS[dataplane]
    last = 1 if network == "aws-vpc" else 254
    config = emu.ClusterConfig.of(
        2,
        network=network,
        policy=dataplane,
        underlay=UNDERLAYS.get(network, "routed"),
        hairpin=network == "bridge",
        lans=(
            LanSettings("nodes", "172.31.7.0/24", gateway=f"172.31.7.{last}"),
            LanSettings("elsewhere", "198.18.0.0/24", gateway=f"198.18.0.{last}"),
        ),
        external=(HostConfig("external", NicSettings(lan="elsewhere", address=f"{OUTSIDE}/24")),),
    )
    return emu.Cluster(config, load_text("\n---\n".join((OBJECTS, *manifests))).objects)


# the outcomes for kube-router, Calico, kindnet and the VPC CNI's agent; one word: the same for all
Row = tuple[str, str, str, str, str]
SHUT = "rejected dropped dropped dropped"  # REJECT, and three that DROP
OPEN = "delivered"
ROWS: tuple[Row, ...] = (
    ("a pod of the node", CLOSED, "web", "db", SHUT),
    ("a pod of another node", CLOSED, "far", "db", SHUT),
    ("the answers to what a closed pod asks", CLOSED, "db", "web", OPEN),
    ("egress, to the same node", MUTE, "db", "web", SHUT),
    ("egress, to another node", MUTE, "db", "far", SHUT),
    ("the answers of a mute pod", MUTE, "web", "db", OPEN),
    ("a peer", FROM_WEB, "web", "db", OPEN),
    ("no peer", FROM_WEB, "far", "db", SHUT),
    ("the pod's own node", CLOSED, "node/node-1", "db", OPEN),
    ("another node", CLOSED, "node/node-2", "db", SHUT),
    ("a hostNetwork pod of the own node", CLOSED, "host", "db", OPEN),
    # the map of the VPC CNI's agent always has the node's own address, in egress, too
    ("egress to the own node", MUTE, "db", "node/node-1:9090", "rejected dropped dropped delivered"),
    ("a Service of a peer", TO_DB, "far", "svc/db:80", OPEN),
    # all but the VPC CNI's agent see the endpoint's address
    ("a block of ClusterIPs", TO_CLUSTER_IPS, "far", "svc/db:80", "rejected dropped dropped delivered"),
    # kube-router marks what an open egress lets out in the same chain; behind SNAT, the VPC CNI's agent sees the node
    ("a hairpin, ingress closed", CLOSED, "db", "svc/db:80", "delivered dropped dropped delivered"),
    ("a hairpin, egress closed", MUTE, "db", "svc/db:80", "delivered dropped dropped dropped"),
    # on the pod's own node a NodePort's packet has the node's address where the VPC CNI's agent sees it
    ("a NodePort, Cluster, of the pod's node", CLOSED, "external", "node/node-1:30080", "rejected dropped dropped delivered"),
    ("a NodePort, Cluster, of another node", CLOSED, "external", "node/node-2:30080", SHUT),
    ("a NodePort, Local", CLOSED, "external", "node/node-1:30081", SHUT),
    ("a NodePort, Cluster, the client allowed", FROM_OUTSIDE, "external", "node/node-1:30080", OPEN),
    ("the same by another node, whose address it has", FROM_OUTSIDE, "external", "node/node-2:30080", SHUT),
    ("a NodePort, Local, the client allowed", FROM_OUTSIDE, "external", "node/node-1:30081", OPEN),
)  # fmt: skip


def word(cell: str, dataplane: str) -> str:
    words = cell.split()
    return words[DATAPLANES.index(dataplane)] if len(words) > 1 else cell


def end(name: str) -> str:
    return name if "/" in name or name == "external" else f"default/{name}"


@pytest.mark.parametrize("dataplane", DATAPLANES)
@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_where_packets_meet_policies(row: Row, dataplane: str) -> None:
    _, manifest, source, to, outcomes = row
    made = cluster(dataplane, manifest)
    flow = made.tcp(end(source), to if "/" in to else f"default/{to}:8080", b"x", timeout_s=1)
    assert flow.outcome.word == word(outcomes, dataplane)
    forbidden = [entry for frame in flow.frames for entry in frame.trail if isinstance(entry, Forbidden)]
    assert bool(forbidden) is not flow.delivered, "the frame that dies carries the policy"


@pytest.mark.parametrize("dataplane", DATAPLANES)
def test_datagrams_and_their_answers(dataplane: str) -> None:
    made = cluster(dataplane, FROM_WEB)
    assert made.udp("default/web", "default/db:8080").delivered
    assert made.udp("default/far", "default/db:8080", timeout_s=1).outcome.word == word(SHUT, dataplane)
    assert made.udp("default/db", "default/far:8080").delivered


@pytest.mark.parametrize("dataplane", DATAPLANES)
def test_ping(dataplane: str) -> None:
    """kube-router lets echo requests pass what is closed."""
    flow = cluster(dataplane, CLOSED).ping("default/far", "default/db", timeout_s=1)
    assert flow.outcome.word == ("delivered" if dataplane == "kube-router" else "dropped")


@pytest.mark.parametrize("dataplane", DATAPLANES)
def test_a_connection_under_the_first_policy_of_its_pod(dataplane: str) -> None:
    """The agent of the VPC CNI judges anew what was made in another state of the pod; the others leave it."""
    made = cluster(dataplane)
    flow = made.tcp("default/web", "default/db:8080", b"x", close=False)
    made.apply(CLOSED)
    assert made.more(flow, b"y", close=False, timeout_s=1).delivered is (dataplane != "aws-network-policy-agent")
    assert made.tcp("default/web", "default/db:8080", b"x", timeout_s=1).outcome.word == word(SHUT, dataplane)


@pytest.mark.parametrize("dataplane", DATAPLANES)
def test_a_connection_under_a_further_policy_of_its_pod(dataplane: str) -> None:
    """No dataplane cuts it."""
    made = cluster(dataplane, FROM_WEB)
    flow = made.tcp("default/web", "default/db:8080", b"x", close=False)
    made.apply(CLOSED)
    assert made.more(flow, b"y").delivered
    assert made.tcp("default/web", "default/db:8080", b"x", timeout_s=1).outcome.word == word(SHUT, dataplane)
    made.delete("networkpolicy", "default", "p")
    assert made.tcp("default/far", "default/db:8080", b"x").delivered


@pytest.mark.parametrize("dataplane", [each for each in DATAPLANES if each != "calico"])
def test_kinds_that_a_dataplane_does_not_know_are_a_warning_each(dataplane: str) -> None:
    spec = "{tier: Admin, priority: 1, subject: {namespaces: {}}, ingress: [{action: Deny, from: [{namespaces: {}}]}]}"
    newer = f"{{apiVersion: policy.networking.k8s.io/v1alpha2, kind: ClusterNetworkPolicy, metadata: {{name: c}}, spec: {spec}}}"
    older = "{apiVersion: policy.networking.k8s.io/v1alpha1, kind: AdminNetworkPolicy, metadata: {name: a}, spec: {priority: 1, subject: {namespaces: {}}}}"
    made = cluster(dataplane, newer, older)
    assert made.warnings == [
        f"clusternetworkpolicy/c: {dataplane} enforces no ClusterNetworkPolicy, so that it has no effect",
        f"adminnetworkpolicy/a: {dataplane} enforces no AdminNetworkPolicy, so that it has no effect",
    ]
    assert made.tcp("default/web", "default/db:8080", b"x").delivered
