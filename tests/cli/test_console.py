"""Colour only on a terminal, and not where NO_COLOR is set; a bar only on a terminal."""

from __future__ import annotations

import io
import sys

import pytest

from emu.cli.console import error, out, progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_colour_on_a_terminal(no_color: str, coloured: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", no_color)
    out("1   ask   delivered   " + "x" * 300)
    assert ("\x1b[32mdelivered" in screen.getvalue()) is coloured
    assert screen.getvalue().count("\n") == 1


def test_no_colour_in_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    out("delivered")
    error("two\nlines")
    assert capsys.readouterr() == ("delivered\n", "error: two lines\n")


def test_a_bar_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    for stream, shown in ((Terminal(), True), (io.StringIO(), False)):
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setenv("TERM", "xterm-256color")
        with progress("story") as update:
            update(1, 2, "asking")
        assert ("story" in stream.getvalue()) is shown
