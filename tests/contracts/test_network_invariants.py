"""Every pod network keeps Kubernetes' three requirements, between pods, nodes, and nodes and pods; a tunnel's own packets do not count."""

from __future__ import annotations

import pytest

from emu.kube.networks.network import networks
from emu.scenario.run import run
from emu.scenario.script import load_text

OPTIONS = {
    "flannel": ["{Backend: {Type: host-gw}}, underlay: switched"],
    "calico": ["{vxlanMode: Always}", "{ipipMode: Always}"],
}
NETWORKS = [
    f"network: {name}{more}"
    for name in sorted(networks)
    for more in ("", *(f", {name}: {options}" for options in OPTIONS.get(name, ())))
]
STORY = """\
apiVersion: emu/v1
kind: Scenario
metadata: {name: requirements}
cluster: {nodes: 2, NETWORK}
steps:
- tcp: {from: default/one, to: "default/near:80"}
- ping: {from: default/one, to: default/far}
- udp: {from: default/one, to: "default/far:80"}
- tcp: {from: node/node-1, to: "default/near:80"}
- udp: {from: node/node-1, to: "default/far:80"}
- ping: {from: default/far, to: node/node-1}
"""
POD = """\
---
apiVersion: v1
kind: Pod
metadata: {name: NAME}
spec: {nodeName: NODE, containers: [{name: app, ports: [{containerPort: 80}, {containerPort: 80, protocol: UDP}]}]}
"""
PODS = "".join(
    POD.replace("NAME", name).replace("NODE", node)
    for name, node in (("one", "node-1"), ("near", "node-1"), ("far", "node-2"))
)


@pytest.mark.parametrize("network", NETWORKS)
def test_the_three_requirements_hold(network: str) -> None:
    done = run(load_text(STORY.replace("NETWORK", network) + PODS))
    assert [str(each.flow.outcome) for each in done.flows] == ["delivered"] * 6
    assert [(each.name, each.failures) for each in done.invariants if not each.held] == []
    counts = [each.judged for each in done.invariants]
    # some networks masquerade from a pod to a node
    assert counts[:2] == [3, 2] and counts[2] in (5, 6)
