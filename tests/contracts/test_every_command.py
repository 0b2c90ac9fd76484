"""What holds for every command of the command line: examples, one meaning for each letter, a help for narrow terminals, completion."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from emu.cli import main
from emu.cli.commands import app
from emu.cli.quick import whole

ROOT = Path(__file__).parents[2]
Capsys = pytest.CaptureFixture[str]
POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: [{name: c}]}\n"
LETTERS = {
    "-o": "--output", "-f": "--filename", "-n": "--namespace", "-A": "--all-namespaces", "-S": "--source", "-D": "--destination", "-q": "--quiet",
    "-v": "--verbose", "-d": "--out", "-h": "--help",
}  # fmt: skip
FILES_BY_PLACE = {"run", "sweep", "validate", "lint", "twin", "packetdrill", "ladder", "report"}


def commands(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    parts = getattr(command, "commands", {})
    for name, part in parts.items():
        yield from commands(part, (*words, name))
    if not parts:
        yield words, command


COMMANDS = dict(commands(whole(app)))
EVERY = pytest.mark.parametrize("words", COMMANDS, ids=" ".join)


def help_of(words: tuple[str, ...], capsys: Capsys) -> str:
    assert main([*words, "--help"]) == 0
    return capsys.readouterr().out


def examples_in(text: str) -> list[str]:
    """The lines below `Examples:`, up to an empty one."""
    return [line.strip() for line in text.partition("Examples:\n")[2].partition("\n\n")[0].splitlines()]


def test_the_commands_are_found() -> None:
    assert {("run",), ("lint",), ("wireshark", "open")} <= {*COMMANDS} and len(COMMANDS) > 18


@EVERY
def test_the_help_has_examples_that_are_read(words: tuple[str, ...], capsys: Capsys) -> None:
    examples = examples_in(help_of(words, capsys))
    own = f"emu {' '.join(words)}"
    assert any(own in each for each in examples), examples
    for line in examples:
        for part in re.split(r" && | \| ", line):
            given = shlex.split(re.sub(r" >.*", "", part))
            if given[0] != "emu" or "--version" in given:
                continue
            name = next(size for size in (2, 1) if tuple(given[1 : size + 1]) in COMMANDS)
            command = COMMANDS[tuple(given[1 : name + 1])]
            command.make_context("x", given[name + 1 :])  # an unknown option or a wrong value raises


@EVERY
def test_the_help_fits_a_terminal_of_80_columns(
    words: tuple[str, ...], capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = help_of(words, capsys)
    assert max(map(len, text.splitlines())) <= 80 and "…" not in text
    for option in COMMANDS[words].params:
        if not getattr(option, "hidden", False):
            assert all(re.search(rf"{re.escape(each)}(?![\w-])", text) for each in option.opts if each[:1] == "-"), (
                option.opts
            )


@EVERY
def test_each_letter_has_one_meaning(words: tuple[str, ...]) -> None:
    for option in COMMANDS[words].params:
        for letter in LETTERS.keys() & {*option.opts}:
            assert LETTERS[letter] in option.opts, (letter, option.opts)
        for letter, name in LETTERS.items():
            if name in option.opts:
                assert letter in option.opts, (letter, option.opts)
        if "-w" in option.opts:
            assert "FILE|-" in str(option.metavar)


@EVERY
def test_files_are_taken_by_place_and_by_f(words: tuple[str, ...]) -> None:
    if words[0] in FILES_BY_PLACE:
        assert any("-f" in each.opts for each in COMMANDS[words].params)


@EVERY
def test_quiet_and_verbose_are_everywhere(words: tuple[str, ...]) -> None:
    given = {letter for each in COMMANDS[words].params for letter in each.opts}
    assert {"-q", "-v"} <= given


@pytest.mark.parametrize("place", ["before", "behind"])
def test_quiet_keeps_notes_back_and_errors_not(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("web.yaml").write_text(POD)
    assert main(["validate", "web.yaml", "-q"] if place == "behind" else ["-q", "validate", "web.yaml"]) == 0
    words = ["run", "web.yaml"]
    assert main([*words, "-q"] if place == "behind" else ["-q", *words]) == 0
    assert "note:" not in capsys.readouterr().err
    assert main([*words, "-v"] if place == "behind" else ["-v", *words]) == 0
    assert "note: web: seed 0" in capsys.readouterr().err
    assert main(["run", "nothing.yaml", "-q"]) == 2
    assert "error: nothing.yaml" in capsys.readouterr().err
    assert main(words) == 0
    assert "nothing was checked" in capsys.readouterr().err, "the next command is not quiet"


def test_what_was_read_and_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capsys) -> None:
    monkeypatch.chdir(tmp_path)
    Path("web.yaml").write_text(POD)
    assert main(["show", "routes", "node-1", "-f", "web.yaml", "-v"]) == 0
    notes = capsys.readouterr().err
    assert "note: read web.yaml: 1 Pod\n" in notes and "note: built 2 nodes with network bridge, 1 pods\n" in notes


def test_a_folder_where_a_form_is_expected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capsys) -> None:
    """`-o DIR` was a folder once."""
    monkeypatch.chdir(tmp_path)
    Path("web.yaml").write_text(POD)
    assert main(["run", "web.yaml", "-o", "out"]) == 2
    error = capsys.readouterr().err
    assert "'out' is not one of 'text', 'json', 'yaml'; a folder for captures is -d DIR" in error
    assert "Value error" not in error
    assert main(["run", "web.yaml", "--format", "json", "--out", "out"]) == 0


# -- completion -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "powershell"])
def test_the_script_of_each_shell(shell: str, capsys: Capsys) -> None:
    assert main(["completion", shell]) == 0
    assert "_EMU_COMPLETE" in capsys.readouterr().out


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_the_script_is_one_of_the_shell(shell: str, capsys: Capsys, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    main(["completion", shell])
    (tmp_path / "script").write_text(capsys.readouterr().out)
    assert subprocess.run([shell, "-n", str(tmp_path / "script")], check=False).returncode == 0


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("emu wh", ["why"]),
        ("emu run --see", ["--seed"]),
        ("emu wireshark in", ["install"]),
        ("emu lint --fail-on ", ["error", "warning", "note", "never"]),
    ],
)
def test_bash_completes(line: str, found: list[str], tmp_path: Path, capsys: Capsys) -> None:
    """A real bash with the script; `emu` is a program of its path."""
    if shutil.which("bash") is None:
        pytest.skip("bash is not installed")
    main(["completion", "bash"])
    (tmp_path / "script").write_text(capsys.readouterr().out)
    program = tmp_path / "emu"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m emu "$@"\n')
    program.chmod(0o755)
    last = len(line.split(" ")) - 1
    asked = f'. "{tmp_path}/script"; COMP_WORDS=({line.rstrip()} {"" if line[-1] != " " else chr(34) * 2}); COMP_CWORD={last}; _emu_completion emu; printf "%s\\n" "${{COMPREPLY[@]}}"'
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "--norc", "-c", asked], capture_output=True, text=True, env=environment, check=False)
    assert done.stdout.split() == found, done.stderr
