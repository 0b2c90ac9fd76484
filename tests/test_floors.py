"""The floor rule: a file imports only from lower floors or its own folder, never up, never across a `|`.

Every import counts, also those inside functions and under TYPE_CHECKING. The table is the README's picture of the house.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from sources import nodes, tree

ROOT = Path(__file__).parent.parent
FLOORS = (
    "wire | clock | fact trail rule | errors | version | compiled | registry | modelled | craft | fork fork_program collector | spread | page progress | kernel.sysctl kernel.sysctl_table | kube.api",
    "kernel.link | kernel.netfilter | kube.timing",
    "kernel.net | pasted",
    "kernel.transport",
    "kernel.boot kernel.commands kernel.iptables_text | kernel.dumped | kube.store | kube.agent | apps",
    "kube.agents | kube.controllers | kube.scheduler | kube.cni | kube.policy | kube.proxy | kube.dns | kube.underlay | capture",
    "kube.networks | lab | packetdrill | wireshark",
    "kube.node | kube.plan kube.plan_underlay",
    "kube.front_ends | kube.live | kube.dumped",
    "kube.flow | kube.loops",
    "kube.cable | kube.unmodelled",
    "invariants | quiz",
    "kube.cluster",
    "scenario",
    "report",
    "twin | testing | why | lint",
    "matrix | sweep",
    "cli __main__",
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms.replace("|", " ").split()}
# Rooms that share a side of the bars are one apartment: its rooms know each other.
FLAT_OF = {room: flat for rooms in FLOORS for flat in rooms.split("|") for room in flat.split()}
# On the ground floor, who may look at which neighbour.
NEIGHBOURS = {("craft", "wire"), *((room, below) for room in FLOOR_OF for below in ("errors", "modelled"))}
LARGEST = 6  # rooms that may all import each other
# Who holds a whole cluster: builds it, or hands it to people. All others declare what they need of it.
ASSEMBLY = "emu.kube.cluster"
OPEN_TO_CLUSTER = {
    "emu", "emu.scenario.build", "emu.scenario.run", "emu.scenario.record", "emu.cli.inputs", "emu.testing.artefacts",
    "emu.testing.clusters", "emu.testing.events", "emu.testing.machine", "emu.testing.plugin",
    "emu.twin.cluster", "emu.twin.judge",
}  # fmt: skip
FILES = sorted(path.relative_to(ROOT) for path in (ROOT / "emu").rglob("*.py"))


def room_of(module: str) -> str:
    """The room of a module: `emu.kernel.net.arp` lies in `kernel.net`. "" for emu's own page."""
    parts = module.split(".")[1:]
    known = [".".join(parts[:size]) for size in range(len(parts), 0, -1)]
    return next((room for room in known if room in FLOOR_OF), known[-1] if known else "")


