"""The command line: thin commands over scenario and report, results on stdout, progress and notes on stderr.

Exit status: 0 held; 1 an expectation failed or nothing was checked; 2 bad input; 3 undecided; 4 our own fault.
What a command needs is imported when it runs: `emu --help` is quick and imports no Scapy.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

OWN_FAULT, BAD_INPUT, INTERRUPTED, PIPE_CLOSED = 4, 2, 130, 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; gives the exit status. `arguments` are the process's own unless given."""
    import typer

    from emu.cli.console import error
    from emu.cli.main import app, settings
    from emu.errors import EmuError

    words = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    try:
        status = app(args=words, prog_name="emu", standalone_mode=False)
        sys.stdout.flush()
    except typer.Exit as leave:
        return int(leave.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        error("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # so that nothing complains when the interpreter leaves
        return PIPE_CLOSED
    except EmuError as told:
        if settings.debug:
            raise
        error(str(told))
        return told.exit_status
    except Exception as fault:
        usage = getattr(fault, "format_message", None)  # the option parser's own errors: typer hides their class
        if usage is not None:
            error(f"{usage().rstrip('.')} (emu --help, emu COMMAND --help)")
            return BAD_INPUT
        if settings.debug:
            raise
        error(f"emu itself failed: {type(fault).__name__}: {fault} (--debug before the command shows where)")
        return OWN_FAULT
    return status if isinstance(status, int) else 0
