"""What importing costs and needs: Scapy only when a frame is born, no circles, and every module in any order."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from imports import circles, graph, modules

ROOT = Path(__file__).parent.parent
MODULES = [name for name in modules() if not name.endswith("__main__")]

WITHOUT = """
import sys
{}
late = sorted(name for name in sys.modules if name.split(".")[0] in {})
assert not late, late[:5]
"""
ENGINES = {"pydantic", "rich", "markdown_it", "pygments"}
SCENARIO = """
apiVersion: emu/v1
kind: Scenario
metadata: {name: short}
steps:
- udp: {from: default/client, to: "default/server:53", send: ping}
  expect: {outcome: delivered}
---
apiVersion: v1
kind: Pod
metadata: {name: client}
spec: {nodeName: node-1, containers: [{name: app}]}
---
apiVersion: v1
kind: Pod
metadata: {name: server}
spec: {nodeName: node-2, containers: [{name: app, ports: [{containerPort: 53, protocol: UDP}]}]}
"""

COMMAND = """
sys.argv = ["emu", {}]
from emu.cli import main
try:
    status = main()
except SystemExit as leave:
    status = leave.code
assert not status, status
"""

# The order of imports can only matter inside a circle; each module of one is imported first in a child of its own, after
# what the circle needs from outside.
EACH_FIRST = """
import importlib, os, sys, traceback
circle, outside = (words.split() for words in sys.argv[1:])
for module in outside:
    importlib.import_module(module)
for module in circle:
    assert module not in sys.modules, module
    child = os.fork()
    if not child:
        try:
            importlib.import_module(module)
        except BaseException:
            print(f"{module}: {traceback.format_exc().splitlines()[-1]}", flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""

ALL = """
import importlib, sys
for module in sys.argv[1:]:
    importlib.import_module(module)
"""


def python(program: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_emu_leaves_scapy_alone() -> None:
    python(WITHOUT.format("import emu", {"scapy"}))


def test_help_leaves_scapy_alone() -> None:
    assert "demo" in python(WITHOUT.format(COMMAND.format('"--help"'), {"scapy"}))


def test_help_needs_no_engine_of_markdown_colours_or_schemas() -> None:
    python(WITHOUT.format(COMMAND.format('"--help"'), ENGINES))


def test_a_run_needs_neither_scapy_nor_an_engine(tmp_path: Path) -> None:
    scenario = tmp_path / "scenario.yaml"
    scenario.write_text(SCENARIO, encoding="utf-8")
    program = COMMAND.format(f'"run", "{scenario}", "-d", "{tmp_path / "out"}", "--walk", "--nodes", "2"')
    assert "1 flow, 3 checks, all held" in python(WITHOUT.format(program, {"scapy", *ENGINES}))


def test_every_module_can_be_imported() -> None:
    assert len(MODULES) > 10
    python(ALL, *MODULES)


def test_every_module_can_be_the_first() -> None:
    imports = graph(at_import=True)
    for circle in circles(imports):
        outside = {needed for module in circle for needed in imports[module]} - set(circle)
        assert python(EACH_FIRST, " ".join(circle), " ".join(sorted(outside))) == ""


def test_no_imports_go_round_in_a_circle() -> None:
    assert circles(graph()) == []


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"a": "from emu import b", "b": ""}, []),
        ({"a": "from emu import b", "b": "import emu.a"}, [["emu.a", "emu.b"]]),
        ({"a": "from . import b", "b": "def f():\n    from emu.a import x"}, [["emu.a", "emu.b"]]),
        ({"a": "from emu.b import x", "b": "if TYPE_CHECKING:\n    from emu.a import x"}, [["emu.a", "emu.b"]]),
        ({"a": "import emu.b", "b": "import emu.c", "c": "import emu.a"}, [["emu.a", "emu.b", "emu.c"]]),
    ],
)
def test_the_circle_finder_itself(files: dict[str, str], found: list[list[str]], tmp_path: Path) -> None:
    (tmp_path / "emu").mkdir()
    for name, text in {"__init__": "", **files}.items():
        (tmp_path / "emu" / f"{name}.py").write_text(text, encoding="utf-8")
    assert circles(graph(tmp_path)) == found
