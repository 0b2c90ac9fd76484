"""What the README, the page on scenarios and that of emu.testing show is run: their Python, their console sessions, their files.

Fenced blocks count: `python` is executed, `yaml` beginning with `# file: NAME` is written, and in `console` each `$ command` must print the lines
below it first (`...`: anything from here on).
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from emu.kube.cni.spec import plugins
from pages import CONSOLE, PLAIN, PYTHON, commands, reader_folder

ROOT = Path(__file__).parent.parent
# A command's own process, with the host forbidden before it reads its first argument.
BANNED = f"""
import sys
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests/support")!r}]
from host import forbid
from pytest import MonkeyPatch
forbid(MonkeyPatch())
from emu.cli import main
sys.exit(main())
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = reader_folder(tmp_path_factory.mktemp("readme"))
    (made / "banned.py").write_text(BANNED, encoding="utf-8")
    return made


def shell(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command; one that needs a shell with the host forbidden, as `test_host.py` does with those that need none."""
    emu = "-m emu" if PLAIN.fullmatch(command) else "banned.py"
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "COLUMNS": "200"}
    done = subprocess.run(
        ["bash", "-c", f"emu() {{ '{sys.executable}' {emu} \"$@\"; }}; {command}"],
        cwd=folder, env={**environment, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "HostAskedError" not in done.stderr, done.stderr[-2000:]
    assert done.returncode in (0, 1, 2, 3), done.stderr
    return done


# Files that commands of other consoles make, and these commands: another worker of pytest may run those.
MADE = {"captures/shop": "emu run shop.yaml"} | {
    found[2]: found[1]
    for text in CONSOLE
    for each, _ in commands(text)
    if (found := re.fullmatch(r"((?:.*[^2])> (\S+))", each))
}


@pytest.mark.slow
@pytest.mark.parametrize("text", CONSOLE)
def test_console(text: str, folder: Path) -> None:
    for name, command in MADE.items():
        if name in text and command not in text and not (folder / name).exists():
            assert shell(command, folder).returncode == 0
    *before, (command, expected) = commands(text)
    for each, _ in before:
        assert shell(each, folder).returncode == 0
    run = shell(command, folder)
    printed = (run.stdout + run.stderr).splitlines()
    for line, want in zip(printed, expected, strict=False):
        if want == "...":
            break
        assert line.rstrip() == want.rstrip()
    assert len(printed) >= len([line for line in expected if line != "..."])


@pytest.mark.slow
def test_the_first_screen_is_what_a_run_shows(folder: Path) -> None:
    """The table of the SYN and the comment of its third frame, from the walk of the tour's first scenario."""
    page = (ROOT / "README.md").read_text()
    table = page.split("interface                              to MAC")[1].split("```")[0].strip().splitlines()[1:]
    comment = page.split("This is the comment of the third frame:")[1].split("```")[1].strip().splitlines()
    script = (
        "from emu.scenario.run import run\n"
        "seen = [(each, each.packet()) for each in run('shop.yaml').cluster.flows[1].frames]\n"
        "seen = [(each, packet) for each, packet in seen if packet.haslayer('TCP') and packet['TCP'].flags == 'S']\n"
        "for each, packet in seen: print(each.interface, packet['Ether'].dst, packet['IP'].ttl, packet['TCP'].dport)\n"
        "print(seen[2][0].comment())"
    )
    run = subprocess.run([sys.executable, "-c", script], cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False)  # fmt: skip
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    for shown, found in zip(table, lines, strict=False):
        interface, mac, *_to, ttl, port = shown.replace("<- DNAT", "").split()
        assert found.split()[1:] == [mac, ttl, port] and found.startswith(interface.partition("…")[0])
    sentence, *facts = comment
    assert (
        re.fullmatch(re.escape(sentence).replace("…", r"[\w-]+"), lines[len(table)])
        and facts == lines[len(table) + 1 :][: len(facts)]
    )


@pytest.mark.parametrize("text", PYTHON)
def test_python(text: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(folder)
    exec(compile(text, "<README>", "exec"), {"__name__": "readme"})
    printed = capsys.readouterr().out.splitlines()
    shown = re.findall(r"^ *print\(.*\)  # (.*)$", text, re.MULTILINE)  # what a line prints stands behind it
    assert [line for line in shown if line not in printed] == []


def test_the_plugins_that_are_there_are_listed() -> None:
    page = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    *names, last = sorted(plugins)
    assert f"every CNI plugin but {', '.join(names)} and {last}." in page


@pytest.mark.slow
def test_the_reference_scenario_runs(folder: Path) -> None:
    run = shell("emu run reference.yaml", folder)
    assert run.returncode == 0, run.stdout + run.stderr
