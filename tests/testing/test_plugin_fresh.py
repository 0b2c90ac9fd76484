"""emu installed as a package in an environment of its own: pytest finds the plugin by itself, runs scenario files, and what fails
leaves its manifest, its capture and its walk."""

from __future__ import annotations

from pathlib import Path

import pytest

import fresh_environment
from emu.capture.pcapng import is_own
from emu.scenario.run import run as run_scenario

pytestmark = pytest.mark.slow

SCENARIO = """
apiVersion: emu/v1
kind: Scenario
metadata: {name: talk}
cluster: {nodes: 2}
steps:
- ping: {from: default/other, to: default/web}
- {name: ask, tcp: {from: default/client, to: "svc/web:80", send: hi}, expect: {outcome: OUTCOME}}
- ping: {from: default/other, to: default/web}
---
{apiVersion: v1, kind: Pod, metadata: {name: client}, spec: {nodeName: node-1, containers: [{name: a}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: other}, spec: {containers: [{name: a}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: web, labels: {app: web}}, spec: {nodeName: node-2, containers: [{name: a, ports: [{containerPort: 80}]}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {selector: {app: web}, ports: [{port: 80}]}}
"""
GOOD, BAD = SCENARIO.replace("OUTCOME", "delivered"), SCENARIO.replace("OUTCOME", "refused")
OTHERS = {
    "values.yaml": "a: 1\n",
    "pod.yaml": "apiVersion: v1\nkind: Pod\nmetadata: {name: a, annotations: {emu/app: http@80, x: emu/v1}}\n",
    "second.yaml": "apiVersion: v1\nkind: Pod\n---\napiVersion: emu/v1\nkind: Scenario\n",
    "templated.yaml": "{{ if emu/v1 }}\nkind: Scenario\n",
    "chaos.yaml": "apiVersion: chaos.example/v1\nkind: Scenario\nx: emu/v1\n",
    "text.txt": GOOD,
}
TESTS = """
import pytest
from hypothesis import given, settings, strategies as st

import emu

OBJECTS = [
    {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}},
     "spec": {"nodeName": node, "containers": [{"name": "a", "ports": [{"containerPort": 80}]}]}}
    for name, node in (("client", "node-1"), ("web", "node-2"))
]


@pytest.mark.cluster(OBJECTS, nodes=3)
def test_marked(cluster):
    assert list(cluster.nodes) == ["node-1", "node-2", "node-3"]
    cluster.iptables("node-2", "-I FORWARD -p tcp --dport 80 -j DROP")
    assert cluster.ping("default/client", "default/web").delivered
    assert cluster.tcp("default/client", "default/web:80", b"x", timeout_s=1).delivered


@pytest.mark.cluster(OBJECTS, nodes=3)
def test_the_next_one_has_a_cluster_of_its_own(cluster):
    assert not cluster.flows
    assert cluster.tcp("default/client", "default/web:80", b"x").delivered


@settings(deadline=None)  # on a busy machine the smallest example would be one that was slow
@given(st.integers(1, 60000))
def test_property(port):
    cluster = emu.Cluster(2, OBJECTS)
    if port > 1000:
        cluster.iptables("node-1", "-A FORWARD -p tcp -j REJECT")
    flow = cluster.tcp("default/client", "default/web:80", b"x", port=port)
    assert flow.delivered


def test_lab(lab):
    one, other = lab.host("one"), lab.host("other")
    lab.cable(one, "10.0.0.1/24", other, "10.0.0.2/24")
    one.sockets.ping(1).send("10.0.0.2")
    lab.run(1)
    assert one.name == "two"


def test_scenario(scenario):
    assert scenario("good.yaml").exit_status == 0
    scenario("bad.yaml")
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(fresh_environment.make(tmp_path_factory.mktemp("fresh")))


def test_a_folder_with_one_scenario(python: str, tmp_path: Path) -> None:
    """And other YAML files, which are none of ours."""
    (tmp_path / "good.yaml").write_text(GOOD)
    for name, text in OTHERS.items():
        (tmp_path / name).write_text(text)
    assert "1 passed" in fresh_environment.run(python, "-m", "pytest", cwd=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith(".")) == sorted(
        ["good.yaml", *OTHERS]
    )


@pytest.mark.parametrize("more", [(), ("-n", "2"), ("--emu-captures", "left")], ids=" ".join)
def test_a_failing_scenario_leaves_its_artefacts(python: str, tmp_path: Path, more: tuple[str, ...]) -> None:
    for name, text in (("good.yaml", GOOD), ("bad.yaml", BAD)):
        (tmp_path / name).write_text(text)
    shown = fresh_environment.run(python, "-m", "pytest", *more, cwd=tmp_path, status=1)
    assert "1 failed, 1 passed" in shown
    assert "outcome is delivered, expected refused" in shown and "Traceback" not in shown
    root = tmp_path / (more[1] if more[:1] == ("--emu-captures",) else "emu-captures")
    assert (root / ".gitignore").read_text() == "*\n"
    (folder,) = (path for path in root.iterdir() if path.is_dir())
    assert {path.name for path in folder.iterdir()} == {"scenario.yaml", "all.pcapng", "walk.txt", "page.html"}
    assert f"\n{folder.relative_to(tmp_path)}/page.html#flow=1&step=1\n" in shown
    for name in ("scenario.yaml", "all.pcapng", "walk.txt"):
        assert f"\n{folder.relative_to(tmp_path) / name}\n" in shown
    assert is_own(folder / "all.pcapng")
    small = run_scenario(folder / "scenario.yaml")
    assert (
        small.exit_status == 1
        and len(small.steps) == 1
        and sorted(small.cluster.pods) == ["default/client", "default/web"]
    )
    walk = (folder / "walk.txt").read_text()
    assert "DNAT" in walk and "who-has" not in walk
    assert f"seed 0; again: emu run {folder.relative_to(tmp_path)}/scenario.yaml\n" in shown
    assert "emu: the walk" in shown


def test_wrong_input_is_one_message(python: str, tmp_path: Path) -> None:
    (tmp_path / "typo.yaml").write_text(GOOD.replace("to: default/web", "tp: default/web", 1))
    (tmp_path / "broken.yaml").write_text("apiVersion: emu/v1\nkind: Scenario\nsteps: [\n")
    (tmp_path / "empty.yaml").write_text("apiVersion: emu/v1\nkind: Scenario\nsteps: []\n")
    shown = fresh_environment.run(python, "-m", "pytest", cwd=tmp_path, status=1)
    assert "3 failed" in shown and "Traceback" not in shown and "INTERNALERROR" not in shown
    assert 'typo.yaml:7: steps[0].ping.tp: unknown key "tp"' in shown
    assert "nothing was checked" in shown


def test_failing_tests_leave_theirs(python: str, tmp_path: Path) -> None:
    for name, text in (("good.yaml", GOOD), ("bad.yaml", BAD), ("test_it.py", TESTS)):
        (tmp_path / name).write_text(text)
    shown = fresh_environment.run(python, "-m", "pytest", "test_it.py", cwd=tmp_path, status=1)
    assert "4 failed, 1 passed" in shown, shown
    left = {
        path.name.partition("--")[2].rpartition("-")[0]: path
        for path in (tmp_path / "emu-captures").iterdir()
        if path.is_dir()
    }
    assert set(left) == {"test_marked", "test_property", "test_lab", "test_scenario"}
    walks = {name: (path / "walk.txt").read_text() for name, path in left.items()}
    assert "-A FORWARD -p tcp -m tcp --dport 80 -j DROP" in walks["test_marked"] and "ICMP" not in walks["test_marked"]
    assert "-j REJECT" in walks["test_property"] and "TCP 1001>80" in walks["test_property"], "the smallest example's"
    assert "10.0.0.1>10.0.0.2 ttl64 DF ICMP" in walks["test_lab"] and "DNAT" in walks["test_scenario"]
    assert run_scenario(left["test_scenario"] / "scenario.yaml").exit_status == 1
    assert "name: client" in (left["test_property"] / "manifests.yaml").read_text()
    assert not (left["test_lab"] / "manifests.yaml").exists()
    assert "again: python -m pytest test_it.py::test_property --hypothesis-seed=" in shown
    assert "again: python -m pytest test_it.py::test_marked\n" in shown
