"""Many examples of one property over several processes, or over a Dask cluster: the same result whatever runs them.

The examples are split into parts, each with a seed of its own, so that a part gives the same examples wherever and whenever it runs. What fails
is run again in the caller's process, which has its frames then. Must not know pytest's items.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import platform
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from emu.errors import InputError
from emu.spread import forks, spread
from emu.testing.explained import CHOICE

PART = 100  # examples of one seed: fewer cost a start each, more let processes wait for the last one
MOST = 10  # parts that fail, until no more are run
SEED = "_hypothesis_internal_use_seed"  # where Hypothesis keeps the seed of a test function, or of a state machine
MACHINE = "_hypothesis_state_machine_class"  # and a state machine's test its class
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")

Arguments = Mapping[str, Any]
NOTHING: Arguments = MappingProxyType({})


class Part(NamedTuple):
    """So many examples of one seed; `first`: those that the test states itself, too."""

    seed: int
    examples: int
    first: bool


class Failure(NamedTuple):
    """A part that fails: its seed, the type of the error, and the smallest example as Hypothesis prints it."""

    seed: int
    error: str
    example: str

    @property
    def size(self) -> tuple[int, str, int]:
        """Of the smallest example of several parts this is least."""
        return len(self.example), self.example, self.seed

    def __str__(self) -> str:
        return f"seed {self.seed}: {self.error}: {' '.join(self.example.split())}"


def parts_of(examples: int, seed: int = 0) -> list[Part]:
    """The parts of so many examples, whose seeds count from this one."""
    sizes = [PART] * (examples // PART) + [examples % PART] * bool(examples % PART)
    return [Part(seed + number, size, number == 0) for number, size in enumerate(sizes)]


def spread_examples(
    test: Callable[..., None],
    examples: int = 1000,
    *,
    seed: int = 0,
    jobs: int = 0,
    dask: str = "",
    arguments: Arguments = NOTHING,
    again: Callable[[Part], str] | None = None,
    done: Callable[[int], None] = lambda count: None,
) -> None:
    """Run so many examples of a property: a function with `@given`, or a state machine's `TestCase().runTest`. `jobs` processes (0: one for each
    processor; 1: this one) or the workers of a Dask scheduler at `dask` run parts of 100 examples, whose seeds count from `seed`. `arguments` are what the
    function takes beside what is drawn; Dask, and a system that cannot fork, must be able to send them, and find the test's file at the same path.

    Where parts fail, the one with the smallest example runs again here, and its error is raised, with a note: which seeds fail, in their
    order, and how `again` is run. After ten parts that fail no more are run. Raises InputError where the test cannot be sent."""
    function = getattr(test, "__func__", test)
    if not hasattr(function, "hypothesis") and not hasattr(function, MACHINE):
        raise InputError(f"{_name(test)} is no property", expected="a function with @given, or a state machine's test")
    parts = parts_of(examples, seed)
    ready = partial(test, **arguments) if arguments else test
    sent = bool(dask) or not forks()
    make = partial(_loaded, _where(test), tuple(sys.path), dict(arguments)) if sent else partial(_same, ready)
    failures: list[Failure] = []
    run = 0
    for found in spread(make, _tried, parts, jobs=jobs, dask=dask, made=None if dask else ready, done=done):
        run += 1
        if found is not None:
            failures.append(found)
            if len(failures) == MOST:
                break
    if not failures:
        return
    smallest = min(failures, key=lambda each: each.size)
    part = next(each for each in parts if each.seed == smallest.seed)
    note = _note(failures, run, len(parts), f"again: {again(part)}" if again is not None else "")
    try:
        _run(ready, part)
    except BaseException as error:
        error.add_note(note)
        raise
    raise AssertionError(f"seed {smallest.seed} fails in another process only\n{smallest.example}\n{note}")


def _note(failures: list[Failure], run: int, of: int, again: str) -> str:
    rest = f" (of {of})" if run < of else ""
    lines = [f"{len(failures)} of {run} parts{rest} fail; above is the smallest example:", *map(str, failures)]
    return "\n".join([*lines, again] if again else lines)


def _name(test: Callable[..., None]) -> str:
    return str(getattr(test, "__qualname__", test))


# -- where it runs ---------------------------------------------------------------------------------------


def _same(test: Callable[..., None]) -> Callable[..., None]:
    return test


def _tried(test: Callable[..., None], part: Part) -> Failure | None:
    """Run a part; what it prints is printed where it runs again."""
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            _run(test, part)
    except _failing() as error:
        notes = [_ADDRESS.sub("", each) for each in getattr(error, "__notes__", ())]
        return Failure(part.seed, type(error).__name__, "\n".join(notes))
    return None


def _failing() -> tuple[type[BaseException], ...]:
    """What a failed test raises: pytest's own is no Exception."""
    pytest = sys.modules.get("pytest")
    return (Exception,) if pytest is None else (Exception, pytest.fail.Exception)


