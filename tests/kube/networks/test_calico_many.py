"""What calico-node does on many nodes, in counts: what they have in common is read once, and a change costs what it changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from emu.kernel.netfilter import jumps
from emu.kernel.netfilter.ruleset import Chain, Rule, RuleSet
from emu.kernel.netfilter.table import Tables
from emu.kernel.netfilter.targets import Jump
from emu.kube.api.calico import IPPoolSpec
from emu.kube.api.loader import load_text
from emu.kube.cluster import Cluster, ClusterConfig
from emu.kube.networks.calico import chains, dataplane
from emu.kube.networks.calico.peers import Link, Peer, Peers
from emu.kube.networks.within import Within
from emu.wire.addr import Prefix, ip4
from rules import FakeNetns

POD = "{{apiVersion: v1, kind: Pod, metadata: {{name: {0}, labels: {{app: a}}}}, spec: {{nodeName: {1}, containers: [{{name: c}}]}}}}"
SERVICE = (
    "{{apiVersion: v1, kind: Service, metadata: {{name: s}}, spec: {{selector: {{app: a}}, ports: [{{port: {0}}}]}}}}"
)
NODES = 6


def cluster() -> Cluster:
    texts = [POD.format(f"p{each}", f"node-{1 + each % NODES}") for each in range(NODES)]
    objects = load_text("\n---\n".join([*texts, SERVICE.format(80)])).objects
    return Cluster(ClusterConfig.of(NODES, network="calico"), objects, capture=False)


def settled(made: Cluster) -> Cluster:
    """Each node has its ways to the others: someone asked for its namespace."""
    assert all(node.net.ipv4.fib.main.lookup(ip4("10.244.41.200")) for node in made.nodes.values())
    return made


def apply(made: Cluster, text: str) -> None:
    made.apply(load_text(text).objects[0])


def counted(monkeypatch: pytest.MonkeyPatch, place: Any, name: str) -> list[tuple[Any, ...]]:
    """A list that grows with each call."""
    calls: list[tuple[Any, ...]] = []
    real: Callable[..., Any] = getattr(place, name)

    def call(*args: Any, **kwargs: Any) -> Any:
        calls.append(args)
        return real(*args, **kwargs)

    monkeypatch.setattr(place, name, call)
    return calls


def test_a_change_that_is_not_felixs_has_no_rule_of_felix_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    made = settled(cluster())
    made.wait(200)  # felix looks once at routes that were made since
    rules, routes = counted(monkeypatch, chains, "merged"), counted(monkeypatch, dataplane, "_known")
    apply(made, SERVICE.format(81))
    made.wait(400)  # both periods of the refresh
    assert (rules, routes) == ([], [])


def test_a_pod_changes_its_own_node_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    made = cluster()
    applied = counted(monkeypatch, dataplane, "apply")
    apply(made, POD.format("late", "node-2"))
    assert len(applied) == 1
    assert "cali-tw-" in made.nodes["node-2"].net.ipv4.tables.save()


def test_what_someone_else_did_to_felixs_rules_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chain of felix's, or a built-in one, that is another one: nothing else is looked at."""
    made = cluster()
    net, whole = made.nodes["node-1"].net, made.nodes["node-1"].net.ipv4.tables.save()
    rules = counted(monkeypatch, chains, "merged")
    for text in (
        "*filter\n-F cali-FORWARD\nCOMMIT\n",
        "*filter\n-D FORWARD 1\nCOMMIT\n",
        "*nat\n-F cali-nat-outgoing\nCOMMIT\n",
    ):
        net.ipv4.tables.restore(text, noflush=True)
        made.wait(200)
        assert net.ipv4.tables.save() == whole
    before = len(rules)
    assert before
    net.ipv4.tables.restore("*filter\n:MINE - [0:0]\n-A MINE -j DROP\nCOMMIT\n", noflush=True)
    made.wait(400)
    assert len(rules) == before


def test_a_member_of_a_set_and_a_route_are_read_once_for_all_nodes() -> None:
    settled(cluster())
    read = dataplane._elements.cache_info().misses, dataplane._read.cache_info().misses
    made = settled(cluster())
    assert (dataplane._elements.cache_info().misses, dataplane._read.cache_info().misses) == read
    sets = [node.net.ipv4.tables.ipsets["cali40all-hosts-net"] for node in made.nodes.values()]
    assert all(each.elements == sets[0].elements and each.elements is not sets[0].elements for each in sets[1:])


def test_nodes_of_one_link_share_the_words_of_their_routes() -> None:
    subnet = Prefix.parse("192.168.50.0/24")
    blocks = [Prefix(ip4("10.244.0.0") + (each << 6), 26) for each in range(3)]
    all_of_them = [
        Peer(f"n{each}", ip4("192.168.50.11") + each, block.net, (block,)) for each, block in enumerate(blocks)
    ]
    peers = Peers(IPPoolSpec(cidr="10.244.0.0/16", vxlan_mode="CrossSubnet"), all_of_them, Within())
    first, second, unknown = (
        peers.of(Link(name, ip4(f"192.168.50.{11 + at}"), "eth0", subnet, 1500, ip4("192.168.50.1")))
        for at, name in enumerate(("n0", "n1", "n9"))
    )
    assert first.ways.routes() == (
        "blackhole 10.244.0.0/26 proto 80",
        "10.244.0.64/26 via 192.168.50.12 dev eth0 proto 80 onlink",
        "10.244.0.128/26 via 192.168.50.13 dev eth0 proto 80 onlink",
    )
    assert first.ways.routes()[2] is second.ways.routes()[2]
    assert [each.members for each in first.sets[2:]] == [
        ("192.168.50.11", "192.168.50.12", "192.168.50.13"),
        ("192.168.50.12", "192.168.50.13"),
    ]
    assert [vtep.addr for vtep in second.ways.vteps()] == [blocks[0].net, blocks[2].net]
    assert unknown.tunnel is None and len(unknown.ways.vteps()) == len(unknown.ways.routes()) == 3
    assert str(unknown.ways.within) == "10.244.0.0/24"
    assert peers.same(peers.spec, all_of_them) and not peers.same(peers.spec, all_of_them[1:])


@pytest.mark.pure("functions are replaced")
def test_tables_in_force_are_not_walked_again_for_another_table(monkeypatch: pytest.MonkeyPatch) -> None:
    tables: Tables = FakeNetns().tables
    tables.restore("*filter\n:A - [0:0]\n-A INPUT -j A\nCOMMIT\n*nat\n:B - [0:0]\n-A INPUT -j B\nCOMMIT\n")
    walked = counted(monkeypatch, jumps, "_Walk")
    more = Chain("A", "", (Rule("filter", "A", 1, (), Jump("C")),))
    chains_now = {**tables.ruleset.tables["filter"], "A": more, "C": Chain("C")}
    tables.restore(RuleSet({**tables.ruleset.tables, "filter": chains_now}))
    assert [table for table, *_ in walked] == ["filter"]
