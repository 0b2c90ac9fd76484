"""Nodes that agree hold one set of rules, and it stays one when objects change: memory does not grow with nodes squared."""

from __future__ import annotations

import pytest

from agents_of import proxiers
from emu.kube.api.loader import load_text
from emu.kube.cluster import Cluster, ClusterConfig

TABLES = ("nat", "filter", "mangle")
WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {terminationGracePeriodSeconds: 1, containers: [{name: c, ports: [{containerPort: 8080}]}]}
"""
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: NAME}
spec: {type: NodePort, selector: {app: web}, ports: [{port: 80, targetPort: 8080, nodePort: PORT}] MORE}
"""

OWN = """{"cniVersion": "1.0.0", "name": "own", "plugins": [{"type": "bridge", "isGateway": true,
  "ipam": {"type": "host-local", "ranges": [[{"subnet": "{{.PodCIDR}}"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}"""


def service(name: str, port: int, more: str = "") -> str:
    return SERVICE.replace("NAME", name).replace("PORT", str(port)).replace("MORE", more and f", {more}")


def distinct(cluster: Cluster) -> list[int]:
    """How many different chain maps the nodes hold, table by table."""
    return [len({id(n.net.ipv4.tables.ruleset.tables[table]) for n in cluster.nodes.values()}) for table in TABLES]


@pytest.mark.parametrize("network", ["bridge", "flat", OWN], ids=["bridge", "flat", "a conflist, no rules"])
def test_nodes_that_agree_share_their_tables_at_the_start_and_after_changes(network: str) -> None:
    objects = load_text(WEB + "---" + service("web", 30080)).objects
    cluster = Cluster(ClusterConfig.of(4, network=network), objects, capture=False)
    assert distinct(cluster) == [1, 1, 1]
    before = [proxier.syncs for proxier in proxiers(cluster)]
    cluster.scale("deployment", "default", "web", 4)
    assert distinct(cluster) == [1, 1, 1]
    victim = next(name for name in cluster.pods if "/web" in name)
    cluster.delete("pod", *victim.split("/"))
    assert distinct(cluster) == [1, 1, 1]
    cluster.apply(load_text(service("more", 30081)).objects[0])
    assert distinct(cluster) == [1, 1, 1]
    assert all(now > then for now, then in zip((p.syncs for p in proxiers(cluster)), before, strict=True))
    assert "30081" in cluster.nodes["node-4"].net.ipv4.tables.save()


def test_nodes_that_differ_share_what_they_agree_on() -> None:
    """A Service of policy Local has chains of its own on each node; the chains of another Service are shared."""
    text = WEB + "---" + service("web", 30080) + "---" + service("local", 30081, "externalTrafficPolicy: Local")
    cluster = Cluster(ClusterConfig.of(4), load_text(text).objects, capture=False)
    assert distinct(cluster)[0] > 1
    nats = [node.net.ipv4.tables.ruleset.tables["nat"] for node in cluster.nodes.values()]
    ours = {id(chain) for chain in nats[0].values()}
    shared = [sum(id(chain) in ours for chain in nat.values()) / len(nat) for nat in nats[1:]]
    assert min(shared) > 0.3
