"""hostPorts of pods: what the plugins are given, where flows end, and that nothing is left of them when the pod is gone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import emu
from emu.kube.api.core import Pod
from emu.kube.api.loader import load_text
from emu.kube.node.capabilities import port_mappings

HEAD = "apiVersion: v1\nkind: Pod\n"
OTHERS = "".join(
    f"---\n{HEAD}metadata: {{name: {name}}}\nspec: {{nodeName: {node}, containers: [{{name: c}}]}}\n"
    for name, node in (("near", "node-1"), ("far", "node-2"))
)
NODE_1, NODE_2 = "192.168.51.11", "node/node-2"


def gate(ports: str = "{containerPort: 8080, hostPort: 80}", name: str = "gate", more: str = "") -> str:
    note = 'annotations: {emu/app: "http@8080"}'
    spec = f"{{nodeName: node-1, terminationGracePeriodSeconds: 0{more}, containers: [{{name: c, ports: [{ports}]}}]}}"
    return f"---\n{HEAD}metadata: {{name: {name}, {note}}}\nspec: {spec}\n"


def cluster(text: str, **keys: object) -> emu.Cluster:
    return emu.Cluster(emu.ClusterConfig.of(2, **keys), load_text(text).objects, capture=False)


@pytest.mark.parametrize(
    ("spec", "mappings"),
    [
        ("{containers: [{name: c, ports: [{containerPort: 80}]}]}", []),
        ("{containers: [{name: c, ports: [{containerPort: 80, hostPort: 8080}]}]}", [(8080, 80, "tcp", None)]),
        (
            (
                "{containers: [{name: c, ports: [{containerPort: 53, hostPort: 53, protocol: UDP, hostIP: 192.0.2.1},"
                " {containerPort: 9, hostPort: 9, protocol: SCTP}]}]}"
            ),
            [(53, 53, "udp", "192.0.2.1"), (9, 9, "sctp", None)],
        ),
        # a port that is named twice in one container counts once, in two containers twice
        (
            (
                "{containers: [{name: a, ports: [{name: x, containerPort: 1, hostPort: 1}, {name: y, containerPort: 1, hostPort: 1}]},"
                " {name: b, ports: [{containerPort: 1, hostPort: 1}]}]}"
            ),
            [(1, 1, "tcp", None), (1, 1, "tcp", None)],
        ),
        # sidecars come after the containers; other init containers have no ports
        (
            (
                "{initContainers: [{name: s, restartPolicy: Always, ports: [{containerPort: 2, hostPort: 2}]},"
                " {name: i, ports: [{containerPort: 3, hostPort: 3}]}],"
                " containers: [{name: c, ports: [{containerPort: 1, hostPort: 1}]}]}"
            ),
            [(1, 1, "tcp", None), (2, 2, "tcp", None)],
        ),
    ],
)
def test_what_the_plugins_are_given(spec: str, mappings: list[tuple[int, int, str, str | None]]) -> None:
    (pod,) = load_text(f"{HEAD}metadata: {{name: a}}\nspec: {spec}\n").objects
    assert isinstance(pod, Pod)
    found = port_mappings(pod).get("portMappings", [])
    assert [(m["hostPort"], m["containerPort"], m["protocol"], m.get("hostIP")) for m in found] == mappings


@pytest.mark.parametrize(
    ("network", "hairpin", "source", "to", "outcome"),
    [
        ("bridge", False, "external", NODE_1, "delivered"),
        ("bridge", False, "external", NODE_2, "refused"),
        ("bridge", False, "node/node-1", NODE_1, "delivered"),
        ("bridge", False, "node/node-1", "127.0.0.1", "delivered"),
        ("bridge", False, "node/node-2", NODE_1, "delivered"),
        ("bridge", False, "default/far", NODE_1, "delivered"),
        ("bridge", False, "default/near", NODE_1, "delivered"),
        ("bridge", True, "default/gate", NODE_1, "delivered"),
        ("flat", True, "default/gate", NODE_1, "delivered"),
        ("flat", False, "external", NODE_1, "delivered"),
    ],
)
def test_where_flows_end(network: str, hairpin: bool, source: str, to: str, outcome: str) -> None:
    made = cluster(gate() + OTHERS, network=network, hairpin=hairpin)
    assert made.warnings == []
    flow = made.tcp(source, f"{to}:80", b"GET / HTTP/1.0\r\n\r\n")
    assert flow.outcome.word == outcome
    assert ("default/gate" in [name for name, _ in flow.arrivals]) is (outcome == "delivered")


def test_a_pod_reaches_itself_by_a_hairpin_only() -> None:
    assert not cluster(gate() + OTHERS).tcp("default/gate", f"{NODE_1}:80", timeout_s=2).delivered


def test_a_node_without_host_ports_has_no_rule_of_them() -> None:
    made = cluster(gate() + OTHERS)
    assert "CNI" in made.nodes["node-1"].net.ipv4.tables.save()
    assert "CNI" not in made.nodes["node-2"].net.ipv4.tables.save()
    sysctls = [node.net.sysctl.number("net.ipv4.conf.cbr0.route_localnet") for node in made.nodes.values()]
    assert sysctls == [1, 0]  # the nodes' other interfaces have it from kube-proxy, which sets it for all


def test_a_pod_of_the_nodes_network_is_not_mapped() -> None:
    made = cluster(gate("{containerPort: 8080, hostPort: 8080}", more=", hostNetwork: true") + OTHERS)
    assert made.warnings == []
    assert "CNI" not in made.nodes["node-1"].net.ipv4.tables.save()
    assert made.tcp("external", f"{NODE_1}:8080").delivered


def test_the_node_is_as_it_was_when_the_pod_is_gone() -> None:
    """The chains of all containers stay for ever, so that the second pod is the measure."""
    made = cluster(gate(name="first") + OTHERS)
    node = made.nodes["node-1"].net

    def state() -> tuple[str, list[tuple[str, object]], list[str]]:
        routes = [route.text() for route in node.ipv4.fib.main]
        return node.ipv4.tables.save(), [*node.sysctl.written()], [*routes, *node.devices]

    before = state()
    ports = (
        "{containerPort: 8080, hostPort: 81}, {containerPort: 53, hostPort: 53, protocol: UDP, hostIP: 192.168.51.11}"
    )
    for obj in load_text(gate(ports, "second")).objects:
        made.apply(obj)
    assert made.tcp("external", f"{NODE_1}:81").delivered
    assert state() != before
    made.delete("Pod", "default", "second")
    assert state() == before
    assert made.tcp("external", f"{NODE_1}:81").outcome.word == "refused"
    made.delete("Pod", "default", "first")
    assert "CNI-DN-" not in node.ipv4.tables.save()
    assert made.tcp("external", f"{NODE_1}:80").outcome.word == "refused"


def test_a_client_that_keeps_its_port_reaches_the_new_pod() -> None:
    made = cluster("".join(OTHERS))
    udp = "{containerPort: 53, hostPort: 53, protocol: UDP}"
    assert made.udp("external", f"{NODE_1}:53", b"x", port=7777).outcome.word == "rejected"
    for obj in load_text(gate(udp)).objects:
        made.apply(obj)
    assert made.udp("external", f"{NODE_1}:53", b"x", port=7777).delivered


def test_two_pods_with_one_port_are_on_two_nodes() -> None:
    text = gate().replace("nodeName: node-1, ", "") + gate(name="two").replace("nodeName: node-1, ", "")
    made = cluster(text)
    assert {made.pod(f"default/{name}").node.name for name in ("gate", "two")} == {"node-1", "node-2"}


def test_a_network_without_the_capability(tmp_path: Path) -> None:
    ipam = {"type": "host-local", "ranges": [[{"subnet": "{{.PodCIDR}}"}]], "routes": [{"dst": "0.0.0.0/0"}]}
    plugins: list[dict[str, object]] = [{"type": "bridge", "isGateway": True, "ipam": ipam}, {"type": "portmap"}]
    own = tmp_path / "own.conflist"
    own.write_text(json.dumps({"cniVersion": "1.0.0", "name": "own", "plugins": plugins}))
    made = cluster(
        gate("{containerPort: 8080, hostPort: 80}, {containerPort: 9, hostPort: 9, protocol: UDP}"), network=str(own)
    )
    assert made.warnings == [
        "pod default/gate: hostPort 80/tcp, 9/udp has no effect: no plugin of network own has the capability portMappings"
    ]
    assert made.tcp("external", f"{NODE_1}:80").outcome.word == "refused"
    plugins[1]["capabilities"] = {"portMappings": True}
    own.write_text(json.dumps({"cniVersion": "1.0.0", "name": "own", "plugins": plugins}))
    made = cluster(gate(), network=str(own))
    assert made.warnings == []
    assert made.tcp("external", f"{NODE_1}:80").delivered
