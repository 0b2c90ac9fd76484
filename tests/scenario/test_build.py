"""What a scenario's `cluster` asks for arrives in the cluster, word for word."""

from __future__ import annotations

from pathlib import Path

import pytest

from emu.errors import InputError
from emu.scenario.build import build, config
from emu.scenario.script import load, load_text

HEAD = "apiVersion: emu/v1\nkind: Scenario\n"


def test_every_key_arrives() -> None:
    text = (
        HEAD
        + """\
seed: 7
cluster:
  nodes: [{name: a, zone: z1, podCIDR: 10.1.5.0/24}, {name: b}]
  network: flat
  underlay: switched
  podSubnet: 10.1.0.0/16
  serviceSubnet: 10.2.0.0/16
  hairpin: true
  offloads: true
  sysctls: {net.ipv4.ip_default_ttl: 99}
  kubeProxy:
    mode: iptables
    iptables: {masqueradeAll: true, masqueradeBit: 13, localhostNodePorts: false}
    detectLocalMode: BridgeInterface
    detectLocal: {bridgeInterface: cbr0, interfaceNamePrefix: veth}
    clusterCIDR: 10.1.0.0/17
"""
    )
    wanted = config(load_text(text).spec.cluster)
    assert [(node.name, node.zone, node.pod_cidr) for node in wanted.nodes] == [
        ("a", "z1", "10.1.5.0/24"),
        ("b", "", ""),
    ]
    assert (wanted.network, wanted.underlay, wanted.hairpin, wanted.offloads) == ("flat", "switched", True, True)
    assert (wanted.pod_subnet, wanted.service_subnet) == ("10.1.0.0/16", "10.2.0.0/16")
    assert wanted.sysctls == {"net.ipv4.ip_default_ttl": 99}
    proxy = wanted.proxy
    assert (proxy.masquerade_all, proxy.masquerade_bit, proxy.localhost_node_ports) == (True, 13, False)
    assert (proxy.detect_local_mode, proxy.bridge_interface) == ("BridgeInterface", "cbr0")
    assert (proxy.interface_name_prefix, proxy.cluster_cidr) == ("veth", "10.1.0.0/17")


def test_what_arrives_has_an_effect() -> None:
    cluster = build(load_text(HEAD + "seed: 7\ncluster: {nodes: 3, sysctls: {net.ipv4.ip_default_ttl: 99}}\n"))
    assert (list(cluster.nodes), cluster.seed) == (["node-1", "node-2", "node-3"], 7)
    assert cluster.nodes["node-2"].net.ipv4.default_ttl == 99


def test_files_lie_beside_the_scenario(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "pod.yaml").write_text(
        "{apiVersion: v1, kind: Pod, metadata: {name: one}, spec: {containers: [{name: c}]}}"
    )
    (tmp_path / "sub" / "my.conflist").write_text(
        '{"cniVersion": "1.0.0", "name": "mine", "plugins": [{"type": "bridge", "bridge": "br7", "isGateway": true, '
        '"ipam": {"type": "host-local", "ranges": [[{"subnet": "{{.PodCIDR}}"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}'
    )
    story = tmp_path / "sub" / "story.yaml"
    story.write_text(HEAD + "cluster: {nodes: 1, network: my.conflist}\nmanifests: [pod.yaml]\n")
    cluster = build(load(story))
    assert list(cluster.pods) == ["default/one"]
    assert "br7" in cluster.nodes["node-1"].net.devices


NODES = "---\n{apiVersion: v1, kind: Node, metadata: {name: a}, spec: {podCIDR: 10.244.1.0/24}}\n---\n{apiVersion: v1, kind: Node, metadata: {name: b}, spec: {podCIDR: WANTED}}\n"


@pytest.mark.parametrize(
    ("cidr", "message"),
    [
        ("10.9.0.0/24", "podCIDR 10.9.0.0/24 lies outside podSubnet 10.244.0.0/16 (expected a part of 10.244.0.0/16)"),
        ("10.244.1.128/25", "podCIDR 10.244.1.128/25 of b overlaps 10.244.1.0/24 of a (expected subnets that do not overlap)"),
        ("10.244.2.1/24", '"10.244.2.1/24" has host bits set (expected 10.244.2.0/24)'),
    ],
)  # fmt: skip
def test_a_declared_node_has_the_rules_of_a_configured_one(cidr: str, message: str) -> None:
    """One check for both, and the place of the Node object."""
    with pytest.raises(InputError) as wrong:
        build(load_text(HEAD + NODES.replace("WANTED", cidr), "story.yaml"))
    assert str(wrong.value) == f"story.yaml:6: node/b spec.podCIDR: {message}"
    nodes = f"cluster: {{nodes: [{{name: a, podCIDR: 10.244.1.0/24}}, {{name: b, podCIDR: {cidr}}}]}}\n"
    with pytest.raises(InputError) as wrong:
        load_text(HEAD + nodes, "story.yaml")
    assert str(wrong.value) == f"story.yaml:3: cluster.nodes[1].podCIDR: {message}"
