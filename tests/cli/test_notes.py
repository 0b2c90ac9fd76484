"""What is allowed and probably not meant: `run`, `trace` and `validate` note the same, each once, and a run's last line
agrees with its exit status."""

from __future__ import annotations

from pathlib import Path

import pytest

from emu.cli import main

HEAD = """
apiVersion: emu/v1
kind: Scenario
metadata: {name: s}
steps:
- tcp: {from: default/client, to: "default/web:8081"}
"""
OBJECTS = """
{apiVersion: v1, kind: Pod, metadata: {name: client}, spec: {nodeName: node-1, containers: [{name: c}]}}
---
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec: {nodeName: node-1, containers: [{name: c, ports: [{containerPort: 8080}]}]}
---
{apiVersion: v1, kind: Pod, metadata: {name: lost}, spec: {nodeSelector: {disk: fast}, containers: [{name: c}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: none}, spec: {selector: {app: nope}, ports: [{port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {selector: {app: web}, ports: [{port: 80}]}}
"""
POLICY = """
{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: deny}, spec: {podSelector: {}}}
"""
NOTES = (
    "service/none: its selector matches no pod, so it has no endpoints",
    "service/web: targetPort 80 of port 80 is declared by no container: it will refuse",
    "pod/lost: stays Pending: 0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector.",
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.yaml").write_text(f"{HEAD}---{OBJECTS}")
    (tmp_path / "objects.yaml").write_text(OBJECTS)
    return tmp_path


@pytest.mark.parametrize(
    "command",
    [
        ["validate", "s.yaml"],
        ["run", "s.yaml"],
        ["trace", "-S", "client", "-D", "web:80", "-f", "objects.yaml"],
        ["trace", "-S", "client", "-D", "web:80", "-f", "s.yaml"],
    ],
    ids=" ".join,
)
def test_every_command_notes_it_once(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    main(command)
    err = capsys.readouterr().err
    assert [err.count(each) for each in NOTES] == [1, 1, 1], err


@pytest.mark.usefixtures("unknown_dataplane")
@pytest.mark.parametrize(
    ("expect", "policy", "status", "last"),
    [
        ("", POLICY, 3, "s: 1 flow, 2 checks, 1 undecided"),
        ("  expect: {outcome: delivered}\n", POLICY, 3, "s: 1 flow, 3 checks, 1 undecided, 1 failed"),
        ("  expect: {outcome: refused}\n", "", 0, "s: 1 flow, 3 checks, all held"),
        ("  expect: {outcome: delivered}\n", "", 1, "s: 1 flow, 3 checks, 1 failed"),
    ],
)
def test_the_last_line_agrees_with_the_exit_status(
    expect: str, policy: str, status: int, last: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = f"{HEAD}{expect}---{OBJECTS}" + (f"---{policy}" if policy else "")
    if policy:  # where it is not modelled what enforces it
        text = text.replace("steps:", "cluster: {network: kindnet}\nsteps:")
    (folder / "s.yaml").write_text(text)
    assert main(["run", "s.yaml"]) == status
    assert capsys.readouterr().out.rstrip().splitlines()[-1].partition(";")[0] == last
