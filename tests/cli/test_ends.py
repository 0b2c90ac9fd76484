"""How a command ends from outside: signals, closed pipes, a full disk, streams that are not there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from small import PODS

pytestmark = pytest.mark.slow  # commands in processes of their own

ROOT = Path(__file__).parents[2]
HEAD = "apiVersion: emu/v1\nkind: Scenario\nmetadata: {name: story}\ncluster: {nodes: 1}\nsteps:\n"
STEP = "- ping: {from: default/client, to: default/web, count: 50, interval: 1ms}\n"
# Runs `emu` and sends itself a signal when the second capture file is written, or while a module is imported.
SIGNALLED = """
import os, sys
from emu.cli import main
number, where = int(sys.argv.pop(1)), sys.argv.pop(1)
if where == "writing":
    from emu.capture import pcapng
    real, left = pcapng.Writer.flush, 2
    def flush(self):
        global left
        left -= 1
        real(self)
        if left == 0:
            os.kill(os.getpid(), number)
    pcapng.Writer.flush = flush
else:
    class Finder:
        def find_spec(self, name, path=None, target=None):
            if name == where:
                os.kill(os.getpid(), number)
    sys.meta_path.insert(0, Finder())
sys.exit(main())
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "story.yaml").write_text(HEAD + STEP + PODS)
    (tmp_path / "long.yaml").write_text(HEAD + STEP * 12 + PODS)
    return tmp_path


def shell(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    emu = f"emu() {{ '{sys.executable}' -m emu \"$@\"; }}; "
    return subprocess.run(
        ["bash", "-c", emu + command],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def signalled(number: int, where: str, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", SIGNALLED, str(number), where, *words],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.pure("a compiled caller does not look up the method that the signal is sent from")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("words", [("-d", "out"), ("-w", "out.pcapng")])
def test_a_signal_while_files_are_written_leaves_what_was_there(
    number: signal.Signals, words: tuple[str, str], folder: Path
) -> None:
    shell(f"emu run story.yaml {' '.join(words)}", folder)
    before = contents(folder)
    done = signalled(number, "writing", folder, "run", "story.yaml", "-d", "out")
    assert done.returncode == 128 + number
    assert done.stderr == f"error: {'interrupted' if number == signal.SIGINT else f'ended by {number.name}'}\n"
    assert contents(folder) == before
    assert sorted(folder.glob(".*")) == []


@pytest.mark.parametrize("where", ["typer", "emu.cli.commands", "yaml", "emu.scenario.run", "emu.kube.cluster"])
def test_an_interrupt_while_modules_are_imported(where: str, folder: Path) -> None:
    done = signalled(signal.SIGINT, where, folder, "run", "story.yaml", "-d", "out")
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "error: interrupted\n")
    assert not (folder / "out").exists()


@pytest.mark.pure("a compiled caller does not look up the method that the signal is sent from")
def test_what_kill_left_is_removed_by_the_next_run(folder: Path) -> None:
    done = signalled(signal.SIGKILL, "writing", folder, "run", "story.yaml", "-d", "out")
    assert done.returncode == -signal.SIGKILL
    (left,) = (folder / "out").iterdir()
    assert left.name.startswith(".story.")
    assert shell("emu run story.yaml -d out", folder).returncode == 0
    assert [path.name for path in (folder / "out").iterdir()] == ["story"]


@pytest.mark.pure("a compiled caller does not look up the method that the signal is sent from")
def test_a_signal_that_is_ignored_stays_ignored(folder: Path) -> None:
    done = shell("trap '' HUP; emu run story.yaml -d out", folder)
    assert done.returncode == 0
    code = SIGNALLED.replace("import os, sys", "import os, sys, signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)")
    run = subprocess.run(
        [sys.executable, "-c", code, "1", "writing", "run", "story.yaml", "-d", "out"],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize(
    ("command", "status", "error"),
    [
        ("emu run long.yaml --walk | head -1 >/dev/null; exit ${PIPESTATUS[0]}", 141, ""),
        ("emu run long.yaml -w - | head -c 100 >/dev/null; exit ${PIPESTATUS[0]}", 141, ""),
        ("emu run story.yaml >&-", 2, "error: standard output: cannot be written: Bad file descriptor\n"),
        ("emu run story.yaml >/dev/full", 2, "error: standard output: cannot be written: No space left on device\n"),
        (
            "emu run long.yaml --walk >/dev/full",
            2,
            "error: standard output: cannot be written: No space left on device\n",
        ),
        ("emu --help >/dev/full", 2, "error: standard output: cannot be written: No space left on device\n"),
        ("emu run story.yaml -w - >&-", 2, "error: standard output: cannot be written: Bad file descriptor\n"),
        (
            "emu run story.yaml -w - >/dev/full",
            2,
            "error: standard output: cannot be written: No space left on device\n",
        ),
        ("emu run nothing.yaml 2>&-", 2, ""),
        ("emu run nothing.yaml 2>/dev/full", 2, ""),
        ("emu run nothing.yaml >&- 2>&- <&-", 2, ""),
        ("emu run story.yaml >/dev/null 2>&-", 0, ""),
        ("emu run story.yaml --split interface >/dev/null 2>/dev/full", 0, ""),
        ("emu run story.yaml </dev/null", 0, ""),
        ("emu run story.yaml <&-", 0, ""),
    ],
)
def test_streams(command: str, status: int, error: str, folder: Path) -> None:
    done = shell(command, folder)
    assert (done.returncode, done.stderr) == (status, error)


def test_the_module_of_the_commands_does_not_hide_the_function() -> None:
    code = "import emu.cli.commands, emu.cli; assert emu.cli.main(['--version-of-nothing']) == 2"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True)
    import pkgutil

    import emu.cli

    assert "main" not in {module.name for module in pkgutil.iter_modules(emu.cli.__path__)}
