"""Scenarios of changes for the twin: a client on node-1, pods and Services that come and go, and connections left open."""

from __future__ import annotations

from twin_rows import C, tcp

POD = """---
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: {app}}}, annotations: {{{notes}}}}}
spec:
  nodeName: {node}
  terminationGracePeriodSeconds: {grace}
  containers: [{{name: c, ports: [{{containerPort: 7}}, {{containerPort: 7, protocol: UDP}}, {{containerPort: 8080}}]}}]
"""
DEPLOYMENT = """---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: d}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: d}}}}
  template:
    metadata: {{labels: {{app: d}}, annotations: {{{notes}}}}}
    spec:
      terminationGracePeriodSeconds: {grace}
      containers: [{{name: c, ports: [{{containerPort: 7}}, {{containerPort: 7, protocol: UDP}}]}}]
"""
SERVICE = """---
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec:
  type: NodePort
  clusterIP: {ip}
  selector: {{app: {app}}}
  {more}
  ports:
  - {{name: t, port: 80, targetPort: 7, nodePort: 30080}}
  - {{name: u, port: 80, targetPort: 7, protocol: UDP, nodePort: 30080}}
"""
HTTP = 'emu/app: "http@8080"'
ENDPOINT = POD.format(name="e", app="e", node="node-2", grace=0, notes=HTTP)
SLOW = POD.format(name="e", app="e", node="node-2", grace=3, notes=HTTP)
NEAR = POD.format(name="near", app="e", node="node-1", grace=0, notes=HTTP)
S = SERVICE.format(name="s", ip="10.96.0.77", app="e", more="")
D = SERVICE.format(name="d", ip="10.96.9.9", app="d", more="")


def text(steps: str, objects: str = ENDPOINT + S, cluster: str = "{nodes: 2}") -> str:
    """A scenario of a client on node-1."""
    head = f"apiVersion: emu/v1\nkind: Scenario\nmetadata: {{name: changes}}\ncluster: {cluster}\nsteps:\n"
    return head + steps + POD.format(name="client", app="c", node="node-1", grace=0, notes="") + objects


def of(replicas: int, grace: int = 0, notes: str = "") -> str:
    return DEPLOYMENT.format(replicas=replicas, grace=grace, notes=notes) + D


def chat(to: str, frm: str = C) -> str:
    return f'- name: chat\n  tcp: {{from: {frm}, to: "{to}", send: hi, close: false}}\n'


def more(send: str, close: str = "false", timeout: str = "2500ms") -> str:
    return f"- more: {{of: chat, send: {send}, close: {close}, timeout: {timeout}}}\n"


def hi(to: str, frm: str = C, **k: object) -> str:
    return tcp(to, send="hi", frm=frm, **k)
