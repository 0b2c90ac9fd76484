"""Files that are whole or not there: written beside their name, put in place by one rename.

Whoever reads the folder meanwhile sees the old file or the new one, never a half. Must not know what is written.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from emu.errors import InputError


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A binary file to write to; renamed to `path` when the block ends well, removed when it raises.

    `-` is standard output, which nothing can take back. Missing folders are made.
    Raises InputError when the file cannot be made.
    """
    if os.fspath(path) == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    target = Path(path)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_dir():
            raise IsADirectoryError(21, "Is a directory")
        file = part.open("wb")
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", file=str(target)) from None
    try:
        with file:
            yield file
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
