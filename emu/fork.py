"""Copies of running state: what can change is copied, what cannot change is shared by all copies.

Python's deepcopy recurses over the whole state for each copy, and takes functions for values: a closure, or the bound method
of a list, would still write into the original. A `Snapshot` walks over the state once, and writes down how it is built as a
program for Python's unpickler (`fork_program.py`), which is run for each copy. What a module holds belongs to no state, and is shared.
Must not know what is copied.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from emu.collector import uncollected

T = TypeVar("T")


def itself(value: T, memo: dict[int, Any]) -> T:
    """The `__deepcopy__` of a class whose objects never change after they are made."""
    return value


def forked(state: T, memo: dict[int, Any]) -> T:
    """The `__deepcopy__` of a state that is forked as a whole."""
    return Snapshot(state).fork()


class Snapshot(Generic[T]):
    """The state of `root` and of all that it holds, at this moment. `fork()` makes a copy of it, as often as it is called.

    Raises InputError where the state holds a running program, an open file or another thing that cannot be copied.
    """

    def __init__(self, root: T) -> None:
        from emu.fork_program import USUAL, Program  # only here: most runs copy nothing

        with uncollected():
            self._program: Program[T] = Program(root, {itself: "share", forked: USUAL})

    def fork(self) -> T:
        """A copy, which no other copy and not the original can change."""
        with uncollected():
            return self._program.run()
