"""The real CNI plugins of this machine wire a node's pods as the emulator's plugins do: for each network, and for lists of
people's own.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from emu.kube.cluster import Cluster
from emu.kube.cni.config import NetworkConfigList
from emu.kube.networks.network import networks
from emu.scenario import build
from emu.scenario.script import load_text
from emu.twin import judge
from emu.twin.cni import FOLDER, absent
from emu.twin.compare import Difference
from emu.twin.wiring import Pod, compared
from twin_rows import ping
from twins import needs_twin, scenario

PLUGINS = ("bridge", "host-local", "loopback")
PORTS = """
apiVersion: v1
kind: Pod
metadata: {name: client}
spec: {nodeName: node-1, containers: [{name: c, ports: [{containerPort: 80, hostPort: 8080, hostIP: 192.168.51.11}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  nodeName: node-1
  containers:
  - {name: a, ports: [{containerPort: 80, hostPort: 80}, {containerPort: 53, hostPort: 53, protocol: UDP}]}
  - {name: b, ports: [{containerPort: 81, hostPort: 81, protocol: TCP}, {containerPort: 9, hostPort: 9, protocol: SCTP}]}
"""
pytestmark = [
    *needs_twin,
    pytest.mark.skipif(
        any(not (FOLDER / each).is_file() for each in PLUGINS),
        reason=f"skipped: no CNI plugins in {FOLDER} (Debian: containernetworking-plugins)",
    ),
]

IPAM = {"type": "host-local", "ranges": [[{"subnet": "{{.PodCIDR}}"}]], "routes": [{"dst": "0.0.0.0/0"}]}
# Debian has no package of these networks' own plugins
OWN_PLUGINS = {"aws-vpc", "calico"}
LISTS: dict[str, dict[str, object]] = {
    "plain": {"bridge": "cni0", "isGateway": True, "ipam": IPAM},
    "no-gateway": {"bridge": "cni0", "ipam": IPAM},
    "default-gateway": {
        "bridge": "cni0",
        "isDefaultGateway": True,
        "ipam": {key: value for key, value in IPAM.items() if key != "routes"},
    },
    "masquerade": {"bridge": "cni0", "isGateway": True, "ipMasq": True, "ipam": IPAM},
    "promiscuous": {"bridge": "cni0", "isGateway": True, "promiscMode": True, "ipam": IPAM},
    "narrow-and-hairpin": {"bridge": "cni0", "isGateway": True, "hairpinMode": True, "mtu": 1400, "ipam": IPAM},
    "two-routes": {
        "bridge": "cni0",
        "isGateway": True,
        "ipam": {**IPAM, "routes": [{"dst": "0.0.0.0/0"}, {"dst": "192.0.2.0/24", "gw": "10.244.1.1"}]},
    },
}


def cluster_of(text: str) -> Cluster:
    script = load_text(text)
    return Cluster(build.configured(script), script.objects, seed=script.spec.seed)


def wired(cluster: Cluster) -> list[Difference]:
    """The first node's two pods."""
    kubelet = cluster.kubelets[0]
    assert absent(kubelet.network.config) == []
    pods = [
        Pod(each.name, each.net, each.uid.replace("-", ""), each.result, each.capability_args)
        for each in kubelet.node.sandboxes.values()
    ]
    assert len(pods) == 2
    return compared(kubelet.node.name, kubelet.node.net, kubelet.network, pods, kubelet.node.files)


def shown(differences: list[Difference]) -> list[str]:
    return [f"{each.what} at {each.where}: {each.kernel} {each.emu}" for each in differences]


@pytest.mark.parametrize("hairpin", ["false", "true"])
@pytest.mark.parametrize("name", sorted({*networks} - OWN_PLUGINS))
def test_a_network(name: str, hairpin: str) -> None:
    text = scenario(ping("default/web"), cluster=f"{{nodes: 1, network: {name}, hairpin: {hairpin}}}", node="node-1")
    assert shown(wired(cluster_of(text))) == []


@pytest.mark.parametrize("name", sorted({*networks} - OWN_PLUGINS))
def test_host_ports(name: str) -> None:
    text = scenario(ping("default/web"), cluster=f"{{nodes: 1, network: {name}}}", pods=PORTS)
    cluster = cluster_of(text)
    assert "--dport 53 -j DNAT" in cluster.nodes["node-1"].net.ipv4.tables.save()
    assert shown(wired(cluster)) == []


@pytest.mark.parametrize("name", sorted(OWN_PLUGINS))
def test_networks_whose_plugins_are_not_here_are_named(name: str) -> None:
    text = scenario(ping("default/web"), cluster=f"{{nodes: 1, network: {name}}}", node="node-1")
    report = judge(load_text(text), wiring=True, tries=2)
    assert report.exit_status == 0, report.text()
    assert "not judged: the wiring of node-1: there is no " in report.text()


def own(plugin: dict[str, object], folder: Path) -> str:
    path = folder / "own.conflist"
    whole = {"cniVersion": "1.0.0", "name": "own", "plugins": [{"type": "bridge", **plugin}]}
    path.write_text(json.dumps(whole))
    return scenario(ping("default/web"), cluster=f"{{nodes: 1, network: {path}}}", node="node-1")


@pytest.mark.parametrize("name", LISTS)
def test_a_list_of_peoples_own(name: str, tmp_path: Path) -> None:
    assert shown(wired(cluster_of(own(LISTS[name], tmp_path)))) == []


def test_a_wrong_step_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the twin, if it is asked to; its own two sides have the same wiring, and agree."""
    monkeypatch.setattr("emu.kube.cni.links.wait_forwarding", lambda port: setattr(port, "isolated", True))
    text = own(LISTS["plain"], tmp_path)
    report = judge(load_text(text), wiring=True)
    assert report.exit_status == 1
    assert report.first is not None
    difference = report.first[1]
    assert (difference.what, difference.where) == ("wiring: links", "node-1")
    assert all(line.endswith("isolated") for line in difference.emu)


def test_plugins_that_are_not_here_are_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("emu.twin.cni.FOLDER", tmp_path)
    lost = absent(NetworkConfigList("n", "1.0.0", ({"type": "bridge", "ipam": {"type": "host-local"}},)))
    assert lost == sorted(PLUGINS)
    report = judge(load_text(scenario(ping("default/web"), cluster="{nodes: 1}", node="node-1")), wiring=True)
    assert report.exit_status == 0, report.text()
    assert "not judged: the wiring of node-1: there is no bridge, host-local, loopback, portmap" in report.text()
