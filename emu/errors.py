"""The one error tree. Every exception that emu raises on purpose is an `EmuError`.

Errors are for wrong input and come before the clock starts; a packet never raises
(it is dropped with a reason, see `kernel/net/drop.py`). Must not import anything of emu.
"""

from __future__ import annotations

import errno as _errno
import os
import re

SHOWN = 200  # characters of one word of the input that a message shows


def shortened(text: str, most: int = SHOWN) -> str:
    """A text with its long words cut in the middle; `most` is the most characters in all."""
    if len(text) <= SHOWN:
        return text
    cut = re.sub(rf"\S{{{SHOWN},}}", lambda word: f"{word[0][: SHOWN - 60]}...{word[0][-40:]}", text)
    return cut if len(cut) <= most else f"{cut[: most - 60]}...{cut[-40:]}"


class EmuError(Exception):
    """Root of the tree. `exit_status` is what the command line returns for it (4: our own fault)."""

    exit_status = 4


class InputError(EmuError):
    """Bad input: what is wrong, where (file, line, path inside the document) and what was expected.

    The message reads `file:line: path: what (expected ...)`, leaving out what is unknown.
    """

    exit_status = 2

    def __init__(
        self,
        what: str,
        *,
        file: str | None = None,
        line: int | None = None,
        path: str | None = None,
        expected: str | None = None,
    ) -> None:
        self.what, self.file, self.line, self.path, self.expected = what, file, line, path, expected
        super().__init__(what)

    def at(self, *, file: str | None = None, line: int | None = None, path: str | None = None) -> InputError:
        """The same error with the unknown places filled in."""
        return type(self)(
            self.what,
            file=self.file or file,
            line=self.line or line,
            path=self.path or path,
            expected=self.expected,
        )

    def __str__(self) -> str:
        place = shortened(self.file or "")
        if self.line is not None:
            place += f":{self.line}" if place else f"line {self.line}"
        parts = [p for p in (place, shortened(self.path or "")) if p]
        text = ": ".join([*parts, shortened(self.what, 2 * SHOWN)])
        return f"{text} (expected {shortened(self.expected, 4 * SHOWN)})" if self.expected else text


class Undecided(EmuError):
    """The input has a construct that emu does not model, so that the kernel's behaviour is unknown (exit 3)."""

    exit_status = 3


class SocketError(EmuError, OSError):
    """A socket call failed with the kernel's errno: `.errno` and `.name` ("EADDRINUSE")."""

    exit_status = 1

    def __init__(self, number: int) -> None:
        OSError.__init__(self, number, os.strerror(number))
        self.name = _errno.errorcode[number]
