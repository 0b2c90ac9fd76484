"""What rows of the twin's tables are made of: one flow as a line of YAML, and manifests that several rows share."""

from __future__ import annotations

C = "default/client"
GET = "GET / HTTP/1.0\\r\\n\\r\\n"


def tcp(to: str, send: str = GET, frm: str = C, **k: object) -> str:
    more = "".join(f", {a}: {b}" for a, b in k.items())
    return f'- tcp: {{from: {frm}, to: "{to}", send: "{send}"{more}}}\n'


def udp(to: str, send: str = "hello", frm: str = C, **k: object) -> str:
    more = "".join(f", {a}: {b}" for a, b in k.items())
    return f'- udp: {{from: {frm}, to: "{to}", send: "{send}"{more}}}\n'


def ping(to: str, frm: str = C, **k: object) -> str:
    more = "".join(f", {a}: {b}" for a, b in k.items())
    return f'- ping: {{from: {frm}, to: "{to}"{more}}}\n'


def send(expr: str, frm: str = C) -> str:
    return f'- send: {{from: {frm}, scapy: "{expr}"}}\n'


ECHO = """apiVersion: v1
kind: Pod
metadata: {name: echo, labels: {app: echo}}
spec: {nodeName: node-2, containers: [{name: echo, ports: [{containerPort: 7}, {containerPort: 7, protocol: UDP}]}]}
"""
MANY = """apiVersion: apps/v1
kind: Deployment
metadata: {name: many}
spec:
  replicas: 5
  selector: {matchLabels: {app: many}}
  template:
    metadata: {labels: {app: many}, annotations: {emu/app: "http@8080"}}
    spec: {containers: [{name: many, ports: [{containerPort: 8080}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: many}
spec: {clusterIP: 10.96.0.20, selector: {app: many}, ports: [{port: 80, targetPort: 8080}]}
"""
NODEPORT = """apiVersion: v1
kind: Service
metadata: {name: np}
spec:
  type: NodePort
  clusterIP: 10.96.0.30
  POLICY
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080, nodePort: 30080}]
"""
HOSTNET = """apiVersion: v1
kind: Pod
metadata: {name: hostpod, labels: {app: hostpod}, annotations: {emu/app: "http@9090"}}
spec: {nodeName: node-2, hostNetwork: true, containers: [{name: h, ports: [{containerPort: 9090}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: hostsvc}
spec: {clusterIP: 10.96.0.40, selector: {app: hostpod}, ports: [{port: 80, targetPort: 9090}]}
"""
SINK = """apiVersion: v1
kind: Pod
metadata: {name: sink, annotations: {emu/app: "sink@9,sink@9/udp"}}
spec: {nodeName: node-2, containers: [{name: sink}]}
"""


NODEPORT_UDP = """apiVersion: v1
kind: Service
metadata: {name: cut}
spec:
  type: NodePort
  clusterIP: 10.96.0.53
  selector: {app: web}
  ports: [{port: 53, targetPort: 53, protocol: UDP, nodePort: 30053}]
"""
# Pods that end at once, so that the kernel's side does not wait for their grace period
BRIEF = MANY.replace("spec: {containers", "spec: {terminationGracePeriodSeconds: 0, containers")


def np(policy: str = "") -> str:
    return NODEPORT.replace("  POLICY\n", f"  {policy}\n" if policy else "")
