"""hostPorts, one behaviour a row, each judged by this machine's kernel."""

from __future__ import annotations

import pytest

from twin_rows import C, ping, send, tcp, udp
from twins import agrees, needs_twin, scenario

pytestmark = needs_twin

GATE, OTHER, NODE_1, NODE_2 = "default/gate", "default/other", "192.168.51.11", "node/node-2"
POD = """apiVersion: v1
kind: Pod
metadata: {name: NAME, labels: {app: NAME}, annotations: {emu/app: "http@8080"}}
spec:
  nodeName: node-1
  terminationGracePeriodSeconds: 0
  containers:
  - name: c
    ports:
    - {containerPort: 8080, hostPort: 80MORE}
    - {containerPort: 53, hostPort: 53, protocol: UDPMORE}
    - {containerPort: 2905, hostPort: 2905, protocol: SCTPMORE}
"""
CLIENTS = """apiVersion: v1
kind: Pod
metadata: {name: client}
spec: {nodeName: node-2, containers: [{name: c}]}
---
apiVersion: v1
kind: Pod
metadata: {name: other}
spec: {nodeName: node-1, containers: [{name: c}]}
"""
SERVICE = """apiVersion: v1
kind: Service
metadata: {name: gate}
spec: {type: NodePort, clusterIP: 10.96.0.10, selector: {app: gate}, ports: [{port: 80, targetPort: 8080, nodePort: 30080}]}
"""


def pod(name: str = "gate", host_ip: str = "") -> str:
    return POD.replace("NAME", name).replace("MORE", f', hostIP: "{host_ip}"' if host_ip else "")


def both(addr: str, frm: str) -> str:
    """A connection and a datagram."""
    return tcp(f"{addr}:80", frm=frm, timeout="2s") + udp(f"{addr}:53", frm=frm, timeout="2s")


def applied(name: str) -> str:
    """The step that makes a pod with a hostPort for UDP."""
    return (
        f"- apply: {{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, spec: {{nodeName: node-1, "
        "terminationGracePeriodSeconds: 0, containers: [{name: c, ports: [{containerPort: 7, hostPort: 7, protocol: UDP}]}]}}\n"
    )


HAIRPIN, FLAT = "{nodes: 2, hairpin: true}", "{nodes: 2, network: flat}"
INIT = f"IP(dst='{NODE_1}')/SCTP(sport=1500, dport=2905, tag=0)/SCTPChunkInit(init_tag=11)"
ROWS: dict[str, dict[str, str]] = {
    "from outside": {"steps": both(NODE_1, "external")},
    "from outside, to a node without the pod": {"steps": both(NODE_2, "external")},
    "from the node": {"steps": both(NODE_1, "node/node-1")},
    "from the node by loopback": {"steps": both("127.0.0.1", "node/node-1")},
    "from the node by another loopback address": {"steps": both("127.0.0.2", "node/node-1")},
    "from the node by the bridge's address": {"steps": both("10.244.1.1", "node/node-1")},
    "from another node": {"steps": both(NODE_1, "node/node-2")},
    "from another node's pod": {"steps": both(NODE_1, C)},
    "from a pod of the node": {"steps": both(NODE_1, OTHER)},
    "from a pod of the node, hairpin": {"steps": both(NODE_1, OTHER), "cluster": HAIRPIN},
    "from a pod to the bridge's address": {"steps": both("10.244.1.1", OTHER)},
    "from the pod itself": {"steps": both(NODE_1, GATE)},
    "from the pod itself, hairpin": {"steps": both(NODE_1, GATE), "cluster": HAIRPIN},
    "flat, from outside": {"steps": both(NODE_1, "external"), "cluster": FLAT},
    "flat, from the node by loopback": {"steps": both("127.0.0.1", "node/node-1"), "cluster": FLAT},
    "flat, from a pod of another node": {"steps": both(NODE_1, C), "cluster": FLAT},
    "flat, from the pod itself": {"steps": both(NODE_1, GATE), "cluster": FLAT},
    "flat, from a pod of the node": {"steps": both(NODE_1, OTHER), "cluster": FLAT},
    "one address, asked": {"steps": both(NODE_1, "external") + both(NODE_1, "node/node-1"), "pod": pod(host_ip=NODE_1)},
    "one address, another one asked": {"steps": both("127.0.0.1", "node/node-1"), "pod": pod(host_ip=NODE_1)},
    "loopback, from the node": {"steps": both("127.0.0.1", "node/node-1"), "pod": pod(host_ip="127.0.0.1")},
    "loopback, from outside": {"steps": both(NODE_1, "external"), "pod": pod(host_ip="127.0.0.1")},
    "loopback, from a pod": {"steps": both("127.0.0.1", OTHER), "pod": pod(host_ip="127.0.0.1")},
    "every address": {"steps": both(NODE_1, "external"), "pod": pod(host_ip="0.0.0.0")},
    "an IPv6 address": {"steps": both(NODE_1, "external"), "pod": pod(host_ip="::1")},
    "sctp": {"steps": send(INIT, C) + send(INIT, OTHER)},
    "ping is not mapped": {"steps": ping(NODE_1, frm="external")},
    "another port": {"steps": tcp(f"{NODE_1}:81", frm="external")},
    "the pod's own port": {"steps": tcp(f"{NODE_1}:8080", frm="external")},
    "with a Service": {
        "steps": tcp("svc/gate:80") + tcp(f"{NODE_1}:30080", frm="external") + both(NODE_1, "external") + both(NODE_1, C),
        "more": SERVICE,
    },
    "masquerade all": {
        "steps": both(NODE_1, "external"), "cluster": "{nodes: 2, kubeProxy: {iptables: {masqueradeAll: true}}}",
    },
    "the pod is deleted": {
        "steps": both(NODE_1, "external") + "- delete: pod/gate\n" + both(NODE_1, "external") + both("127.0.0.1", "node/node-1")
    },
    "a pod comes whose port a client knows": {
        "steps": udp(f"{NODE_1}:7", frm="external", port=7777, timeout="1s")
        + applied("late")
        + udp(f"{NODE_1}:7", frm="external", port=7777, timeout="1s")
    },
    "a pod follows another": {
        "steps": applied("first")
        + udp(f"{NODE_1}:7", frm="external", port=7777)
        + "- delete: pod/first\n"
        + udp(f"{NODE_1}:7", frm="external", port=7777, timeout="1s")
        + applied("second")
        + udp(f"{NODE_1}:7", frm="external", port=7777)
    },
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_the_kernel_agrees(name: str) -> None:
    row = dict(ROWS[name])
    pods = row.pop("pod", pod()) + "---\n" + CLIENTS
    agrees(scenario(**row, pods="\n" + pods), "table")
