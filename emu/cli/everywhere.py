"""-q and -v, which every command takes, before its name or behind it. Must not know any command."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.main import get_command

from emu.cli.settings import settings


def add_everywhere(command: Any) -> None:
    """Give the options to a command, and to those in it; a group has them as its own."""
    parts = getattr(command, "commands", {}).values()
    if not parts:
        command.params += _options()
    for each in parts:
        add_everywhere(each)


def _ask_quiet(value: bool) -> None:
    settings.quiet = settings.quiet or value


def _ask_verbose(value: bool) -> None:
    settings.verbose = settings.verbose or value


def _options() -> list[Any]:
    small = typer.Typer(add_completion=False)

    @small.command()
    def every(
        quiet: Annotated[
            bool,
            typer.Option(
                "-q", "--quiet", callback=_ask_quiet, expose_value=False, help="No notes and no progress on stderr."
            ),
        ] = False,
        verbose: Annotated[
            bool,
            typer.Option(
                "-v", "--verbose", callback=_ask_verbose, expose_value=False, help="Note also what was read and built."
            ),
        ] = False,
    ) -> None: ...

    return [each for each in get_command(small).params if each.name in ("quiet", "verbose")]
