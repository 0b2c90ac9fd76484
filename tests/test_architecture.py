"""The examples of ARCHITECTURE.md, built: their files are dropped into a copy of the package, their commands run there.

A block that opens with `# file: PATH` is written; other `python` blocks are run, and each `$ command` of a `console` block must
end well and print what stands below it (`...`: anything). tests/contracts come along: they run on what the registry finds.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # commands in processes of their own

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
PARTS = {title: BLOCK.findall(body) for title, body in re.findall(r"^### ([^\n]+)\n(.*?)(?=^##|\Z)", TEXT, re.M | re.S)}
EXAMPLES = [title for title, blocks in PARTS.items() if any("# file: " in text for _, text in blocks)]
KINDS = {"A match", "A CNI plugin", "A network", "A step", "A view"}


def copy(folder: Path) -> Path:
    """The package and its contract tests, with what Python has compiled of them, in a folder where parts may be dropped."""
    shutil.copytree(ROOT / "emu", folder / "emu")
    for tests in ("contracts", "support"):
        shutil.copytree(ROOT / "tests" / tests, folder / "tests" / tests)
    for file in ("pyproject.toml", "ARCHITECTURE.md", "tests/conftest.py"):
        shutil.copy(ROOT / file, folder / file)
    return folder


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ, "PYTHONPATH": str(folder), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "COLUMNS": "200",
    }  # fmt: skip
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_every_kind_of_part_has_its_example() -> None:
    assert {*EXAMPLES} >= KINDS


@pytest.mark.parametrize("title", EXAMPLES)
def test_the_example_comes_in(title: str, tmp_path: Path) -> None:
    folder = copy(tmp_path)
    blocks = PARTS[title]
    written = []
    for _language, text in blocks:
        named = re.match(r"# file: (\S+)\n", text)
        if named:
            path = folder / named[1]
            path.parent.mkdir(parents=True, exist_ok=True)
            assert not path.exists(), f"{named[1]} is there already: the example drops nothing new"
            path.write_text(text.partition("\n")[2] if path.suffix != ".py" else text, encoding="utf-8")
            written.append(named[1])
    assert any(path.startswith("emu/") for path in written)
    for language, text in blocks:
        if text.startswith("# file: "):
            continue
        if language == "python":
            done = run(folder, sys.executable, "-c", text)
            assert done.returncode == 0, done.stdout + done.stderr
        elif language == "console":
            for command, expected in re.findall(r"^\$ (.+)\n((?:(?!\$ ).*\n)*)", text, re.M):
                done = run(folder, "bash", "-c", f'emu() {{ python -m emu "$@"; }}; {command}')
                assert done.returncode == 0, done.stdout + done.stderr
                for line, want in zip(done.stdout.splitlines(), expected.splitlines(), strict=False):
                    if want == "...":
                        break
                    assert line.rstrip() == want.rstrip()
                assert "no tests ran" not in done.stdout
