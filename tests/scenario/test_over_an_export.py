"""Scenarios whose manifests are the export of a running cluster: steps run in that cluster, with its addresses and state."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from emu.cli import main
from emu.errors import InputError
from emu.kube.api.core import Pod
from emu.scenario.build import build
from emu.scenario.run import run
from emu.scenario.script import load
from exports import Shape, addresses, export

FOUND = export(Shape("kubeadm", 3))
HEAD = "apiVersion: emu/v1\nkind: Scenario\nmetadata: {name: over}\nmanifests: [dump.json]\n"
DEBUG = "---\n{apiVersion: v1, kind: Pod, metadata: {name: debug}, spec: {containers: [{name: c}]}}\n"
STEPS = """steps:
- tcp: {from: default/tools, to: "svc/cart.shop:80"}
  expect: {outcome: rejected, code: port-unreachable}
- scale: {deployment/shop/cart: 2}
- tcp: {from: default/tools, to: "svc/cart.shop:80"}
  expect: {outcome: delivered}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dump.json").write_text(json.dumps(FOUND), encoding="utf-8")
    return tmp_path


def write(folder: Path, text: str) -> Path:
    path = folder / "over.yaml"
    path.write_text(HEAD + text, encoding="utf-8")
    return path


def test_the_cluster_is_that_of_the_export(folder: Path) -> None:
    cluster = build(load(write(folder, STEPS)))
    wanted = {name: ip for name, ip in addresses(FOUND).items() if name.startswith("Pod/shop/web-")}
    assert wanted == {f"Pod/{name}": str(pod.ip) for name, pod in cluster.pods.items() if name.startswith("shop/web-")}


def test_steps_change_the_cluster_of_the_export(folder: Path) -> None:
    result = run(load(write(folder, STEPS)))
    assert result.failures == [] and result.exit_status == 0


def test_what_the_scenario_declares_joins_the_cluster(folder: Path) -> None:
    cluster = build(load(write(folder, STEPS + DEBUG)))
    pod = cluster.store.get(Pod, "default", "debug")
    assert pod is not None and pod.ready
    assert cluster.tcp("default/debug", "svc/web.shop:80", b"?").outcome.word == "delivered"


def test_an_export_behind_the_scenario_in_its_own_file_is_one_too(folder: Path) -> None:
    text = HEAD.replace("manifests: [dump.json]\n", "") + STEPS + "---\n" + json.dumps(FOUND)
    path = folder / "over.yaml"
    path.write_text(text, encoding="utf-8")
    assert run(load(path)).failures == []


def test_settings_beside_the_export_count(folder: Path) -> None:
    cluster = build(load(write(folder, "cluster: {sysctls: {net.ipv4.ip_default_ttl: 33}, cpus: 2}\n" + STEPS)))
    assert cluster.clock.cpus == 2
    assert {node.net.sysctl["net.ipv4.ip_default_ttl"] for node in cluster.nodes.values()} == {33}


@pytest.mark.parametrize("key", ["podSubnet: 10.9.0.0/16", "nodes: 2", "network: flannel", "dns: true"])
def test_a_key_that_the_export_decides_is_a_note(key: str, folder: Path) -> None:
    cluster = build(load(write(folder, f"cluster: {{{key}}}\n" + STEPS)))
    [note] = [each for each in cluster.warnings if "has no effect: the manifests are the export" in each]
    assert note.startswith(str(folder / "over.yaml") + ":5: cluster.") and key.partition(":")[0] in note
    assert len(cluster.nodes) == 3


def test_it_can_be_stated_that_objects_are_declared(folder: Path) -> None:
    cluster = build(load(write(folder, "cluster: {live: false}\n" + STEPS)))
    wanted = addresses(FOUND)["Pod/default/tools"]
    assert str(cluster.pods["default/tools"].ip) != wanted


def test_it_can_be_stated_that_objects_are_live_and_then_there_are_nodes(folder: Path) -> None:
    (folder / "dump.json").write_text('{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}}')
    with pytest.raises(InputError, match="neither a node nor a pod"):
        build(load(write(folder, "cluster: {live: true}\n" + STEPS)))


@pytest.mark.parametrize("command", [["validate"], ["get", "pods", "-A", "-f"]])
def test_other_commands_take_it(command: list[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(folder, STEPS + DEBUG)
    assert main([*command, str(path)]) == 0
    out = capsys.readouterr().out
    assert "over.yaml" in out if command == ["validate"] else "debug" in out
