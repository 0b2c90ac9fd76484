"""Calico, one behaviour a row, in each of its modes that this machine's kernel has, each judged by that kernel."""

from __future__ import annotations

import pytest

from twin_rows import NODEPORT, C, ping, send, tcp, udp
from twins import agrees, needs_twin, scenario

pytestmark = needs_twin

MODES = {
    "no encapsulation": "{nodes: 2, network: calico, underlay: switched, calico: {vxlanMode: Never}}",
    "vxlan": "{nodes: 2, network: calico, calico: {vxlanMode: Always}}",
    "vxlan on one link": "{nodes: 2, network: calico, underlay: switched, calico: {vxlanMode: Always}}",
    "cross subnet": "{nodes: 2, network: calico, underlay: switched}",
}
HOSTPORT = """apiVersion: v1
kind: Pod
metadata: {name: gate, annotations: {emu/app: "http@8080"}}
spec:
  nodeName: node-1
  containers:
  - name: c
    ports:
    - {containerPort: 8080, hostPort: 80}
    - {containerPort: 53, hostPort: 53, protocol: UDP}
---
apiVersion: v1
kind: Pod
metadata: {name: other}
spec: {nodeName: node-1, containers: [{name: c}]}
"""
LATE = (
    "- apply: {apiVersion: v1, kind: Pod, metadata: {name: late, annotations: {emu/app: 'http@8080'}}, spec: {nodeName: node-2, "
    "terminationGracePeriodSeconds: 0, containers: [{name: c, ports: [{containerPort: 8080}]}]}}\n"
)
LONG_GET = "GET / HTTP/1.0\\r\\nX: " + "x" * 4000 + "\\r\\n\\r\\n"
NODES = {"routed": ("192.168.51.11", "192.168.52.12"), "switched": ("192.168.50.11", "192.168.50.12")}
ROWS: dict[str, dict[str, str]] = {
    "pod to pod": {"steps": tcp("default/web:8080") + udp("default/web:53") + ping("default/web")},
    "pod to pod, same node": {"steps": tcp("default/web:8080") + udp("default/web:53") + ping("default/web"), "node": "node-1"},
    "a Service": {"steps": tcp("svc/web:80") + udp("svc/web:53")},
    "a Service, same node": {"steps": tcp("svc/web:80") + udp("svc/web:53"), "node": "node-1"},
    "a Service, from its own pod": {"steps": tcp("svc/web:80", frm="default/web") + udp("svc/web:53", frm="default/web")},
    "a Service, from a node": {"steps": tcp("svc/web:80", frm="node/node-1") + udp("svc/web:53", frm="node/node-1")},
    "a NodePort": {
        "steps": tcp("NODE_1:30080", frm="external") + tcp("NODE_2:30080", frm="external") + tcp("NODE_1:30080"),
        "more": NODEPORT.replace("POLICY", ""),
    },
    "a NodePort, same node": {
        "steps": tcp("NODE_1:30080", frm="external") + tcp("NODE_1:30080") + tcp("NODE_1:30080", frm="node/node-1"),
        "more": NODEPORT.replace("POLICY", ""), "node": "node-1",
    },
    "a NodePort, Local": {
        "steps": tcp("NODE_2:30080", frm="external") + tcp("NODE_1:30080", frm="external", timeout="2s"),
        "more": NODEPORT.replace("POLICY", "externalTrafficPolicy: Local"),
    },
    "a hostPort": {
        "steps": tcp("NODE_1:80", frm="external") + udp("NODE_1:53", frm="external") + tcp("NODE_1:80", frm="node/node-1")
        + tcp("127.0.0.1:80", frm="node/node-1") + tcp("NODE_1:80", frm="default/other") + tcp("NODE_1:80", frm="default/web"),
        "more": HOSTPORT,
    },
    "a hostPort, hairpin": {
        "steps": tcp("NODE_1:80", frm="default/gate") + udp("NODE_1:53", frm="default/gate"), "more": HOSTPORT,
    },
    "the internet": {"steps": tcp("203.0.113.10:80") + udp("203.0.113.10:53") + ping("203.0.113.10")},
    "pod to node": {"steps": ping("node/node-1") + ping("node/node-2") + tcp("NODE_1:22")},
    "node to pod": {"steps": ping("default/web", frm="node/node-1") + tcp("default/web:8080", frm="node/node-2")},
    "from outside to a pod": {"steps": ping("default/web", frm="external")},
    "the gateway": {"steps": ping("169.254.1.1")},
    "a long datagram": {"steps": udp("default/web:53", send="x" * 3000) + tcp("default/web:8080", send=LONG_GET)},
    "too long with DF": {
        "steps": send("IP(dst='NODE_1', flags='DF')/UDP(sport=4000, dport=53)/'" + "x" * 1472 + "'", frm="external")
        + send("IP(dst='NODE_1', flags='DF')/UDP(sport=4000, dport=53)/'" + "x" * 1422 + "'", frm="external"),
        "more": HOSTPORT,
    },
    "the TTL ends": {
        "steps": "".join(send(f"IP(dst='203.0.113.10', ttl={ttl})/UDP(sport=4000, dport=33434)") for ttl in (1, 2, 3))
    },
    "an absent pod of a block": {"steps": ping("10.244.41.250") + ping("10.244.41.50")},
    "a SYN repeated to an address of no block": {"steps": tcp("10.244.77.7:7", send="", timeout="4s")},
    "a wrong source": {"steps": send("IP(src='10.244.9.9', dst='203.0.113.10')/ICMP()")},
    "encapsulated by the pod": {
        "steps": send("IP(dst='NODE_2')/UDP(sport=4789, dport=4789)/'12345678'") + send("IP(dst='NODE_2', proto=4)/IP()")
    },
    "VXLAN from outside": {"steps": send("IP(dst='NODE_1')/UDP(sport=5, dport=4789)/'12345678'", frm="external")},
    "a pod comes and goes": {
        "steps": LATE + ping("default/late") + tcp("default/late:8080") + "- delete: pod/late\n" + ping("default/web")
    },
}  # fmt: skip


ALWAYS = ("no encapsulation", "vxlan")
ONCE = ("pod to pod", "a Service", "the internet", "node to pod")  # in the other modes, too
CASES = [(name, mode) for name in ROWS for mode in MODES if mode in ALWAYS or name in ONCE]


@pytest.mark.parametrize(("name", "mode"), CASES)
def test_the_kernel_agrees(name: str, mode: str) -> None:
    row, cluster = dict(ROWS[name]), MODES[mode]
    one, two = NODES["switched" if "switched" in cluster else "routed"]
    steps = row.pop("steps").replace("NODE_1", one).replace("NODE_2", two)
    agrees(scenario(steps, cluster=cluster, **row), "table")


def test_masquerading_may_be_off() -> None:
    cluster = "{nodes: 2, network: calico, underlay: switched, calico: {natOutgoing: false, blockSize: 28}}"
    agrees(scenario(ping("default/web") + ping("203.0.113.10", frm=C), cluster=cluster), "table")
