"""The smallest cluster in which something happens: a client on node-1, and a pod on node-2 behind the Service `web`."""

from __future__ import annotations

MANIFESTS = """\
{apiVersion: v1, kind: Pod, metadata: {name: client}, spec: {nodeName: node-1, containers: [{name: c}]}}
---
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec: {nodeName: node-2, containers: [{name: c, ports: [{containerPort: 8080}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: 10.96.0.10, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
"""
# the documents behind a scenario's first: two pods, on the nodes that the scheduler chooses
PODS = """
---
apiVersion: v1
kind: Pod
metadata: {name: client}
spec: {containers: [{name: app}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web}
spec: {containers: [{name: app}]}
"""


def head(name: str, steps: str, manifests: str = "") -> str:
    """A scenario's first document, with two nodes; `manifests` are files."""
    files = f"manifests: [{manifests}]\n" if manifests else ""
    return (
        f"apiVersion: emu/v1\nkind: Scenario\nmetadata: {{name: {name}}}\ncluster: {{nodes: 2}}\n{files}steps:\n{steps}"
    )


def scenario(name: str, steps: str) -> str:
    """A whole scenario in one text."""
    return f"{head(name, steps)}---\n{MANIFESTS}"
