"""Pods that no node can take: `run`, `trace` and `validate` give the scheduler's reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from emu.cli import main

Capsys = pytest.CaptureFixture[str]
HEAD = "apiVersion: emu/v1\nkind: Scenario\nmetadata: {name: story}\nsteps:\n- ping: {from: default/client, to: node/node-2}\n---\n"
CLIENT = "{apiVersion: v1, kind: Pod, metadata: {name: client}, spec: {containers: [{name: c}]}}\n"
WORKLOAD = """---
apiVersion: apps/v1
kind: KIND
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {SPEC, containers: [{name: c}]}
"""
WINDOWS = "nodeSelector: {kubernetes.io/os: windows}"
WHY = "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector."


def notes(capsys: Capsys) -> list[str]:
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: ")]


@pytest.mark.parametrize(
    ("kind", "fate"), [("Deployment", "stays Pending"), ("ReplicaSet", "stays Pending"), ("DaemonSet", "has no pods")]
)
def test_a_pod_without_a_node_is_noted(
    kind: str, fate: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    manifests = CLIENT + WORKLOAD.replace("KIND", kind).replace("SPEC", WINDOWS)
    Path("web.yaml").write_text(manifests)
    Path("story.yaml").write_text(HEAD + manifests)
    for command in (["run", "story.yaml"], ["validate", "story.yaml"], ["show", "routes", "node-1", "-f", "web.yaml"]):
        assert main(command) == 0, command
        [note] = notes(capsys)
        assert note.endswith(f"{fate}: {WHY}"), command
    assert main(["validate", "web.yaml"]) == 0
    [note] = notes(capsys)
    words = fate if kind == "DaemonSet" else "its pods stay Pending"
    assert note == f"note: web.yaml:3: {kind.lower()}/web: {words}: {WHY}"


@pytest.mark.parametrize("kind", ["Deployment", "DaemonSet"])
def test_a_pod_with_a_node_is_not(kind: str, tmp_path: Path, capsys: Capsys) -> None:
    path = tmp_path / "web.yaml"
    path.write_text(CLIENT + WORKLOAD.replace("KIND", kind).replace("SPEC", WINDOWS.replace("windows", "linux")))
    assert main(["validate", str(path)]) == 0
    assert notes(capsys) == []
