"""The pod networks flannel (its backends) and kindnet: the flows of a cluster, each judged by this machine's kernel."""

from __future__ import annotations

import pytest

from twin_rows import C, ping, tcp, udp
from twins import agrees, needs_twin, scenario

pytestmark = needs_twin

WEB, OTHER, NODE_1, NODE_2 = "default/web", "default/other", "node/node-1", "node/node-2"
NETWORKS = {
    "flannel": "{nodes: 2, network: flannel}",
    "flannel on one link": "{nodes: 2, network: flannel, underlay: switched}",
    "DirectRouting": "{nodes: 2, network: flannel, underlay: switched, flannel: {Backend: {Type: vxlan, DirectRouting: true}}}",
    "DirectRouting over a router": "{nodes: 2, network: flannel, flannel: {Backend: {Type: vxlan, DirectRouting: true}}}",
    "host-gw": "{nodes: 2, network: flannel, underlay: switched, flannel: {Backend: {Type: host-gw}}}",
    "host-gw over a router": "{nodes: 2, network: flannel, flannel: {Backend: {Type: host-gw}}}",
    "learning, another VNI and port": "{nodes: 2, network: flannel, flannel: {Backend: {VNI: 7, Port: 4789, Learning: true}}}",
    "kindnet": "{nodes: 2, network: kindnet, underlay: switched}",
}
PODS = """
apiVersion: v1
kind: Pod
metadata: {name: client, labels: {app: client}, annotations: {emu/app: "http@8080"}}
spec: {nodeName: node-1, containers: [{name: c, ports: [{containerPort: 8080}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: other}
spec: {nodeName: node-1, containers: [{name: c, ports: [{containerPort: 53, protocol: UDP}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}, annotations: {emu/app: "http@8080"}}
spec:
  nodeName: node-2
  containers: [{name: c, ports: [{containerPort: 8080, hostPort: 8000}, {containerPort: 53, protocol: UDP, hostPort: 5353}]}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: NodePort
  clusterIP: 10.96.0.10
  selector: {app: web}
  ports:
  - {name: http, port: 80, targetPort: 8080, nodePort: 30080}
  - {name: dns, port: 53, protocol: UDP, nodePort: 30053}
---
apiVersion: v1
kind: Service
metadata: {name: near}
spec: {type: NodePort, clusterIP: 10.96.0.11, selector: {app: client}, ports: [{port: 80, targetPort: 8080, nodePort: 30081}]}
"""


def node(number: int, cluster: str) -> str:
    return f"192.168.{50 if 'switched' in cluster else 50 + number}.{10 + number}"


def flows(kind: str, cluster: str) -> str:
    one, two = node(1, cluster), node(2, cluster)
    return {
        "pods of one node": ping(OTHER) + udp(f"{OTHER}:53") + tcp("default/client:8080", frm=OTHER),
        "pods of two nodes": tcp(f"{WEB}:8080") + ping(WEB) + udp(f"{WEB}:53") + ping(C, frm=WEB),
        "a Service": tcp("svc/web:80") + udp("svc/web:53") + tcp("svc/near:80") + tcp("svc/near:80", frm=WEB),
        "pods and nodes": ping(C, frm=NODE_1) + ping(WEB, frm=NODE_1) + ping(NODE_2) + ping(NODE_1, frm=WEB),
        "a NodePort": tcp(f"{one}:30080", frm="external") + udp(f"{one}:30053", frm="external") + tcp(f"{two}:30080", frm="external"),
        "a NodePort from inside": tcp(f"{one}:30080", frm=NODE_1) + tcp(f"{two}:30080") + tcp(f"{one}:30081") + tcp("svc/web:80", frm=NODE_1),
        "a hostPort": tcp(f"{two}:8000", frm="external") + udp(f"{two}:5353", frm="external") + tcp(f"{two}:8000", frm=NODE_2),
        "a hostPort from pods": tcp(f"{two}:8000") + tcp(f"{two}:8000", frm=WEB) + tcp(f"{two}:8000", frm=NODE_1),
        "the internet": ping("external") + tcp("external:80") + udp("external:53", frm=WEB),
        "a long datagram": udp(f"{WEB}:53", send="x" * 2000) + udp(f"{OTHER}:53", send="x" * 3000),
        "much data": tcp(f"{WEB}:8080", send="x" * 9000),
        "no such pod": ping("10.244.2.77") + ping("10.244.1.77"),
    }[kind]  # fmt: skip


KINDS = (
    "pods of one node", "pods of two nodes", "a Service", "pods and nodes", "a NodePort", "a NodePort from inside", "a hostPort",
    "a hostPort from pods", "the internet", "a long datagram", "much data", "no such pod",
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NETWORKS)
def test_the_kernel_agrees(name: str, kind: str) -> None:
    cluster = NETWORKS[name]
    agrees(scenario(flows(kind, cluster), cluster=cluster, pods=PODS), "table")
