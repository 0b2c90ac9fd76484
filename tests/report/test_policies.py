"""What `emu policy` shows, as golden text: who may come in, the truth table, and what differs between two sets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from emu.cli import main

OBJECTS = """
{apiVersion: v1, kind: Namespace, metadata: {name: shop}}
---
{apiVersion: v1, kind: Pod, metadata: {name: web, namespace: shop, labels: {app: web}}, spec: {nodeName: node-1, containers: [{name: c}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: db, namespace: shop, labels: {app: db}}, spec: {nodeName: node-2, containers: [{name: c}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: near, namespace: shop}, spec: {nodeName: node-2, containers: [{name: c}]}}
"""
POLICY = """---
{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: p, namespace: shop}, spec: {podSelector: {matchLabels: {app: db}},
  ingress: [{from: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: 8080}]}]}}
"""
EXPLAINED = """\
shop/db is selected for ingress by: NetworkPolicy shop/p
shop/db is selected for egress by: no policy

DIRECTION   PEERS                                                      PORTS      BY
ingress     shop/near, node/node-1, external                           none       isolated by shop/p, no rule allows
ingress     shop/web                                                   TCP 8080   NetworkPolicy shop/p ingress[0].from[0]
ingress     node/node-2                                                all        own node
egress      shop/near, shop/web, node/node-1, node/node-2 and 1 more   all        not isolated
"""
MATRIX = """\
8080/TCP      shop/db   shop/near   shop/web   node/node-1   node/node-2   external
shop/db       -         .           .          .             .             .
shop/near     X         -           .          .             .             .
shop/web      .         .           -          .             .             .
node/node-1   X         .           .          -             .             .
node/node-2   .         .           .          .             -             .
external      X         .           .          .             .             -
"""
DIFFERENCE = """\
FROM          TO        BEFORE   AFTER      BY
shop/near     shop/db   all      none       isolated by shop/p, no rule allows
shop/web      shop/db   all      TCP 8080   isolated by shop/p, no rule allows
node/node-1   shop/db   all      none       isolated by shop/p, no rule allows
external      shop/db   all      none       isolated by shop/p, no rule allows
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "before.yaml").write_text(OBJECTS)
    (tmp_path / "after.yaml").write_text(OBJECTS + POLICY)


@pytest.mark.parametrize(
    ("words", "status", "shown"),
    [
        (["explain", "-D", "shop/db", "-f", "after.yaml"], 0, EXPLAINED),
        (["explain", "-D", "db", "-n", "shop", "-f", "after.yaml"], 0, EXPLAINED),
        (["matrix", "-f", "after.yaml"], 0, MATRIX),
        (["diff", "before.yaml", "after.yaml"], 1, DIFFERENCE),
        (["diff", "after.yaml", "after.yaml"], 0, "no pair may connect on other ports than before\n"),
    ],
)
def test_the_tables(words: list[str], status: int, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", *words]) == status
    assert capsys.readouterr().out == shown


def test_the_matrix_of_a_port_that_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "matrix", "-f", "after.yaml", "--port", "53/udp", "-o", "json"]) == 0
    cells = json.loads(capsys.readouterr().out)["53/UDP"]
    assert cells["shop/web"]["shop/db"] == "X" and cells["node/node-2"]["shop/db"] == "."


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["explain", "-f", "after.yaml"], "explain needs a pod (expected -D NAMESPACE/POD)"),
        (["explain", "-D", "shop/dn", "-f", "after.yaml"], 'no pod, workload or Service is called "shop/dn"'),
        (["matrix", "-f", "after.yaml", "--port", "http"], "'http' is not a port"),
        (["diff", "after.yaml"], "diff compares two sets of manifests"),
        (["matrix", "after.yaml"], "matrix takes no file by its place"),
        (["matrix"], "no manifests are named"),
    ],
)
def test_bad_input(words: list[str], error: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", *words]) == 2
    assert error in capsys.readouterr().err


def test_a_frame_that_dies_carries_the_policy_and_the_rule(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    text = "apiVersion: emu/v1\nkind: Scenario\nmetadata: {name: s}\ncluster: {policy: kube-router}\nsteps: []\n---"
    (tmp_path / "s.yaml").write_text(text + OBJECTS + POLICY)
    assert main(["trace", "-S", "near", "-n", "shop", "-D", "db:8080", "-f", "s.yaml"]) == 0
    shown = capsys.readouterr().out
    assert shown.endswith("policy: the ingress of shop/db forbids it: isolated by shop/p, no rule allows\n")
    assert "filter KUBE-POD-FW-" in shown and "rule 6: REJECT" in shown
