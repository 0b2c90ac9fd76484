"""Typical mistakes in files and on the command line: what is misspelt is named, with its place and what was meant, in run and in lint."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from emu.cli import main

Capsys = pytest.CaptureFixture[str]
SCENARIO = """\
apiVersion: emu/v1
kind: Scenario
metadata: {name: lesson}
steps:
- tcp: {from: default/client, to: "svc/web:80"}
  expect: {outcome: delivered}
---
apiVersion: v1
kind: Pod
metadata: {name: client}
spec: {containers: [{name: c}]}
---
apiVersion: v1
kind: Pod
metadata:
  name: server
  labels: {app: web}
  annotations: {emu/app: echo@8080}
spec:
  nodeName: node-2
  containers:
  - name: c
    ports: [{containerPort: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports:
  - port: 80
    targetPort: 8080
"""
# name: (what is written, what instead, exit status of run, what run prints, where, id of lint)
TYPOS = {
    "a kind": ("kind: Service", "kind: Sevice", 2, 'unknown kind "Sevice" in v1 (expected "Service"?)', 26, "unknown-kind"),
    "letter case": ("targetPort:", "targetport:", 1, 'unknown field "spec.ports[0].targetport" (expected "targetPort"?)', 32, "unknown-field"),
    "labels": ("labels: {app: web}", "lables: {app: web}", 1, 'unknown field "metadata.lables" (expected "labels"?)', 17, "unknown-field"),
    "containers": ("containers:\n", "contaners:\n", 2, 'unknown field "spec.contaners" (expected "containers"?)', 19, "invalid"),
    "a node": ("nodeName: node-2", "nodeName: node-9", 1, 'spec.nodeName: no node is called "node-9" (expected "node-2"?)', 13, "node-name"),
    "an app": ("emu/app: echo@8080", "emu/app: ehco@8080", 2, "no app is called 'ehco' (expected 'echo'?)", None, "invalid"),
}  # fmt: skip


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_without_a_mistake_it_holds(capsys: Capsys) -> None:
    Path("s.yaml").write_text(SCENARIO)
    assert main(["run", "s.yaml"]) == 0
    assert "note:" not in capsys.readouterr().err
    assert main(["lint", "s.yaml"]) == 0


@pytest.mark.parametrize("name", TYPOS)
def test_a_typo(name: str, capsys: Capsys) -> None:
    written, instead, status, words, line, id = TYPOS[name]
    assert SCENARIO.count(written) >= 1
    Path("s.yaml").write_text(SCENARIO.replace(written, instead))
    assert main(["run", "s.yaml"]) == status
    shown = capsys.readouterr().err
    assert words in shown, shown
    if line is not None:
        assert f"s.yaml:{line}: " in shown
    assert main(["lint", "s.yaml", "-o", "json"]) in (1, 2)
    found = json.loads(capsys.readouterr().out)["findings"]
    assert id in {each["id"] for each in found} and any(
        words.partition(" (expected")[0] in each["sentence"] for each in found
    )


@pytest.mark.parametrize(
    ("command", "error"),
    [
        ("show route node-1 -f p.yaml", ""),
        ("show rout node-1 -f p.yaml", "no view of a node is called 'rout' (expected 'routes'?)"),
        ("trace -S client -D web:80 -f p.yaml --detail much", "'much' is not one of 'minimal', 'summary', 'detailed'"),
        ("get podz -f p.yaml", "podz"),
        ("rnu p.yaml", "No such command 'rnu'"),
        ("run", "no scenario is named (expected FILE, -f FILE or -f FOLDER)"),
        ("lint", "no file is named (expected FILE, FOLDER or -)"),
        ("validate", "no file is named"),
        ("ladder", "no capture or scenario (expected one capture or scenario, by place or as -f FILE)"),
        ("why -S client -f p.yaml", "a question has two ends (expected -S SENDER -D RECEIVER)"),
    ],
)
def test_a_wrong_command(command: str, error: str, capsys: Capsys) -> None:
    Path("p.yaml").write_text(SCENARIO.partition("---\n")[2])
    assert main(command.split()) == (2 if error else 0)
    shown = capsys.readouterr().err
    assert error in shown and "Value error" not in shown and "Traceback" not in shown


def test_a_capture_by_its_name(capsys: Capsys) -> None:
    """`-w` states where the file is, and that it is a pcapng."""
    Path("s.yaml").write_text(SCENARIO)
    assert main(["run", "s.yaml", "-w", "x.pcap"]) == 0
    shown = capsys.readouterr()
    assert shown.out.rstrip().endswith("; every frame in x.pcap")
    assert "note: x.pcap is written as pcapng, whatever its name" in shown.err
    assert Path("x.pcap").read_bytes()[:4] == b"\x0a\x0d\x0d\x0a" and not Path("captures").exists()


def test_what_emu_prints_is_what_it_reads(capsys: Capsys) -> None:
    """The rules and routes that `emu show` prints go into `emu trace --rules`."""
    Path("p.yaml").write_text(SCENARIO.partition("---\n")[2])
    files = {"rules": "text", "routes": "json", "addresses": "json", "neigh": "json", "ip-rules": "json"}
    words = []
    for view, option in (("rules", "--rules"), ("routes", "--routes"), ("ip-rules", "--ip-rules")):
        assert main(["show", view, "node-1", "-f", "p.yaml", "-o", files[view]]) == 0
        Path(view).write_text(capsys.readouterr().out)
        words += [option, view]
    assert main(["trace", *words, "--from", "10.244.1.2", "--in-iface", "cbr0", "--to", "10.244.2.2:8080/tcp"]) == 0
    assert "out of eth0" in capsys.readouterr().out
