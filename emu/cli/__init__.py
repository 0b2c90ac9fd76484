"""The command line: thin commands over scenario and report, results on stdout, progress and notes on stderr.

Exit status: 0 held, or nothing is expected; 1 an expectation failed; 2 bad input; 3 undecided; 4 a fault in emu. A closed
pipe and a signal end a command with the shell's status: 128 and the signal's number.
A command imports its modules when it runs: `emu --help` is quick and imports no Scapy. Must not know packets or rules.
"""

from __future__ import annotations

import errno
import gc
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from threading import current_thread, main_thread
from types import FrameType
from typing import Any

COLLECTED_AFTER = 100_000  # objects: a start makes many, and all of them stay
OWN_FAULT, BAD_INPUT, BY_SIGNAL = 4, 2, 128
PIPE_CLOSED = BY_SIGNAL + 13
FULL = (errno.ENOSPC, errno.EBADF, errno.EIO, errno.EFBIG)
# On these a command ends tidily: what is half-written is removed.
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class Ended(BaseException):
    """A signal asked for the end. No Exception, so that only `main` takes it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; gives the exit status. `arguments` are the process's own unless given."""
    streams = sys.stdout, sys.stderr
    before = gc.get_threshold()
    try:
        gc.set_threshold(COLLECTED_AFTER)
        with _signals():
            _open_streams()
            return _run(list(sys.argv[1:] if arguments is None else arguments) or ["--help"])
    except Ended as ended:
        return _ended(ended.number)
    except KeyboardInterrupt:
        return _ended(signal.SIGINT)
    finally:
        gc.set_threshold(*before)
        if None not in streams:
            sys.stdout, sys.stderr = streams  # the option parser wraps them when a pipe is closed


def _run(words: list[str]) -> int:
    import typer

    from emu.cli.commands import app
    from emu.cli.console import error, flush, lose
    from emu.cli.quick import command_of, whole
    from emu.cli.settings import COMPLETE, settings
    from emu.errors import EmuError

    try:
        try:
            status = (whole(app) if COMPLETE in os.environ else command_of(app, words))(
                args=words, prog_name="emu", standalone_mode=False
            )
        except typer.Exit as leave:
            status = int(leave.exit_code)
        flush()
    except typer.Abort:
        return _ended(signal.SIGINT)
    except BrokenPipeError:
        return _pipe_closed()
    except SystemExit as leave:  # the option parser's answer to a closed pipe
        if isinstance(leave.__context__, BrokenPipeError):
            return _pipe_closed()
        raise
    except EmuError as wrong:
        if settings.debug:
            raise
        error(str(wrong))
        return wrong.exit_status
    except Exception as fault:
        usage = getattr(fault, "format_message", None)  # the option parser's own errors: typer hides their class
        if usage is not None:
            what = usage().rstrip(".").replace("Value error, ", "")  # its own word for every error
            error(f"{what}{_hint(what)} (emu --help, emu COMMAND --help)")
            return BAD_INPUT
        if settings.debug:
            raise
        if isinstance(fault, OSError) and fault.errno in FULL and fault.filename is None:
            lose(1)  # help, which the option parser prints: our own texts and files have an error of their own
            error(f"standard output: cannot be written: {fault.strerror}")
            return BAD_INPUT
        error(f"emu itself failed: {type(fault).__name__}: {fault} (--debug before the command shows where)")
        return OWN_FAULT
    return status if isinstance(status, int) else 0


def _hint(usage: str) -> str:
    """What is meant by an option that had another meaning once, and by a file that is given as with other commands."""
    if "'--output'" in usage and "is not one of" in usage:
        return "; a folder for captures is -d DIR"
    _, _, extra = usage.partition("unexpected extra argument(s) (")
    file = extra.rstrip(")").partition(" ")[0]
    return f"; a file is -f {file}" if file and os.path.exists(file) else ""  # noqa: PTH110  # pathlib is not loaded yet


@contextmanager
def _signals() -> Iterator[None]:
    """While the block runs, the first signal raises `Ended`; later ones are ignored, as the end is under way. A signal
    that the caller ignores (`nohup`) or answers itself is left alone."""
    taken: dict[signal.Signals, Any] = {}

    def end(number: int, frame: FrameType | None) -> None:
        for each in taken:
            signal.signal(each, signal.SIG_IGN)
        raise Ended(number)

    if current_thread() is main_thread():
        for number in SIGNALS:
            before = signal.getsignal(number)
            if before in (signal.SIG_DFL, signal.default_int_handler):
                taken[number] = before
                signal.signal(number, end)
    try:
        yield
    finally:
        for number, before in taken.items():
            signal.signal(number, before)


def _ended(number: int) -> int:
    if "emu.capture.atomic" in sys.modules:
        from emu.capture.atomic import remove_unfinished

        remove_unfinished()
    what = "interrupted" if number == signal.SIGINT else f"ended by {signal.Signals(number).name}"
    with suppress(OSError, AttributeError, ValueError):
        sys.stderr.write(f"error: {what}\n")
    return BY_SIGNAL + number


def _open_streams() -> None:
    """Open what the caller has closed, so that no file gets its number: writing to standard output is an error then,
    messages are lost."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDONLY if number == 1 else os.O_RDWR)
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115  (as long as the process)
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115  (as long as the process)


def _pipe_closed() -> int:
    from emu.cli.console import lose

    lose(1)
    return PIPE_CLOSED
