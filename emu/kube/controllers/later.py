"""What a controller has of time: the present, and keys that it looks at again later, as a delaying work queue has them.

Must not know any controller. What is waited for does not keep a cluster from having settled.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from emu.clock import Clock
from emu.kube.api.meta import Key


class Queues(Protocol):
    """The queue of the controller: its keys."""

    keys: set[Key]


class Later:
    """`memory` is what the controller itself remembers of an object, by its uid. Without a clock no time passes."""

    def __init__(self, clock: Clock | None, act: Callable[[], None]) -> None:
        self._clock, self._act = clock, act
        self.queue: Queues | None = None
        self.memory: dict[str, Any] = {}
        self._planned: set[tuple[Key, int]] = set()

    @property
    def now_ns(self) -> int:
        return self._clock.now if self._clock is not None else 0

    def wake(self, key: Key, due_ns: int) -> None:
        """Look at an object again at a time (queue.AddAfter)."""
        if self._clock is not None and (key, due_ns) not in self._planned:
            self._planned.add((key, due_ns))
            self._clock.call_at(due_ns, partial(self._look, key, due_ns), background=True)

    def _look(self, key: Key, due_ns: int) -> None:
        self._planned.discard((key, due_ns))
        assert self.queue is not None
        self.queue.keys.add(key)
        self._act()