def _run(test: Callable[..., None], part: Part) -> None:
    """The examples of a part, in this process: Hypothesis draws them by the seed alone."""
    whole = getattr(test, "func", test)
    function = getattr(whole, "__func__", whole)
    machine = getattr(function, MACHINE, None)
    with _without_local_constants():
        if machine is not None:
            owner = getattr(whole, "__self__", None)
            with _set(machine, SEED, part.seed):
                run_state_machine_as_test(machine, settings=_settings(getattr(owner, "settings", None), part))
            return
        with (
            _set(function, SEED, part.seed),
            _set(function, CHOICE, _settings(getattr(function, CHOICE, None), part)),
        ):
            test()


def _settings(own: settings | None, part: Part) -> settings:
    """The test's own settings for a part: what depends on the time or on earlier runs is left out."""
    base = own or settings.default
    assert base is not None
    left_out = {Phase.explain, Phase.reuse, *(() if part.first else (Phase.explicit,))}
    return settings(
        base,
        max_examples=part.examples,
        phases=[each for each in base.phases if each not in left_out],
        derandomize=False,
        database=None,
        deadline=None,
        report_multiple_bugs=False,
        suppress_health_check=[*base.suppress_health_check, HealthCheck.too_slow],
    )


@contextmanager
def _set(where: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(where, name, None)
    setattr(where, name, value)
    try:
        yield
    finally:
        setattr(where, name, before)


@contextmanager
def _without_local_constants() -> Iterator[None]:
    """Hypothesis draws numbers and texts that stand in the modules that are loaded: other ones in another process. A Hypothesis that
    keeps them elsewhere is left as it is."""
    try:
        from hypothesis.internal.conjecture import providers
        from hypothesis.internal.constants_ast import Constants

        none, cache = Constants(), providers.CONSTANTS_CACHE.cache
    except (ImportError, AttributeError):
        yield
        return
    cache.clear()
    with _set(providers, "_get_local_constants", lambda: none):
        yield
    cache.clear()


# -- on another machine ----------------------------------------------------------------------------------


class Where(NamedTuple):
    """Where a test stands: its module, the module's file and what that has in it (a digest), and the test's name there."""

    module: str
    file: str
    content: str
    name: str


def _where(test: Callable[..., None]) -> Where:
    function: Any = getattr(test, "__func__", test)
    machine = getattr(function, MACHINE, None)
    own = function.hypothesis.inner_test if machine is None else machine  # Hypothesis' own function has another name
    name = own.__qualname__
    file = getattr(sys.modules.get(own.__module__), "__file__", None)
    if file is None or "<locals>" in name:
        raise InputError(f"{_name(test)} cannot be sent to other processes", expected="a test at the top of a file")
    return Where(own.__module__, str(Path(file).resolve()), _digest(Path(file)), name)


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _loaded(where: Where, path: tuple[str, ...], arguments: dict[str, Any]) -> Callable[..., None]:
    """The test, from its file. `path` is the caller's."""
    sys.path += [each for each in path if each not in sys.path]
    file = Path(where.file)
    spec = importlib.util.spec_from_file_location(where.module, file)
    if spec is None or spec.loader is None or not file.exists() or _digest(file) != where.content:
        what = f"{platform.node()} has not the file that the test is in"
        raise InputError(what, file=where.file, expected="the same file at the same path")
    module = sys.modules[where.module] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: Any = module
    owner: Any = None
    for each in where.name.split("."):
        owner, found = found, getattr(found, each)
    if isinstance(found, type):  # a state machine
        test: Callable[..., None] = found.TestCase().runTest  # type: ignore[attr-defined]
        return test
    method = found.__get__(owner()) if isinstance(owner, type) else found
    return partial(method, **arguments) if arguments else method
