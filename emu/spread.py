"""Work on many items over several processes, or over a Dask cluster: results in the order of the items, the same bytes whatever runs them.

What the work needs besides an item is made once where it runs: here before the processes fork, where the system can fork; else in each of
them. The work must give the same result for an item whichever items came before. Must not know what is done.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from functools import lru_cache, partial
from threading import Lock
from typing import Any, Protocol, TypeVar

from emu.errors import InputError

S = TypeVar("S")
I = TypeVar("I")
R = TypeVar("R")
PARTS = 8  # pieces of the work for each worker: fewer wait for the slowest one, more cost a message each

_state: ContextVar[Any] = ContextVar("what the work needs, in a process that works")
_one_at_a_time = Lock()  # Dask's workers have several threads, and what the work needs belongs to one


def cpus() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def forks() -> bool:
    """Whether processes here begin with all that this one has."""
    return "fork" in multiprocessing.get_all_start_methods()


def spread(
    make: Callable[[], S],
    work: Callable[[S, I], R],
    items: Sequence[I],
    *,
    jobs: int = 0,
    dask: str = "",
    made: S | None = None,
    done: Callable[[int], None] = lambda count: None,
) -> Iterator[R]:
    """`work(make(), item)` of each item, in their order. `jobs` is how many processes (0: one for each processor; 1: this one); `dask` is
    the address of a scheduler, which is asked instead. `made` is what `make` would give, where it is there already. `done` is called with how many
    results there are. What is sent to other processes (`work`, items, results; `make` where nothing forks) must be picklable. Raises
    InputError for a scheduler that does not answer, and what the work raises."""
    if not items:
        return
    jobs = min(jobs or cpus(), len(items))
    found = _over_dask(make, work, items, dask) if dask else _over_processes(make, work, items, jobs, made)
    for count, result in enumerate(found, 1):
        done(count)
        yield result


def _over_processes(
    make: Callable[[], S], work: Callable[[S, I], R], items: Sequence[I], jobs: int, made: S | None
) -> Iterator[R]:
    if jobs <= 1 or forks():
        state = make() if made is None else made
        if jobs <= 1:
            yield from (work(state, item) for item in items)
            return
        begin: Callable[[], Any] = partial(_same, state)  # is not sent: the processes fork with it
    else:
        begin = make
    context = multiprocessing.get_context("fork" if forks() else "spawn")
    end = context.Event()
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_begin, initargs=(begin, end)) as pool:
        try:
            yield from _in_order(pool, _here, (work,), items, jobs)
        except BaseException:  # also a signal, or no more is wanted
            end.set()
            raise


def _over_dask(make: Callable[[], S], work: Callable[[S, I], R], items: Sequence[I], address: str) -> Iterator[R]:
    with _client(address) as client:
        recipe = client.scatter(_Recipe(pickle.dumps(make)), broadcast=True)
        workers = len(client.scheduler_info(n_workers=-1)["workers"])
        if not workers:
            raise InputError(f"the Dask scheduler at {address} has no workers", expected="dask worker ADDRESS")
        yield from _in_order(client.get_executor(pure=False), _there, (recipe, work), items, workers)


@contextmanager
def _client(address: str) -> Iterator[Any]:
    try:
        from distributed import Client
    except ImportError:
        raise InputError("--dask needs dask and distributed", expected="pip install 'kubemu[dask]'") from None
    with ExitStack() as open_:
        try:
            client = open_.enter_context(Client(address, timeout="10s", set_as_default=False))  # type: ignore[no-untyped-call]
        except (OSError, TimeoutError, ValueError) as wrong:
            what = f"no Dask scheduler answers at {address}: {type(wrong).__name__}"
            raise InputError(what, expected="tcp://HOST:8786") from None
        yield client


def _in_order(
    pool: Executor, call: Callable[..., list[R]], given: tuple[Any, ...], items: Sequence[I], workers: int
) -> Iterator[R]:
    """The results of pieces of the items, each piece one call. A piece that was given is let go."""
    size = max(1, len(items) // (workers * PARTS))
    waiting: deque[Future[list[R]]] = deque(
        pool.submit(call, *given, items[first : first + size]) for first in range(0, len(items), size)
    )
    try:
        while waiting:
            yield from waiting.popleft().result()
    finally:
        for each in waiting:
            each.cancel()


# -- where it runs ---------------------------------------------------------------------------------------


def _same(state: S) -> S:
    return state


class End(Protocol):
    """Whether the work is given up: what was begun ends soon."""

    def is_set(self) -> bool: ...


def _begin(make: Callable[[], Any], end: End) -> None:
    _state.set((make(), end))


def _here(work: Callable[[Any, I], R], items: Sequence[I]) -> list[R]:
    """A piece of the work in a process of ours; a part of it where the work is given up, as no result is waited for then."""
    state, end = _state.get()
    return [work(state, item) for item in items if not end.is_set()]


class _Recipe:
    """How what the work needs is made, as bytes: equal ones make the same."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __hash__(self) -> int:
        return hash(self.data)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Recipe) and self.data == other.data


@lru_cache(maxsize=1)
def _made(recipe: _Recipe) -> Any:
    return pickle.loads(recipe.data)()  # noqa: S301  (what this very command sent to its workers)


def _there(recipe: _Recipe, work: Callable[[Any, I], R], items: Sequence[I]) -> list[R]:
    """A piece of the work in a process of Dask's."""
    with _one_at_a_time:
        state = _made(recipe)
        return [work(state, item) for item in items]
