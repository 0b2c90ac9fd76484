"""How far a long build is, in one line on stderr that is gone at its end; on a terminal only. Must not know what is built."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

LONG = 200  # steps: fewer are done at once
CLEAR = "\r\x1b[K"


class Steps:
    """A build of `total` steps. Nothing is shown for a short one, or where stderr is no terminal."""

    def __init__(self, what: str, total: int) -> None:
        self._what, self._total, self._count = what, total, 0
        self._stream = sys.stderr if total >= LONG and sys.stderr is not None and sys.stderr.isatty() else None
        self._each = max(1, total // 100)

    def done(self) -> None:
        """One step is done."""
        self._count += 1
        if self._stream is not None and self._count % self._each == 0:
            percent = min(99, 100 * self._count // self._total)
            self._show(f"{self._what}: {percent} %")

    @contextmanager
    def last(self, what: str) -> Iterator[None]:
        """The block is the last part, of unknown length; at its end the line is cleared."""
        self._show(f"{self._what}: {what}")
        try:
            yield
        finally:
            if self._stream is not None:
                self._stream.write(CLEAR)
                self._stream.flush()

    def _show(self, text: str) -> None:
        if self._stream is not None:
            self._stream.write(f"{CLEAR}{text}")
            self._stream.flush()
