"""Which rules of policies a run used: by every way of a flow, and as text and JSON, after a run and by `emu policy coverage`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from emu.cli import main
from emu.scenario.gallery import story

DNS = """\
POLICY                   RULE                  FLOWS
NetworkPolicy shop/dns   egress[0]             2
NetworkPolicy shop/dns   egress: none allows   0
NetworkPolicy shop/web   egress[0]             2
NetworkPolicy shop/web   egress: none allows   1

2 of 2 rules were used
"""
SCENARIO = """
apiVersion: emu/v1
kind: Scenario
metadata: {name: s}
cluster: {nodes: 2, policy: POLICY}
steps:
- tcp: {from: default/web, to: "svc/db:80", send: x, close: false}
  expect: {outcome: delivered, policy: none}
- udp: {from: default/web, to: "default/db:53", send: x}
  expect: {outcome: rejected, code: port-unreachable, policy: "ingress of default/db: isolated by default/db"}
- tcp: {from: external, to: "node/node-1:30080", send: x}
  expect: {outcome: delivered}
---
{apiVersion: v1, kind: Pod, metadata: {name: web, labels: {app: web}}, spec: {nodeName: node-1, containers: [{name: c}]}}
---
apiVersion: v1
kind: Pod
metadata: {name: db, labels: {app: db}}
spec: {nodeName: node-2, containers: [{name: c, ports: [{containerPort: 8080}, {containerPort: 53, protocol: UDP}]}]}
---
{apiVersion: v1, kind: Service, metadata: {name: db}, spec: {type: NodePort, selector: {app: db}, ports: [{port: 80, targetPort: 8080, nodePort: 30080}]}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db}
spec:
  podSelector: {matchLabels: {app: db}}
  ingress:
  - {from: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: 8080}]}
  - {from: [{ipBlock: {cidr: 192.168.51.11/32}}]}
  - {from: [{namespaceSelector: {matchLabels: {team: none}}}]}
"""


def test_a_look_up_uses_rules_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "coverage", "-f", str(story("policy-dns-forgotten"))]) == 0
    assert capsys.readouterr().out == DNS


def test_a_run_shows_the_rules_that_no_flow_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The packet of a client outside comes to the pod's node with the address of the node that took it."""
    path = tmp_path / "s.yaml"
    path.write_text(SCENARIO.replace("POLICY", "kube-router"))
    assert main(["run", str(path), "-d", str(tmp_path / "out"), "--view", "policy-coverage", "-o", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    rows = (found[0] if isinstance(found, list) else found)["policy-coverage"]
    assert [(each["rule"], each["flows"]) for each in rows] == [
        ("ingress[0]", 1), ("ingress[1]", 1), ("ingress[2]", 0), ("ingress: none allows", 1)
    ]  # fmt: skip
    assert main(["policy", "coverage", "-f", str(path)]) == 0
    assert capsys.readouterr().out.endswith("2 of 3 rules were used\nnever used: NetworkPolicy default/db ingress[2]\n")


def test_where_nothing_enforces_policies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "coverage", "-f", str(story("policy-not-enforced"))]) == 0
    assert capsys.readouterr().out == "nothing enforces network policies in this cluster\n"
