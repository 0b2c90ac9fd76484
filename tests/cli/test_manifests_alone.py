"""`emu run` of manifests alone: the pods that a cluster would bring up, what is left out, and a scenario to begin with.

Each public manifest that `manifest_pods` finds comes up by itself on three nodes; its pods are derived from its YAML.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from emu.cli import main
from manifest_pods import ROOT, differences, documents, files, left_out, old, refused

Capsys = pytest.CaptureFixture[str]
WEB = """\
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: NAMESPACE}
spec: {containers: [{name: c}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: NAMESPACE}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}, annotations: {emu/app: "http@8080"}}
    spec: {containers: [{name: web, ports: [{containerPort: 8080}]}]}
"""
SERVICE = """\
apiVersion: v1
kind: Service
metadata: {name: web, namespace: NAMESPACE}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
"""
HEAD = "apiVersion: emu/v1\nkind: Scenario\nsteps:\n- ping: {from: default/client, to: node/node-2}\n---\n"
INGRESS = "{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: web}, spec: {}}\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def piped(command: list[str], text: str) -> subprocess.CompletedProcess[str]:
    """`text | emu COMMAND`."""
    words = [sys.executable, "-m", "emu", *command]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(words, input=text, capture_output=True, text=True, check=False, env=environment)


def proposed(stderr: str) -> str:
    """The scenario at the end of stderr."""
    head, found, text = stderr.partition("apiVersion: emu/v1\n")
    assert head.splitlines()[-1].startswith("note: a scenario states what is sent") and found
    return found + text


@pytest.mark.parametrize("path", files(), ids=lambda path: path.stem)
def test_a_public_manifest_comes_up_as_in_a_cluster(path: Path, capsys: Capsys) -> None:
    found = documents(path)
    status = main(["run", str(path), "--nodes", "3", "-o", "json"])
    shown = capsys.readouterr()
    if refused(found):
        assert status == 2 and refused(found) in shown.err
        return
    assert status == 0, "nothing is expected"
    assert differences(found, json.loads(shown.out)["pods"]) == []
    notes = [line for line in shown.err.splitlines() if line.startswith("note: ")]
    for kind in left_out(found):
        assert any(f"kind {kind} " in line and f"{path}:" in line for line in notes) or any(
            "custom resources" in line and f" {kind} of " in line for line in notes
        ), kind
    for kind, today in old(found):
        assert any(f"{kind} is read as {today}: clusters since" in line for line in notes), kind
    Path("story.yaml").write_text(proposed(shown.err))
    policies = any(each["kind"] == "NetworkPolicy" for each in found)  # what they let through is no question here
    assert main(["run", "story.yaml"]) == 0 or policies, "the proposed scenario holds"


def test_the_public_manifests_are_there() -> None:
    assert {"guestbook", "microservices-demo"} <= {path.stem for path in files()}


@pytest.mark.parametrize("namespace", ["default", "blue"])
@pytest.mark.parametrize("service", [True, False], ids=["service", "pods alone"])
def test_a_folder(service: bool, namespace: str, folder: Path, capsys: Capsys) -> None:
    """As `kubectl apply -f FOLDER`; the scenario that is proposed runs as it is."""
    (folder / "app").mkdir()
    (folder / "app" / "web.yaml").write_text(WEB.replace("NAMESPACE", namespace))
    (folder / "app" / "ingress.yml").write_text(INGRESS)
    if service:
        (folder / "app" / "service.yaml").write_text(SERVICE.replace("NAMESPACE", namespace))
    assert main(["run", "-f", "app"]) == 0
    shown = capsys.readouterr()
    lines = [line.split() for line in shown.out.splitlines()]
    assert lines[0] == ["NAMESPACE", "NAME", "READY", "STATUS", "IP", "NODE"]
    assert lines[1] == [namespace, "client", "yes", "Running", "10.244.1.2", "node-1"]
    assert lines[2][0] == namespace and lines[2][1].startswith("web-") and lines[2][2:4] == ["yes", "Running"]
    assert lines[3] == ["nothing", "was", "checked:", "manifests", "have", "no", "steps"]
    assert "ingress.yml:1: ingress/web: kind Ingress is not modelled" in shown.err
    assert not (folder / "captures").exists(), "nothing was sent"
    text = proposed(shown.err)
    step = "- tcp: {from: " if service else "- ping: {from: "
    assert "manifests: [app]" in text and f'{step}"{namespace}/client", to: ' in text
    (folder / "story.yaml").write_text(text)
    assert main(["run", "story.yaml"]) == 0


def test_a_pod_of_a_workload_is_named_by_its_workload(folder: Path, capsys: Capsys) -> None:
    (folder / "web.yaml").write_text(WEB.partition("---\n")[2].replace("NAMESPACE", "default"))
    assert main(["run", "web.yaml", "--network", "kindnet"]) == 0
    text = proposed(capsys.readouterr().err)
    assert 'ping: {from: "default/web-*", to: external}' in text and "network: kindnet" in text


@pytest.mark.parametrize("command", [["run", "-"], ["run", "-f", "-"]], ids=" ".join)
def test_standard_input(command: list[str], folder: Path) -> None:
    """It can be read once. The proposed scenario has a place for the manifests, as they are in no file."""
    manifests = WEB.replace("NAMESPACE", "default")
    done = piped(command, manifests)
    assert done.returncode == 0 and "default     client" in done.stdout
    text = proposed(done.stderr)
    assert "manifests:" not in text and text.endswith("---\n# here the manifests follow\n")
    done = piped(command, text + manifests)
    assert done.returncode == 0 and (folder / "captures" / "stdin" / "all.pcapng").exists(), done.stderr


@pytest.mark.parametrize("command", [["show", "routes", "node-1", "-f", "-"], ["validate", "-"]], ids=" ".join)
@pytest.mark.parametrize("head", ["", HEAD], ids=["manifests", "scenario"])
def test_standard_input_of_other_commands(command: list[str], head: str) -> None:
    text = head + WEB.replace("NAMESPACE", "default")
    done = piped(command, text)
    assert done.returncode == 0 and done.stdout, done.stderr


def test_manifests_without_pods_are_noted(folder: Path, capsys: Capsys) -> None:
    (folder / "service.yaml").write_text(SERVICE.replace("NAMESPACE", "default"))
    assert main(["run", "service.yaml"]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("no pods\n") and "its selector matches no pod" in shown.err
    assert "apiVersion: emu/v1" not in shown.err


def test_a_scenario_among_manifests_is_refused(folder: Path, capsys: Capsys) -> None:
    (folder / "web.yaml").write_text(f"{WEB}---\napiVersion: emu/v1\nkind: Scenario\n")
    assert main(["run", "web.yaml"]) == 2
    assert (
        "web.yaml:15: a scenario behind manifests (expected one scenario a file, first in it)"
        in capsys.readouterr().err
    )
