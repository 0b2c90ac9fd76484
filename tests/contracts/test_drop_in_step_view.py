"""An action and two views come in by one file each: dropped into a copy of the package, they are on the command line, in
the schema and in the contract tests.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # commands in processes of their own

ROOT = Path(__file__).parents[2]
UNCORDON = '''"""`uncordon`: let the scheduler use nodes again, as `kubectl uncordon` does. Must not know the scheduler."""

from __future__ import annotations

from typing import Protocol

from emu.scenario.steps import Change, Doing, Settles, actions


class Uncordons(Settles, Protocol):
    def cordon(self, name: str, *, unschedulable: bool, settle: bool) -> None: ...


@actions.add("uncordon")
class UncordonAction(Change[str, Uncordons]):
    shape = str
    example = "- drain: node-2\\n- uncordon: node-2"

    def change(self, part: str, doing: Doing[Uncordons]) -> str:
        doing.cluster.cordon(part, unschedulable=False, settle=False)
        return f"{part} takes pods again"
'''
SOCKETS = '''"""A namespace's sockets, and those of a run. Must not know what they are for."""

from __future__ import annotations

from emu.kernel.net.netns import Netns
from emu.report import Report, run_views, views
from emu.scenario.record import Run


@views.add("sockets")
def sockets(net: Netns) -> Report:
    """The TCP sockets that listen, as `ss -tln` lists them."""
    ports = sorted(net.sockets.tcp_table.ports.bound)
    return Report({"listen": ports}, "\\n".join(["State  Port", *(f"LISTEN {port}" for port in ports)]))


@run_views.add("protocols")
def protocols(run: Run) -> Report:
    """The protocol of each flow of the run."""
    kinds = [each.flow.kind for each in run.flows]
    return Report(kinds, "\\n".join(kinds))
'''
STORY = """\
apiVersion: emu/v1
kind: Scenario
metadata: {name: story}
cluster: {nodes: 2}
steps:
- drain: node-2
- uncordon: node-2
- tcp: {from: default/client, to: "default/web:80", send: hello}
  expect: {outcome: delivered}
---
{apiVersion: v1, kind: Pod, metadata: {name: client}, spec: {nodeName: node-1, containers: [{name: c}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {nodeName: node-1, containers: [{name: c, ports: [{containerPort: 80}]}]}}
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package and the contract tests, with the two files dropped in."""
    folder = tmp_path_factory.mktemp("copy")
    unwanted = shutil.ignore_patterns("test_drop_in_*.py")
    for each in ("emu", "tests/contracts", "tests/support"):
        shutil.copytree(ROOT / each, folder / each, ignore=unwanted)
    for each in ("pyproject.toml", "tests/conftest.py"):
        shutil.copy(ROOT / each, folder / each)
    (folder / "emu/scenario/steps/uncordon.py").write_text(UNCORDON)
    (folder / "emu/report/sockets.py").write_text(SOCKETS)
    (folder / "story.yaml").write_text(STORY)
    return folder


def python(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "200"}
    command = [sys.executable, "-m", *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_on_the_command_line(copy: Path) -> None:
    done = python(copy, "emu", "run", "story.yaml", "--view", "protocols")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "node-2 takes pods again" in done.stdout
    assert "\ntcp\n" in done.stdout
    shown = python(copy, "emu", "show", "sockets", "default/web", "-f", "story.yaml")
    assert (shown.returncode, shown.stdout) == (0, "State  Port\nLISTEN 80\n"), shown.stderr
    assert (
        "sockets: The TCP sockets that listen, as `ss -tln` lists them." in python(copy, "emu", "show", "--help").stdout
    )
    assert "protocols: The protocol of each flow of the run." in python(copy, "emu", "run", "--help").stdout
    wrong = python(copy, "emu", "show", "sockts", "node-1", "-f", "story.yaml")
    assert wrong.stderr == "error: no view of a node is called 'sockts' (expected 'sockets'?)\n"


def test_in_the_schema_and_in_the_messages(copy: Path) -> None:
    step = json.loads(python(copy, "emu", "schema").stdout)["$defs"]["Step"]
    assert step["properties"]["uncordon"] == {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None}
    assert {"required": ["uncordon"]} in step["oneOf"]
    (copy / "wrong.yaml").write_text(STORY.replace("- uncordon: node-2", "- uncordn: node-2"))
    wrong = python(copy, "emu", "run", "wrong.yaml")
    assert wrong.stderr == 'error: wrong.yaml:7: steps[1].uncordn: unknown key "uncordn" (expected "uncordon"?)\n'


def test_in_the_contract_tests(copy: Path) -> None:
    done = python(
        copy,
        "pytest",
        "-q",
        "-n",
        "0",
        "-p",
        "no:cacheprovider",
        "tests/contracts",
        "-k",
        "uncordon or sockets or protocols",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.split(" passed")[0].split()[-1]) >= 12, done.stdout
