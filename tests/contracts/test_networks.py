"""One test for every pod network and every node agent that the registries find: drop a folder in, and it is held to this."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from emu.errors import InputError
from emu.kube.agent import Agent, Objects, Settings, agents
from emu.kube.api.core import Node as NodeObject
from emu.kube.api.loader import load_text
from emu.kube.cluster import Cluster, ClusterConfig
from emu.kube.cni.spec import Host, plugins
from emu.kube.networks.network import NodeSettings, load_network, networks, usual_underlay
from emu.kube.node.node import Node
from emu.kube.policy.dataplane import dataplanes
from emu.kube.proxy.mode import modes
from emu.kube.underlay.underlay import underlays
from emu.wire.addr import Prefix

PODS = Prefix.parse("10.244.0.0/16")
CIDRS = [Prefix.parse("10.244.1.0/24"), Prefix.parse("10.244.2.128/25")]
OBJECTS = "\n---\n".join(
    f"{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, "
    f"spec: {{nodeName: {node}, containers: [{{name: c, ports: [{{containerPort: 80}}]}}]}}}}"
    for name, node in (("a", "node-1"), ("b", "node-1"), ("c", "node-2"))
)


def cluster(network: str = "bridge", underlay: str = "routed") -> Cluster:
    config = ClusterConfig.of(2, network=network, underlay=underlay)
    return Cluster(config, load_text(OBJECTS).objects, capture=False)


def clusters(network: str) -> Iterator[tuple[str, Cluster]]:
    """A cluster on each underlay that the network can use: its agent may refuse others."""
    for underlay in sorted(underlays):
        with suppress(InputError):
            yield underlay, cluster(network, underlay)


def state(node: Node) -> list[str]:
    """What an agent can change on a node, as text."""
    net = node.net
    sysctls = [f"{key} {net.sysctl.number(key)}" for key in ("net.ipv4.ip_forward", "net.ipv4.conf.all.route_localnet")]
    routes = [f"{route.text()} table {route.table}" for table in net.ipv4.fib.tables.values() for route in table]
    devices = [f"{each.name} {each.up} {each.mtu}" for each in net.devices.values()]
    neighbours = [f"{each.addr} {each.state}" for each in net.neighbours]
    return [
        *net.ipv4.tables.save().splitlines(),
        *routes,
        *devices,
        *map(str, net.ipv4.addresses),
        *neighbours,
        *sysctls,
    ]


# -- networks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(networks))
def test_a_network_is_a_folder_with_its_conflist(name: str) -> None:
    folder = Path(inspect.getsourcefile(networks[name]) or "").parent
    assert folder.parent.name == "networks" and folder.name.replace("-", "_") == name.replace("-", "_")
    assert [*folder.glob("*.conflist")], "the configuration list lies beside the code"


@pytest.mark.parametrize("name", sorted(networks))
@pytest.mark.parametrize("cidr", CIDRS, ids=str)
def test_a_network_is_a_value_of_the_nodes_settings(name: str, cidr: Prefix) -> None:
    """The same settings give the same network; it names plugins and agents that there are, and routes of its own."""
    settings = NodeSettings(cidr, PODS, mtu=1400, hairpin=True)
    made = networks[name](settings)
    assert made == networks[name](settings)
    (conflist,) = Path(inspect.getsourcefile(networks[name]) or "").parent.glob("*.conflist")
    if "PodCIDR" in conflist.read_text(encoding="utf-8"):  # another network's agent gives the node its part
        assert made != networks[name](NodeSettings(Prefix.parse("10.244.9.0/24"), PODS))
    for plugin in made.config.plugins:
        assert plugin["type"] in plugins and plugin.get("ipam", {}).get("type", "host-local") in plugins
    assert all(agent in agents for agent in made.agents)
    assert all(prefix.overlaps(cidr) and prefix.length >= cidr.length for prefix in made.routes)


@pytest.mark.parametrize("name", sorted(networks))
def test_a_network_prepares_a_node_once(name: str) -> None:
    node = cluster().nodes["node-1"]
    network = load_network(name, CIDRS[0], PODS)
    network.prepare(Host(node.net))
    before = state(node)
    network.prepare(Host(node.net))
    assert state(node) == before


@pytest.mark.parametrize("name", sorted(networks))
def test_pods_of_a_network_reach_each_other_and_their_nodes(name: str) -> None:
    """Without NAT, on the same node and across nodes, on at least one underlay (Kubernetes' requirements)."""
    answers = {}
    for underlay, made in clusters(name):
        flows = [made.ping("default/a", to) for to in ("default/b", "default/c", "node/node-1", "node/node-2")]
        answers[underlay] = [flow.delivered and not flow.dnat for flow in flows]
    assert [True] * 4 in answers.values(), answers


LATE = load_text(
    "{apiVersion: v1, kind: Pod, metadata: {name: late}, spec: {nodeName: node-1, containers: [{name: c, ports: "
    "[{containerPort: 80, hostPort: 8080}, {containerPort: 53, hostPort: 53, protocol: UDP}]}]}}"
).objects[0]


@pytest.mark.parametrize("name", sorted(networks))
def test_a_pod_that_goes_leaves_its_node_as_it_was(name: str) -> None:
    """Also one with hostPorts, and one that has talked: only what its node's first pod needs stays."""
    for _, made in clusters(name):
        first = made.nodes["node-1"]
        made.apply(LATE)
        made.delete("pod", "default", "late", grace_s=0)  # the chains of hostPorts are made once, with the first
        before = {node.name: lasting(node) for node in made.nodes.values()}
        disk = {key: repr(value) for key, value in first.disk.items() if key[0] != "host-local"}
        made.apply(LATE)
        made.ping("default/late", "default/c")
        assert lasting(first) != before["node-1"]
        made.delete("pod", "default", "late", grace_s=0)
        assert {node.name: lasting(node) for node in made.nodes.values()} == before
        assert disk == {key: repr(value) for key, value in first.disk.items() if key[0] != "host-local"}


def lasting(node: Node) -> list[str]:
    """The node's state without what flows make: neighbours are learned, and forgotten in their own time."""
    learned = ("STALE", "REACHABLE", "DELAY", "PROBE", "FAILED", "INCOMPLETE")
    return [line for line in state(node) if line.split()[-1:] != [] and line.split()[-1] not in learned]


@pytest.mark.parametrize("load", [partial(load_network, pod_cidr=CIDRS[0], pod_subnet=PODS), networks.__getitem__])
def test_an_unknown_network_is_bad_input_that_names_the_known_ones(load: Any) -> None:
    with pytest.raises(InputError) as wrong:
        load("nowhere")
    assert all(name in str(wrong.value) for name in networks)


@pytest.mark.parametrize("name", sorted(networks))
def test_a_cluster_that_names_no_underlay_comes_up(name: str) -> None:
    made = cluster(name, underlay="")
    assert made.config.underlay == usual_underlay(name)
    assert made.ping("default/a", "default/c", count=1).delivered


# -- underlays --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(underlays))
def test_an_underlay_has_only_the_routes_that_are_asked_for(name: str) -> None:
    made = cluster(underlay=name).underlay
    prefix, (other, node) = Prefix.parse("198.18.7.0/24"), [machine.ip for machine in made.layout.nodes]
    assert not made.ways(prefix)
    made.route(prefix, node)
    assert made.ways(prefix) == [node]
    before = [route.text() for route in made.router.ipv4.fib.main]
    made.advertise({prefix.net + 1: node})
    made.advertise({prefix.net + 2: other})
    assert [*made.advertised] == [prefix.net + 2]
    made.advertise({})
    assert [route.text() for route in made.router.ipv4.fib.main] == before


# -- agents -----------------------------------------------------------------------------------------------------------


def running(name: str) -> Iterator[tuple[Cluster, Agent[Any, Any, Any], Objects]]:
    """Clusters whose network brings the agent, or may have it, and another object of the agent, started on their nodes."""
    settings = NodeSettings(CIDRS[0], PODS)
    bringing = [each for each in sorted(networks) if name in networks[each](settings).agents]
    bringing += [each.network for each in dataplanes.values() if name in each.agents and each.network]
    network = next(iter(bringing), "bridge")
    for _, made in clusters(network):
        agent = agents[name](Settings(PODS, (made.config.proxy, made.config.network_options)))
        for node in made.nodes.values():
            own = made.store.get(NodeObject, "", node.name)
            assert own is not None and agent.start(node, own) == own, "the object is as the program left it"
        yield made, agent, Objects({kind: made.store.list(kind) for kind in agent.watches})


@pytest.mark.parametrize("name", sorted(agents))
def test_an_agent_compiles_purely(name: str) -> None:
    """Reading and compiling leave every node as it was; the same objects and facts give the same value."""
    found = [*running(name)]
    assert found
    for made, agent, objects in found:
        before = [state(node) for node in made.nodes.values()]
        view = agent.view(objects, None)
        for node in made.nodes.values():
            facts = agent.facts(node)
            assert facts == agent.facts(node)
            assert agent.compile(view, facts) == agent.compile(view, facts)
        assert [state(node) for node in made.nodes.values()] == before


@pytest.mark.parametrize("name", sorted(agents))
def test_an_agent_applies_to_one_node_and_idempotently(name: str) -> None:
    found = [*running(name)]
    assert found
    for made, agent, objects in found:
        one, other = made.nodes.values()
        untouched, view = state(other), agent.view(objects, None)
        value = agent.compile(view, agent.facts(one))
        assert agent.apply(one, value)
        after = state(one)
        assert agent.intact(one)
        assert agent.apply(one, value)
        assert agent.apply(one, agent.compile(agent.view(objects, view), agent.facts(one)))
        assert state(one) == after
        assert state(other) == untouched


@pytest.mark.parametrize("name", sorted(agents))
def test_an_agent_has_periods_that_fit(name: str) -> None:
    agent = agents[name](Settings(PODS))
    assert agent.watches, "an agent follows objects"
    assert agent.min_period_ns >= 0 and agent.resync_period_ns >= 0
    assert not agent.resync_period_ns or agent.min_period_ns <= agent.resync_period_ns


# -- proxy modes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(modes))
def test_a_proxy_mode_is_a_folder(name: str) -> None:
    folder = Path(inspect.getsourcefile(modes[name]) or "").parent
    assert folder.parent.name == "proxy" and folder.name == name
