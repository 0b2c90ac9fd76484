"""Networks with the plugin firewall, one behaviour a row, each judged by this machine's kernel."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from twin_rows import C, ping, tcp, udp
from twins import agrees, needs_twin, scenario

pytestmark = needs_twin

IPAM = {"type": "host-local", "ranges": [[{"subnet": "{{.PodCIDR}}"}]], "routes": [{"dst": "0.0.0.0/0"}]}
NEAR = """apiVersion: v1
kind: Pod
metadata: {name: near, annotations: {emu/app: "http@8080"}}
spec:
  nodeName: node-1
  terminationGracePeriodSeconds: 0
  containers: [{name: c, ports: [{containerPort: 8080, hostPort: 80}, {containerPort: 53, protocol: UDP}]}]
"""
ROWS: dict[str, tuple[str, str]] = {
    "open, to another node": ("open", tcp("default/web:8080") + udp("default/web:53")),
    "open, on one node": ("open", tcp("default/near:8080") + ping("default/near")),
    "open, from outside to a hostPort": ("open", tcp("node/node-1:80", frm="external")),
    "same-bridge, to another node": ("same-bridge", tcp("default/web:8080") + ping("default/web")),
    "same-bridge, on one node": ("same-bridge", tcp("default/near:8080") + udp("default/near:53")),
    "same-bridge, from outside to a hostPort": ("same-bridge", tcp("node/node-1:80", frm="external")),
    "isolated, to another node": ("isolated", tcp("default/web:8080") + ping("default/web")),
    "isolated, on one node": ("isolated", tcp("default/near:8080", timeout="2s") + udp("default/near:53", timeout="1s")),
    "isolated, from the node": ("isolated", tcp("default/near:8080", frm="node/node-1") + ping(C, frm="node/node-1")),
    "isolated, from outside to a hostPort": ("isolated", tcp("node/node-1:80", frm="external")),
    "isolated, to a hostPort of the node": ("isolated", tcp("node/node-1:80", timeout="2s")),
    "isolated, after a deletion": (
        "isolated", "- delete: pod/near\n" + tcp("default/web:8080") + tcp("10.244.1.3:8080", timeout="1s"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_the_kernel_agrees(name: str, tmp_path: Path) -> None:
    policy, steps = ROWS[name]
    plugins = [
        {"type": "bridge", "bridge": "cni0", "isGateway": True, "ipMasq": True, "ipam": IPAM},
        {"type": "firewall", "ingressPolicy": policy},
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ]
    path = tmp_path / "own.conflist"
    path.write_text(json.dumps({"cniVersion": "1.0.0", "name": "own", "plugins": plugins}))
    agrees(scenario(steps, cluster=f"{{nodes: 2, network: {path}}}", more=NEAR), "table")
