"""Front-ends of Services, and events behind them, judged by this machine's kernel.

node-1 and node-2 have an endpoint each, node-3 has none; a client on node-3.
"""

from __future__ import annotations

import pytest

import twins
from twins import needs_twin

pytestmark = needs_twin

POD = """---
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: {app}}}}}
spec:
  nodeName: {node}
  terminationGracePeriodSeconds: 1
  containers: [{{name: c, ports: [{{containerPort: 8080}}, {{containerPort: 53, protocol: UDP}}]}}]
"""
SERVICE = """---
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec:
  type: LoadBalancer
  selector: {{app: {app}}}
  externalIPs: [198.51.100.{number}]
  ports: [{{name: web, port: 80, targetPort: 8080, nodePort: 3008{number}}}, {{name: dns, port: 53, protocol: UDP}}]
  {more}
status: {{loadBalancer: {{ingress: [{{ip: 203.0.113.10{number}}}]}}}}
"""
OBJECTS = "".join(
    [POD.format(name=f"web-{number}", node=f"node-{number}", app="web") for number in (1, 2)]
    + [POD.format(name="client", node="node-3", app="client")]
    + [SERVICE.format(name="cluster", number=1, app="web", more="")]
    + [SERVICE.format(name="etp", number=2, app="web", more="externalTrafficPolicy: Local")]
    + [SERVICE.format(name="itp", number=3, app="web", more="internalTrafficPolicy: Local")]
    + [SERVICE.format(name="none", number=4, app="none", more="")]
    + [SERVICE.format(name="sticky", number=5, app="web", more="sessionAffinity: ClientIP")]
    + [SERVICE.format(name="ranged", number=6, app="web", more="loadBalancerSourceRanges: [10.9.0.0/16]")]
)


def tcp(source: str, to: str, more: str = "") -> str:
    return f'- tcp: {{from: {source}, to: "{to}", send: hi{more}}}\n'


def agrees(steps: str, cluster: str = "{nodes: 3, hairpin: true}", more: str = "") -> None:
    head = f"apiVersion: emu/v1\nkind: Scenario\nmetadata: {{name: services}}\ncluster: {cluster}\nsteps:\n"
    twins.agrees(head + steps + OBJECTS + more, "services")


C, N1, N3, OUT = "default/client", "node/node-1", "node/node-3", "external"
ROWS = {
    "node ports": tcp(OUT, "node/node-1:30081") + tcp(OUT, "node/node-3:30081") + tcp(N3, "node/node-3:30081"),
    "node ports on localhost": tcp(N1, "127.0.0.1:30081") + tcp(N3, "127.0.0.1:30082"),
    "from a pod": tcp(C, "node/node-3:30081") + tcp(C, "203.0.113.101:80") + tcp(C, "198.51.100.1:80"),
    "from outside": tcp(OUT, "203.0.113.101:80") + tcp(OUT, "198.51.100.1:80"),
    "from a node": tcp(N3, "203.0.113.101:80") + tcp(N1, "198.51.100.1:80") + tcp(N3, "svc/cluster:80"),
    "external policy local": tcp(OUT, "203.0.113.102:80") + tcp(C, "203.0.113.102:80") + tcp(N3, "203.0.113.102:80"),
    "external policy local, none there": tcp(OUT, "node/node-3:30082", ", timeout: 500ms"),
    # its own rules drop it: no frame anywhere, and what counts is counted
    "internal policy local, none there": tcp(N3, "svc/itp:80", ", timeout: 500ms"),
    "internal policy local": tcp(N1, "svc/itp:80") + tcp(C, "svc/itp:80", ", timeout: 500ms"),
    "hairpin": tcp("default/web-1", "svc/cluster:80") * 4,
    "rejected": tcp(C, "svc/none:80") + tcp(OUT, "node/node-1:30084") + tcp(OUT, "203.0.113.104:80"),
    "affinity": tcp(C, "svc/sticky:80") * 3 + tcp(C, "203.0.113.105:80"),
    "source ranges": tcp(OUT, "203.0.113.106:80", ", timeout: 500ms") + tcp(OUT, "node/node-1:30086"),
}
EVENTS = """\
- tcp: {from: external, to: "203.0.113.102:80", send: hi}
- delete: pod/web-1
- tcp: {from: external, to: "203.0.113.102:80", send: hi}
- tcp: {from: default/client, to: "svc/cluster:80", send: hi}
- delete: service/cluster
- tcp: {from: default/client, to: "svc/etp:80", send: hi}
"""


@pytest.mark.parametrize("steps", ROWS.values(), ids=ROWS.keys())
def test_front_ends(steps: str) -> None:
    agrees(steps)


def test_behind_a_switch() -> None:
    agrees(ROWS["from outside"] + ROWS["external policy local"], "{nodes: 3, underlay: switched}")


def test_events() -> None:
    """An endpoint goes, then a Service: rules follow on every node, and the outside finds the endpoint that is left."""
    agrees(EVENTS, more=POD.format(name="bystander", node="node-1", app="none-2"))
