"""Atomic files: a file is written under a temporary name and put in place by one rename.

A reader sees the old file or the new one, never a part of it. A file that is replaced keeps its
mode and owner; a device, a FIFO and a descriptor are written to directly. A temporary file that an earlier process left
is removed by the next process that writes there. Must not know what is written.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from emu.errors import EmuError, InputError

if sys.platform != "win32":  # there are no locks there, and no file is removed that another process left
    import fcntl

STDOUT, MAX_LINKS, MAX_NAME = 1, 40, 200
_FDS = re.compile(rf"/proc/{os.getpid()}(/task/\d+)?/fd|/dev/fd")
# The temporary files of this process.
_unfinished: set[Path] = set()

Own = Callable[[Path], bool]


def descriptor(path: str | os.PathLike[str]) -> int | None:
    """The descriptor of this process that a path names (`/dev/stdout`, `/proc/self/fd/3`; `-` is 1), else None."""
    if os.fspath(path) == "-":
        return STDOUT
    at = Path(path).absolute()
    for _ in range(MAX_LINKS):
        try:
            if at.name.isascii() and at.name.isdecimal() and _FDS.fullmatch(str(at.parent.resolve())):
                return int(at.name)
            at = at.parent / at.readlink()
        except (OSError, ValueError):
            return None
    return None


@contextmanager
def whole_file(path: str | os.PathLike[str], own: Own = lambda path: False) -> Iterator[BinaryIO]:
    """A binary file to write to; renamed to `path` when the block ends without an error, removed when it raises.

    `-` is standard output, where written bytes stay. A link is followed; missing folders are made. An existing regular
    file is replaced if it is empty or `own(path)` holds.
    Raises InputError when the file cannot be made or written, BrokenPipeError when the reader of a pipe is gone.
    """
    try:
        with _opened(path, own) as file:
            yield file
    except (EmuError, BrokenPipeError):
        raise
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
        name = "standard output" if descriptor(path) == STDOUT else os.fspath(path)
        raise cannot_write(error, name) from None


def check_writable(path: str | os.PathLike[str], own: Own) -> None:
    """Raise InputError where `whole_file` would not replace what is there."""
    with suppress(OSError, ValueError):
        if descriptor(path) is None:
            _check_own(Path(path).resolve(), Path(path).stat(), path, own)


def cannot_write(error: OSError | ValueError, name: str) -> InputError:
    """The error of a file that cannot be written."""
    return InputError(f"cannot be written: {getattr(error, 'strerror', None) or error}", file=name)


def _check_own(target: Path, there: os.stat_result, path: str | os.PathLike[str], own: Own) -> None:
    if stat.S_ISREG(there.st_mode) and there.st_size and not own(target):
        what = "is there already, and emu did not write it"
        raise InputError(what, file=os.fspath(path), expected="another name, or --force")


@contextmanager
def _opened(path: str | os.PathLike[str], own: Own) -> Iterator[BinaryIO]:
    number = descriptor(path)
    if number == STDOUT:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if number is not None:
        with os.fdopen(os.dup(number), "wb") as file:
            yield file
        return
    target = Path(path).resolve()
    there = target.stat() if target.exists() else None
    if there is not None and stat.S_ISDIR(there.st_mode):
        raise IsADirectoryError(21, "Is a directory")
    if there is not None and not stat.S_ISREG(there.st_mode):
        with os.fdopen(os.open(target, os.O_WRONLY), "wb") as file:
            yield file
        return
    if there is not None:
        _check_own(target, there, path, own)
        if not os.access(target, os.W_OK):
            raise PermissionError(13, "Permission denied")
    target.parent.mkdir(parents=True, exist_ok=True)
    with beginning(target, mode=0o666 if there is None else 0o600) as (part, held):
        with os.fdopen(os.dup(held), "wb") as file:
            yield file
        if there is not None:
            with suppress(PermissionError):  # only root can change a file's owner
                os.chown(part, there.st_uid, there.st_gid)
            part.chmod(stat.S_IMODE(there.st_mode))
        part.replace(target)


@contextmanager
def beginning(goal: Path, *, mode: int = 0o666, folder: bool = False) -> Iterator[tuple[Path, int]]:
    """A new temporary file (or folder) beside `goal`, and its descriptor, locked while this process runs. When the block
    ends, it is removed if it still exists; so are those that earlier processes left for the same goal. Raises OSError."""
    name = os.fsdecode(os.fsencode(goal.name)[:MAX_NAME])
    _remove_left(goal.parent, re.compile(rf"\.{re.escape(name)}\.\d+\.part"))
    part = goal.with_name(f".{name}.{os.getpid()}.part")
    _unfinished.add(part)
    held = -1
    try:
        held = _begin(part, mode, folder)
        yield part, held
    finally:
        if held >= 0:  # otherwise the name belongs to another thread
            _remove(part)
            os.close(held)
        _unfinished.discard(part)


def remove_unfinished() -> None:
    """Remove the temporary files of this process: for an exit that runs no block's end."""
    while _unfinished:
        _remove(_unfinished.pop())


def _begin(part: Path, mode: int, folder: bool) -> int:
    while True:
        if folder:
            part.mkdir()
            held = os.open(part, os.O_RDONLY)
        else:
            held = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
        if _lock(held) is False:
            os.close(held)
            raise BlockingIOError(11, "another run is writing there")
        with suppress(FileNotFoundError):
            if os.path.samestat(part.stat(), os.fstat(held)):  # else another process removed it
                return held
        os.close(held)


def _remove_left(folder: Path, name: re.Pattern[str]) -> None:
    """Remove temporary files of processes that have ended: a lock ends with its process, by any signal."""
    if sys.platform == "win32" or not folder.is_dir():
        return
    for path in [each for each in folder.iterdir() if name.fullmatch(each.name)]:
        try:
            held = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            continue
        try:
            if _lock(held):
                _remove(path)
        finally:
            os.close(held)


def _lock(held: int) -> bool | None:
    """Whether the lock was free; None where the file system has no locks."""
    try:
        if sys.platform != "win32":
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    except BlockingIOError:
        return False
    except OSError:
        pass
    return None


def _remove(part: Path) -> None:
    if part.is_dir() and not part.is_symlink():
        shutil.rmtree(part, ignore_errors=True)
    else:
        with suppress(OSError):
            part.unlink()