def module_of(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def is_module(module: str) -> bool:
    path = ROOT / module.replace(".", "/")
    return path.is_dir() or path.with_suffix(".py").is_file()


def imports_of(path: Path, module: ast.Module) -> list[tuple[int, str]]:
    """(line, module of emu) of every import, relative ones resolved, `from package import module` taken to the module."""
    package = module_of(path).split(".")
    if path.name != "__init__.py":
        package.pop()
    found = []
    for node in nodes(module):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([*package[: len(package) - node.level + 1], *([base] if base else [])])
            for alias in node.names:
                deeper = f"{base}.{alias.name}"
                found.append((node.lineno, deeper if is_module(deeper) else base))
    return [(line, name) for line, name in found if name.split(".")[0] == "emu"]


def trespasses(path: Path, module: ast.Module) -> list[str]:
    """Each import of the file that the floor rule forbids, in words."""
    own = room_of(module_of(path))
    if own in ("", "kernel", "kube"):  # the public page, and folders that are only names: lazy, or empty
        return [] if own == "" else [f"{path}:{line}: {name}" for line, name in imports_of(path, module)]
    if own not in FLOOR_OF:
        return [f"{path}: the room {own!r} is on no floor"]
    wrong = []
    for line, name in imports_of(path, module):
        room = room_of(name)
        if FLAT_OF.get(room) == FLAT_OF[own] or (own, room) in NEIGHBOURS:
            continue
        if room not in FLOOR_OF or FLOOR_OF[room] >= FLOOR_OF[own]:
            wrong.append(f"{path}:{line}: {own} (floor {FLOOR_OF[own]}) imports {name}")
    return wrong


def test_the_readme_has_the_same_picture() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "\n".join(f"{floor:2}  {rooms}" for floor, rooms in reversed([*enumerate(FLOORS)])) in text


def test_every_room_is_there() -> None:
    assert [room for room in FLOOR_OF if not is_module(f"emu.{room}")] == []


def test_no_apartment_is_large() -> None:
    assert [flat for flat in set(FLAT_OF.values()) if len(flat.split()) > LARGEST] == []


def names_cluster(module: ast.Module) -> bool:
    """Does a module name the assembly's `Cluster`, in an import or as an attribute of it?"""
    return any(
        (isinstance(node, ast.ImportFrom) and any(alias.name == "Cluster" for alias in node.names))
        or (isinstance(node, ast.Attribute) and node.attr == "Cluster")
        or (isinstance(node, ast.Name) and node.id == "Cluster")
        for node in nodes(module)
    )


def test_no_module_outside_the_assembly_names_the_cluster() -> None:
    """Inside kube none. Above, those that build a cluster, run one for people, or are one."""
    naming = {module_of(path) for path in FILES if names_cluster(tree(path))}
    assert naming - {ASSEMBLY} <= OPEN_TO_CLUSTER
    assert {module for module in OPEN_TO_CLUSTER if module not in naming} <= {"emu"}, "these do not need to be open"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from emu.kube.cluster import Cluster", True),
        ("if TYPE_CHECKING:\n    from emu.kube.cluster import Cluster", True),
        ("def f(where: kube.Cluster): ...", True),
        ("def f(where: 'Place') -> None:\n    'Of a Cluster.'", False),
    ],
)
def test_the_rule_about_the_cluster_itself(source: str, found: bool) -> None:
    assert names_cluster(ast.parse(source)) is found


def test_imports_only_from_below() -> None:
    assert len(FILES) > 10
    assert [line for path in FILES for line in trespasses(path, tree(path))] == []


@pytest.mark.parametrize(
    ("path", "source", "allowed"),
    [
        ("emu/kernel/net/arp.py", "from emu.wire import frame", True),
        ("emu/kernel/net/arp.py", "from .neighbour import Neighbour", True),
        ("emu/kernel/net/arp.py", "from ..transport import tcp", False),
        ("emu/kernel/net/arp.py", "def f():\n    import emu.kernel.boot", False),
        ("emu/kernel/net/arp.py", "if TYPE_CHECKING:\n    from emu.kube.store import Store", False),
        ("emu/kernel/link/veth.py", "from emu.kernel.netfilter import hooks", False),
        ("emu/kernel/link/veth.py", "from emu.kernel import sysctl", True),
        ("emu/kernel/link/veth.py", "from emu.kernel import net", False),
        ("emu/kube/proxy/iptables/compile.py", "from emu.kube.cni import bridge", False),
        ("emu/kube/cluster.py", "from emu.kube.node.kubelet import Kubelet", True),
        ("emu/kube/node/kubelet.py", "from emu.kube.flow.flow import Flow", False),
        ("emu/kube/node/kubelet.py", "if TYPE_CHECKING:\n    from emu.kube.cluster import Cluster", False),
        ("emu/kube/flow/ends.py", "from emu.kube.node.node import Node", True),
        ("emu/kube/dns/setup.py", "from emu.kube.underlay.underlay import EXTERNAL_HOST", False),
        ("emu/wire/frame.py", "from emu.clock import US", False),
        ("emu/craft.py", "from emu.wire.frame import Frame", True),
        ("emu/wire/frame.py", "from emu.errors import InputError", True),
        ("emu/report/walk.py", "import emu", False),
        ("emu/cellar.py", "", False),
    ],
)
def test_the_rule_itself(path: str, source: str, allowed: bool) -> None:
    assert (trespasses(Path(path), ast.parse(source)) == []) is allowed
