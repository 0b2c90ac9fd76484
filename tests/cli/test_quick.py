"""Options read by their types are what the option parser reads; of the commands only the named one is built."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from hypothesis import example, given
from hypothesis import strategies as st
from typer.main import get_command

from emu.cli import quick
from emu.cli.commands import app
from emu.testing.strategies import examples


class Colour(StrEnum):
    red = "red"
    Blue = "BLUE"


def made() -> tuple[typer.Typer, list[dict[str, Any]]]:
    """An app with an option of each type, and what its command was called with."""
    calls: list[dict[str, Any]] = []
    small = typer.Typer(rich_markup_mode=None, add_completion=False)

    @small.callback()
    def before() -> None: ...

    @small.command()
    def go(
        files: Annotated[list[Path] | None, typer.Argument()] = None,
        text: Annotated[str, typer.Option()] = "",
        count: Annotated[int, typer.Option(min=1, max=50)] = 2,
        free: Annotated[int | None, typer.Option()] = None,
        colour: Annotated[Colour, typer.Option()] = Colour.red,
        where: Annotated[Path | None, typer.Option()] = None,
        switch: Annotated[bool, typer.Option("--switch")] = False,
        either: Annotated[bool | None, typer.Option("--on/--off")] = None,
        share: Annotated[float, typer.Option()] = 0.5,
        named: Annotated[list[str] | None, typer.Option()] = None,
        numbers: Annotated[list[int] | None, typer.Option(min=0)] = None,
    ) -> int:
        calls.append(dict(locals()))
        return 0

    return small, calls


def outcome(command: Any, calls: list[dict[str, Any]], words: list[str]) -> Any:
    calls.clear()
    try:
        command(args=["go", *words], prog_name="small", standalone_mode=False)
    except Exception as wrong:
        return type(wrong).__name__, str(wrong), getattr(wrong, "format_message", str)()
    return {name: (type(value), value) for name, value in calls[0].items() if name != "calls"}


VALUES = st.one_of(
    st.sampled_from(
        (
            "1",
            "50",
            "51",
            "0",
            "-1",
            "+3",
            " 7",
            "1_0",
            "٣",
            "1.0",
            "red",
            "RED",
            "BLUE",
            "Blue",
            "",
            "-",
            "/",
            ".",
            "a\0b",
        )
    ),
    st.text("a1.-/ é", max_size=4),
)
OPTION = st.sampled_from(("text", "count", "free", "colour", "where", "share", "named", "numbers"))
WORDS = st.one_of(
    st.tuples(OPTION, VALUES).map(lambda pair: f"--{pair[0]}={pair[1]}"), VALUES,
    st.sampled_from(("--switch", "--on", "--off", "--count", "--frob", "--switch=1")),
)  # fmt: skip


@given(st.lists(WORDS, max_size=4))
@example(["--count=51"])
@example(["--where=a\0b"])
@example(["--numbers=1", "--numbers=x"])
@examples(150)
def test_values_are_what_the_option_parser_reads(words: list[str]) -> None:
    small, calls = made()
    assert outcome(quick.command_of(small, ["go"]), calls, words) == outcome(get_command(small), calls, words)


@pytest.mark.parametrize(
    ("words", "built"),
    [
        (["run", "FILE"], ["run"]),
        (["--debug", "trace"], ["trace"]),
        (["wireshark", "open"], ["wireshark"]),
    ],
)
def test_only_the_named_command_is_built(words: list[str], built: list[str]) -> None:
    assert list(quick.command_of(app, words).commands) == built


@pytest.mark.parametrize("words", [["--help"], ["frob"], ["--version"]])
def test_every_command_is_listed(words: list[str]) -> None:
    assert list(quick.command_of(app, words).commands) == list(get_command(app).commands)  # type: ignore[attr-defined]


def test_the_list_cuts_no_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    from emu.cli import main

    ask: Callable[[list[str]], int] = main
    for words in (["--help"], ["wireshark", "--help"]):
        assert ask(words) == 0
        listed = capsys.readouterr().out.partition("Commands:")[2]
        assert listed.count("...") == 0, words
