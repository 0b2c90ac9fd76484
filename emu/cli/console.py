"""What reaches people: results on stdout, everything else on stderr, colour only on a terminal.

NO_COLOR is rich's to honour. Must not know what is shown.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from typing import TYPE_CHECKING

from emu.cli.settings import settings
from emu.errors import SHOWN, InputError, shortened

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from emu.report import Report

GOOD, BAD = r"\b(delivered|held)\b", r"\b(FAILED|failed|undecided)\b"


class Form(StrEnum):
    """How a result is written."""

    text = "text"
    json = "json"
    yaml = "yaml"


def out(text: str, *, to_stderr: bool = False) -> None:
    """Text for stdout, lines never wrapped; words of success and failure coloured on a terminal. Raises InputError where
    standard output cannot be written."""
    if to_stderr:
        _to_stderr(text)
        return
    with _stdout():
        if not sys.stdout.isatty():
            sys.stdout.write(f"{text}\n")
        else:
            _terminal(stderr=False).print(_coloured(text))


def flush() -> None:
    """Write what waits for stdout. Raises InputError where that cannot be."""
    with _stdout():
        sys.stdout.flush()


def note(text: str) -> None:
    """A remark for stderr, unless -q is given."""
    if settings.quiet:
        return
    _to_stderr(f"note: {shortened(text, 4 * SHOWN)}", plain=True)


def detail(text: str) -> None:
    """A remark of what was read or built, which -v asks for."""
    if settings.verbose:
        note(text)


def error(text: str) -> None:
    """What went wrong, in one line on stderr."""
    line = " ".join(text.split("\n"))
    with _stderr():
        if sys.stderr.isatty():
            shown = Text.assemble(("error:", "bold red"), f" {line}")
            Console(stderr=True, soft_wrap=True, highlight=False).print(shown)
        else:
            sys.stderr.write(f"error: {line}\n")


def lose(number: int) -> None:
    """Send what is still written to a descriptor nowhere, so that the interpreter does not complain at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), number)


def _to_stderr(text: str, *, plain: bool = False) -> None:
    with _stderr():
        if plain or not sys.stderr.isatty():
            sys.stderr.write(f"{text}\n")
        else:
            _terminal(stderr=True).print(_coloured(text))


def _terminal(*, stderr: bool) -> Console:
    """What colours a text. It is imported where there is a terminal only."""
    from rich.console import Console

    return Console(stderr=stderr, soft_wrap=True, highlight=False)


def _coloured(text: str) -> Text:
    from rich.text import Text

    coloured = Text(text)
    coloured.highlight_regex(GOOD, "green")
    coloured.highlight_regex(BAD, "bold red")
    return coloured


@contextmanager
def _stdout() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as wrong:
        lose(1)
        raise InputError(f"cannot be written: {wrong.strerror}", file="standard output") from None


@contextmanager
def _stderr() -> Iterator[None]:
    """Where standard error cannot be written, the exit status is all that is left."""
    try:
        yield
        sys.stderr.flush()
    except OSError:
        with suppress(OSError):
            lose(2)


def show(report: Report, form: Form = Form.text, *, to_stderr: bool = False) -> None:
    """A report in the wanted form."""
    if form is Form.text:
        if report.text:
            out(report.text, to_stderr=to_stderr)
    else:
        out(dump(report.data, form), to_stderr=to_stderr)


def dump(data: object, form: Form) -> str:
    """Plain data as JSON or YAML."""
    if form is Form.yaml:
        import yaml

        return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=10_000).rstrip("\n")
    return json.dumps(data, indent=2, ensure_ascii=False)


@contextmanager
def progress(title: str) -> Iterator[Callable[[int, int, str], None]]:
    """A bar on stderr, on a terminal only; gives `update(done, of, what)`."""
    if settings.quiet or not sys.stderr.isatty():
        yield lambda done, of, what: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    shown = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*shown, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, of, what: bar.update(task, completed=done, total=max(of, 1), description=f"{title}: {what}")
