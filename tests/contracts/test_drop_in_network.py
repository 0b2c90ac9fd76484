"""A pod network with a node agent comes in as one folder: dropped into a copy of the package, it is everywhere.

The folder is the example of ARCHITECTURE.md. The copy runs in processes of its own.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from emu.kube.networks.network import networks

pytestmark = pytest.mark.slow  # commands in processes of their own

ROOT = Path(__file__).parents[2]
EXAMPLE = re.findall(
    r"^```\w+\n# file: (emu/kube/networks/hostroutes/\S+)\n(.*?)^```$",
    (ROOT / "ARCHITECTURE.md").read_text(),
    re.M | re.S,
)
STORY = """
apiVersion: emu/v1
kind: Scenario
metadata: {name: story}
cluster: {nodes: 3, network: NETWORK, underlay: switched}
steps:
- name: there
  tcp: {from: default/a, to: "default/c:80", send: hello}
  expect: {outcome: delivered, at: default/c, dnat: none, snat: none}
- name: back
  ping: {from: default/c, to: default/a}
  expect: {outcome: delivered, at: default/a, dnat: none, snat: none}
"""
PODS = "".join(
    f"---\n{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, "
    f"spec: {{nodeName: {node}, containers: [{{name: c, ports: [{{containerPort: 80}}]}}]}}}}\n"
    for name, node in (("a", "node-1"), ("c", "node-3"))
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package with the example among its networks, and a scenario beside it."""
    place = tmp_path_factory.mktemp("copy")
    shutil.copytree(ROOT / "emu", place / "emu")
    (place / "emu" / "kube" / "networks" / "hostroutes").mkdir()
    for path, text in EXAMPLE:
        (place / path).write_text(text, encoding="utf-8")
    (place / "story.yaml").write_text(STORY.replace("NETWORK", "hostroutes") + PODS, encoding="utf-8")
    return place


def run(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(home), "NO_COLOR": "1"}
    return subprocess.run(
        [sys.executable, "-m", *words], cwd=home, env=env, capture_output=True, text=True, check=False
    )


def test_pods_reach_each_other_by_the_agents_routes(home: Path) -> None:
    done = run(home, "emu", "run", "story.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    shown = run(home, "emu", "show", "routes", "node-1", "-f", "story.yaml").stdout
    assert "10.244.2.0/24 via 192.168.50.12 dev eth0 proto static" in shown
    assert "10.244.3.0/24 via 192.168.50.13 dev eth0 proto static" in shown


def test_without_its_agent_the_network_reaches_no_other_node(home: Path) -> None:
    """So that it is the agent which makes the first test pass."""
    network = home / "emu" / "kube" / "networks" / "hostroutes" / "network.py"
    text = network.read_text(encoding="utf-8")
    without = text.replace('agents=("hostroutes-agent",)', "agents=()")
    assert without != text
    network.write_text(without, encoding="utf-8")
    try:
        done = run(home, "emu", "run", "story.yaml")
    finally:
        network.write_text(text, encoding="utf-8")
    assert done.returncode == 1
    assert "there" in done.stdout


def test_the_network_is_in_the_schema_and_in_messages(home: Path) -> None:
    schema = json.loads(run(home, "emu", "schema").stdout)
    known = sorted([*networks, "hostroutes"])
    assert schema["$defs"]["ClusterPart"]["properties"]["network"]["anyOf"][0]["enum"] == known
    (home / "wrong.yaml").write_text(STORY.replace("NETWORK", "hostrotues") + PODS, encoding="utf-8")
    done = run(home, "emu", "run", "wrong.yaml")
    assert done.returncode == 2
    assert f"expected {', '.join(known)}, or the path of a .conflist file" in " ".join(done.stderr.split())


def test_the_contract_tests_run_on_it(home: Path) -> None:
    for name in ("tests/support", "tests/conftest.py", "tests/contracts/test_networks.py", "pyproject.toml"):
        target = home / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, target)
    only = ["-k", "hostroutes", "-v", "-n", "0", "-p", "no:cacheprovider"]
    done = run(home, "pytest", "tests/contracts/test_networks.py", *only)
    assert done.returncode == 0, done.stdout + done.stderr
    passed = [line for line in done.stdout.splitlines() if "hostroutes" in line and "PASSED" in line]
    assert len(passed) >= 8
    assert any("test_an_agent_compiles_purely" in line for line in passed)
    assert any("test_pods_of_a_network_reach_each_other" in line for line in passed)
