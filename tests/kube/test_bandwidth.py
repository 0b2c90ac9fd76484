"""A pod's bandwidth annotations: what the runtime gives the plugins, and which devices there are then."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from emu.errors import InputError
from emu.kernel.link.tbf import Tbf
from emu.kube.api.loader import load_text
from emu.kube.cluster import Cluster, ClusterConfig
from emu.kube.node.bandwidth import EGRESS, INGRESS, bandwidth_of

POD = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}, annotations: {{{annotations}}}}}
spec: {{nodeName: node-1, containers: [{{name: c, ports: [{{containerPort: 80}}]}}]}}
"""
BURST = (1 << 32) - 1


def conflist(folder: Path) -> str:
    network = {
        "cniVersion": "1.0.0",
        "name": "limited",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "cni0",
                "isDefaultGateway": True,
                "ipam": {"type": "host-local", "ranges": [[{"subnet": "{{.PodCIDR}}"}]]},
            },
            {"type": "bandwidth", "capabilities": {"bandwidth": True}},
        ],
    }
    path = folder / "limited.conflist"
    path.write_text(json.dumps(network))
    return str(path)


def cluster(network: str, **annotations: str) -> Cluster:
    words = ", ".join(f"kubernetes.io/{key}-bandwidth: {value}" for key, value in annotations.items())
    objects = [POD.format(name="a", annotations=words), POD.format(name="b", annotations="")]
    return Cluster(ClusterConfig.of(1, network=network), load_text("---".join(objects)).objects, capture=False)


def test_a_quantity_is_bits_per_second() -> None:
    assert bandwidth_of({}) == {}
    assert bandwidth_of({INGRESS: "10M"}) == {"ingressRate": 10_000_000, "ingressBurst": BURST}
    assert bandwidth_of({EGRESS: "1Ki"}) == {"egressRate": 1024, "egressBurst": BURST}
    rates = {"1000": 1000, "1.5k": 1500, "2e3": 2000, "1P": 10**15, "1000000m": 1000, "1000.1": 1001}
    assert {text: bandwidth_of({EGRESS: text})["egressRate"] for text in rates} == rates


@pytest.mark.parametrize("text", ["", "fast", "10MB", "-5M", "999", "2P", "1e", "1 M"])
def test_what_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=INGRESS):
        bandwidth_of({INGRESS: text})


def test_the_plugin_gets_it(tmp_path: Path) -> None:
    made = cluster(conflist(tmp_path), ingress="8M", egress="1M")
    node = made.node("node-1").net
    buckets = {name: each.qdisc for name, each in node.devices.items() if isinstance(each.qdisc, Tbf)}
    assert sorted(each.rate for each in buckets.values()) == [125_000, 1_000_000]
    assert [name[:3] for name, each in buckets.items() if each.rate == 125_000] == ["bwp"]
    assert sum(each.kind == "ifb" for each in node.devices.values()) == 1
    made.delete("Pod", "default", "a", grace_s=0)
    made.wait(5)
    assert not [name for name, each in node.devices.items() if each.kind == "ifb" or each.qdisc is not None]


def test_without_the_capability_there_is_a_warning() -> None:
    made = cluster("bridge", ingress="8M")
    assert any("kubernetes.io/ingress-bandwidth has no effect" in each for each in made.warnings)
