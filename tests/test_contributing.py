"""The commands of CONTRIBUTING and tests/README are run in a copy of the tree, and change no golden."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from linux import missing

pytestmark = pytest.mark.slow  # commands in processes of their own

ROOT = Path(__file__).parent.parent
COMMANDS = re.findall(r"^\$ (.+)$", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.M)
COMMANDS += re.findall(r"`(tools/\S+ [^`]*-k[^`]*)`", (ROOT / "tests/README.md").read_text(encoding="utf-8"))
LONG = {"tools/check", "tools/test --quick"}  # what runs this test: the suite does not run itself
GOLDENS = ("tests/walks/*.txt", "captures/**/*", "tests/reference/recorded/*.txt")


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree as git would hand it out, and what Python has compiled of it."""
    folder = tmp_path_factory.mktemp("contributor") / "emu"
    unwanted = shutil.ignore_patterns(".git", ".venv", "build", "dist", ".*_cache", "*.egg-info", ".hypothesis")
    shutil.copytree(ROOT, folder, ignore=unwanted)
    return folder


def goldens(folder: Path) -> dict[str, str]:
    paths = sorted({path for pattern in GOLDENS for path in folder.glob(pattern) if path.is_file()})
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def type_in(folder: Path, command: str) -> subprocess.CompletedProcess[str]:
    venv = Path(sys.prefix)
    environment = {**os.environ, "EMU_VENV": str(venv), "EMU_NO_SETUP": "1", "EMU_NO_APT": "1"}
    environment.pop("PYTHONPATH", None)
    return subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_the_commands_are_those_known_here() -> None:
    assert {"tools/check", "tools/test --quick", "tools/test tests/wire -k checksum", "tools/golden captures"} <= {
        *COMMANDS
    }
    assert len(COMMANDS) == len([each for each in COMMANDS if each.startswith("tools/")])


@pytest.mark.parametrize("command", sorted({*COMMANDS} - LONG))
def test_a_command_works_as_written(command: str, copy: Path) -> None:
    recorded = command.partition("tools/golden case ")[2]
    if recorded and missing():
        if os.environ.get("EMU_REQUIRE_TWIN"):
            pytest.fail(f"a real kernel is required (EMU_REQUIRE_TWIN) and cannot be asked: {missing()}")
        pytest.skip(f"skipped: no real kernel to ask ({missing()})")
    before = goldens(copy)
    done = type_in(copy, command)
    assert done.returncode == 0, done.stdout + done.stderr
    after = goldens(copy)
    if recorded:  # the kernel draws ports and ids anew: the replay is what must hold
        path = f"tests/reference/recorded/{recorded}.txt"
        assert before.pop(path)
        assert after.pop(path)
        replay = type_in(copy, f"tools/test -q tests/reference/test_recorded.py -k {recorded}")
        assert replay.returncode == 0, replay.stdout + replay.stderr
    assert after == before


def test_the_quick_tests_take_a_part_too(copy: Path) -> None:
    done = type_in(copy, "tools/test --quick tests/wire -n 0")
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


def test_an_unknown_golden_is_refused_with_the_usage(copy: Path) -> None:
    done = type_in(copy, "tools/golden wlaks")
    assert done.returncode == 2
    assert "tools/golden walks" in done.stderr
