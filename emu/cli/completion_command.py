"""`emu completion`: the script with which a shell completes commands and options. Must not know commands."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from emu.cli.console import out
from emu.cli.options import examples
from emu.cli.settings import COMPLETE


class Shell(StrEnum):
    """The shells that can."""

    bash = "bash"
    zsh = "zsh"
    fish = "fish"
    powershell = "powershell"


EXAMPLES = examples(
    "emu completion bash > ~/.local/share/bash-completion/completions/emu",
    'emu completion zsh > "${fpath[1]}/_emu"',
    "emu completion fish > ~/.config/fish/completions/emu.fish",
)


def add_to(app: typer.Typer) -> None:
    """The command, for the command line."""
    app.command(epilog=EXAMPLES)(completion)


def completion(shell: Annotated[Shell, typer.Argument(help="The shell that reads the script.")]) -> int:
    """Print the script with which a shell completes emu's commands and options."""
    from typer._completion_shared import get_completion_script

    out(get_completion_script(prog_name="emu", complete_var=COMPLETE, shell=shell.value))
    return 0
