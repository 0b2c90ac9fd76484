"""What importing costs and needs: Scapy only when a frame is born, and every module by itself, in any order."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in (ROOT / "emu").rglob("*.py")
    if path.name != "__main__.py"
)

WITHOUT_SCAPY = """
import sys
{}
late = sorted(name for name in sys.modules if name.split(".")[0] == "scapy")
assert not late, late[:5]
"""

HELP = """
sys.argv = ["emu", "--help"]
from emu.cli import main
try:
    status = main()
except SystemExit as leave:
    status = leave.code
assert not status, status
"""

# Forgetting emu between imports shows modules that need another to be imported first (circles).
EACH_FIRST = """
import importlib, sys, traceback
failed = []
for module in sys.argv[1:]:
    for name in [name for name in sys.modules if name.split(".")[0] == "emu"]:
        del sys.modules[name]
    try:
        importlib.import_module(module)
    except Exception:
        failed.append(f"{module}: {traceback.format_exc().splitlines()[-1]}")
print(*failed, sep="\\n", end="")
"""


def python(program: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_emu_leaves_scapy_alone() -> None:
    python(WITHOUT_SCAPY.format("import emu"))


def test_help_leaves_scapy_alone() -> None:
    assert "demo" in python(WITHOUT_SCAPY.format(HELP))


def test_every_module_can_be_the_first() -> None:
    assert len(MODULES) > 10
    assert python(EACH_FIRST, *MODULES) == ""
