"""Nodes that agree hold one set of rules, and it stays one when objects change: memory does not grow with nodes squared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from agents_of import proxiers
from emu.kernel.netfilter.table import RuleSet, Shared, Tables
from emu.kube.api.loader import load_text
from emu.kube.cluster import Cluster, ClusterConfig
from emu.kube.proxy.iptables import restore
from emu.kube.proxy.iptables.mode import Iptables

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


def on(cluster: Cluster, app: str) -> set[str]:
    return {sandbox.node.name for name, sandbox in cluster.pods.items() if f"/{app}" in name}


@pytest.mark.parametrize(
    "more", ["externalTrafficPolicy: Local", "internalTrafficPolicy: Local"], ids=["external", "internal"]
)
def test_nodes_that_choose_the_same_endpoints_share_their_tables(more: str) -> None:
    """With policy Local each node that has an endpoint differs from all others; those without one agree. The rules that
    only differed in what is gone are one again."""
    text = WEB + "---" + service("web", 30080) + "---" + service("local", 30081, more)
    cluster = Cluster(ClusterConfig.of(8), load_text(text).objects, capture=False)
    here = on(cluster, "web")
    assert len(here) == 3 and distinct(cluster)[0] == 4
    cluster.scale("deployment", "default", "web", 2)
    assert len(on(cluster, "web")) == 2 and distinct(cluster)[0] == 3
    cluster.scale("deployment", "default", "web", 6)
    assert len(on(cluster, "web")) == 6 and distinct(cluster)[0] == 7
    cluster.apply(load_text(service("local", 30081)).objects[0])
    assert distinct(cluster) == [1, 1, 1]
    assert all(state is proxiers(cluster)[0].state for state in (each.state for each in proxiers(cluster)))


def test_a_node_with_rules_of_its_own_syncs_alone_and_the_others_together() -> None:
    objects = load_text(WEB + "---" + service("web", 30080)).objects
    cluster = Cluster(ClusterConfig.of(4), objects, capture=False)
    own = "-A FORWARD -p tcp -m tcp --dport 7 -j DROP"
    cluster.nodes["node-2"].net.ipv4.tables.restore(f"*filter\n{own}\nCOMMIT\n", noflush=True)
    cluster.nodes["node-3"].net.ipv4.tables.restore("*nat\nCOMMIT\n*filter\nCOMMIT\n*mangle\nCOMMIT\n")
    cluster.apply(load_text(service("more", 30081)).objects[0])
    saved = [node.net.ipv4.tables.save() for node in cluster.nodes.values()]
    assert saved[0] == saved[3] != saved[1] and own in saved[1]
    assert saved[1].replace(f"{own}\n", "") == saved[0]
    cluster.wait(32)  # the canary of the third node is gone: it is written anew
    assert [each.full_syncs for each in proxiers(cluster)] == [1, 1, 2, 1]
    assert cluster.nodes["node-3"].net.ipv4.tables.save().count("30081") == saved[0].count("30081")
    cluster.scale("deployment", "default", "web", 4)
    tables = [node.net.ipv4.tables.ruleset.tables["nat"] for node in cluster.nodes.values()]
    assert tables[0] is tables[3] and own in cluster.nodes["node-2"].net.ipv4.tables.save()


def test_a_sync_of_nodes_that_agree_is_one_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiling, a restore and the look for stale entries are done once, not once a node."""
    counts: Counter[str] = Counter()

    def counted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            counts[name] += 1
            return function(*arguments, **keywords)

        return call

    monkeypatch.setattr(Iptables, "compile", counted("compile", Iptables.compile))
    monkeypatch.setattr(Iptables, "apply", counted("apply", Iptables.apply))
    monkeypatch.setattr(restore, "follow", counted("follow", restore.follow))

    def cost(nodes: int) -> Counter[str]:
        cluster = Cluster(ClusterConfig.of(nodes), load_text(WEB + "---" + service("web", 30080)).objects)
        counts.clear()
        cluster.scale("deployment", "default", "web", 4)
        cluster.delete("pod", *next(name for name in cluster.pods if "/web" in name).split("/"))
        return Counter(counts)

    few = cost(3)
    assert few["follow"] == few["apply"] == few["compile"] >= 3
    assert cost(12) == few


@pytest.mark.pure("functions are replaced")
def test_rules_in_force_are_one_object_for_all_nodes_and_a_change_is_put_in_force_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster = Cluster(ClusterConfig.of(6), load_text(WEB + "---" + service("web", 30080)).objects)
    tables = [node.net.ipv4.tables for node in cluster.nodes.values()]
    cluster.scale("deployment", "default", "web", 4)
    assert len({each.shared for each in tables}) == 1 and tables[0].shared is not None
    replaced, turned = list[object](), list[object]()

    def noted(calls: list[object], function: Callable[..., None]) -> Callable[..., None]:
        def call(self: object, ruleset: RuleSet) -> None:
            calls.append(self)
            function(self, ruleset)

        return call

    monkeypatch.setattr(Shared, "replace", noted(replaced, Shared.replace))
    monkeypatch.setattr(Tables, "turn", noted(turned, Tables.turn))
    cluster.scale("deployment", "default", "web", 5)
    assert replaced == [tables[0].shared] and turned == []
    client, server = [*cluster.pods][:2]
    assert cluster.tcp(client, f"{server}:8080", b"x").delivered
    cluster.scale("deployment", "default", "web", 6)
    assert len(replaced) == 2 and 1 <= len({*turned}) <= 2  # where packets came
    assert len({each.state for each in proxiers(cluster)}) == 1


def test_a_fork_has_rules_in_force_of_its_own() -> None:
    cluster = Cluster(ClusterConfig.of(3), load_text(WEB + "---" + service("web", 30080)).objects)
    other = cluster.fork()
    other.scale("deployment", "default", "web", 5)
    mine, theirs = (each.nodes["node-1"].net.ipv4.tables for each in (cluster, other))
    assert mine.shared is not theirs.shared is not None
    assert mine.save().count("-A KUBE-SEP") < theirs.save().count("-A KUBE-SEP")
    cluster.scale("deployment", "default", "web", 5)
    assert mine.save() == theirs.save()
