"""What a step can do: one action, one file of this folder. A file holds the action's shape, its check and its run.

`actions` is the shelf. The shape of a step, the JSON Schema, the messages that name the actions and the contract tests
are all made of what it finds. An action asks the cluster by a small Protocol of its own, so that a new one needs no
other file. Must not know which actions there are, how files are read, or how results are shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from emu.capture.capture import Capture
from emu.errors import InputError
from emu.kube.api.documents import Document
from emu.kube.api.loader import Loaded
from emu.kube.api.meta import Object
from emu.kube.flow.flow import Flow
from emu.kube.flow.testbed import Time
from emu.registry import Shelf
from emu.scenario.ends import Ends
from emu.scenario.expectations import Checked, check
from emu.scenario.kinds import Expect, SeenPart, Step
from emu.scenario.results import FlowResult, StepResult
from emu.scenario.seen import END, START, Search
from emu.scenario.spread import Chance

P = TypeVar("P")
C = TypeVar("C")
LAST = 1000


class Written(Protocol):
    """A scenario as the check of a step sees it. `applied`: the objects of each step that applies some, by its number."""

    document: Document
    loaded: Loaded
    applied: dict[int, list[Object]]

    @property
    def steps(self) -> Sequence[Step]: ...

    def error(self, error: InputError, step: int, *path: str | int) -> InputError:
        """The error with the place of a step's key, where it has no place yet."""
        ...


@dataclass(frozen=True)
class Place:
    """A step where it stands: its scenario, its number (from 0), and the step itself."""

    scenario: Written
    number: int
    step: Step

    def text(self, *path: str | int) -> str:
        """`FILE:LINE: steps[0].expect.seen[1]`: where a part of the step is written."""
        return str(self.scenario.error(InputError(""), self.number, *path)).removesuffix(": ")

    @property
    def moments(self) -> list[str]:
        """The moments that the step may name: those of its own, and the starts of earlier steps that have a name."""
        return [START, END, *(step.name for step in self.scenario.steps[: self.number] if step.name)]

    @contextmanager
    def at(self, *path: str | int) -> Iterator[None]:
        """An InputError of the block gets the place of a key of the step's action."""
        try:
            yield
        except InputError as error:
            raise self.scenario.error(error, self.number, self.step.action, *path) from None


@dataclass(frozen=True)
class Doing(Generic[C]):
    """A step that is being run: its place, its result, the cluster, and what earlier steps left.

    `left_open`: the last flows of each step, by its name. `narrate` gives a flow's frames the step's story. `moments`: when each step
    began (ns), by its name. `capture` has every frame so far, and is missing where a kernel's side of a twin runs the flows.
    `chance` gives the random source of a purpose.
    """

    place: Place
    done: StepResult
    cluster: C
    ends: Ends
    left_open: dict[str, list[Flow]]
    narrate: Callable[[Flow, Step], None]
    moments: dict[str, int]
    capture: Capture | None
    clock: Time
    chance: Callable[[str], Chance]

    @property
    def step(self) -> Step:
        return self.place.step

    def finished(self, flow: Flow, expect: Expect | None = None, label: str = "") -> None:
        """A flow of the step has ended: hold it against the expectation, its own or the step's."""
        expect = expect or self.step.expect
        self.narrate(flow, self.step)
        checked = Checked(0, ())
        if expect is not None:
            checked = check(flow, expect).plus(self.seen(flow, expect.seen))
        self.done.flows.append(FlowResult(flow, checked, expect.outcome if expect else "", label or self.step.label))

    def seen(self, flow: Flow, parts: Sequence[SeenPart]) -> Checked:
        """A list of frames held against those of a flow. The kernel's side of a twin has no capture: there each frame is compared anyway."""
        capture = flow.testbed.capture
        if not parts or capture is None:
            return Checked(0, ())
        moments = self.moments | {START: flow.started_ns, END: flow.ended_ns}
        place = partial(self.place.text, "expect", "seen")
        return Search(capture, lambda: flow.frames, moments, place, self.clock.run_until).run(parts)


class Action(Generic[P, C]):
    """One kind of action; `P` is the type of its value in the file, `C` the verbs of the cluster that it uses.

    `shape` is that type as msgspec reads it. `order` is its place in lists (the default is behind all others).
    `sends`: it makes flows, so it may have an expectation; `many`: more than can be held, and no later step asks for them. `changes`: it changes objects that the cluster follows, so it
    may have `settle`. `example`: YAML of steps, the last of which has the action, for a cluster of two nodes with a pod
    `client` and a StatefulSet `web` that listens on port 80; the contract tests run it, on the `underlay` that it needs.
    """

    shape: ClassVar[Any]
    example: ClassVar[str]
    underlay: ClassVar[str] = "routed"
    order: ClassVar[int] = LAST
    sends: ClassVar[bool] = False
    many: ClassVar[bool] = False
    changes: ClassVar[bool] = False

    def expects(self, part: P) -> bool:
        """Whether the action itself is an expectation, or has one within, beside the step's own."""
        return False

    def drawn(self, part: P) -> int:
        """How many flows it draws, beside those that the file names one by one."""
        return 0

    def check(self, part: P, place: Place) -> None:
        """What can be known without a cluster. Raises InputError."""

    def resolve(self, part: P, place: Place, ends: Ends) -> None:
        """What can be known before the first packet, once the cluster runs. Raises InputError."""

    def run(self, part: P, doing: Doing[C]) -> None:
        """Do it, and note in `doing.done` what came of it. Raises InputError."""
        raise NotImplementedError


class Settles(Protocol):
    """A cluster that follows changes."""

    def settle(self) -> None: ...


S = TypeVar("S", bound=Settles)


class Change(Action[P, S]):
    """An action that changes objects; the cluster follows before the next step, unless `settle` is false."""

    changes = True

    def change(self, part: P, doing: Doing[S]) -> str:
        """Change the objects; states in words which ones. Raises InputError."""
        raise NotImplementedError

    def run(self, part: P, doing: Doing[S]) -> None:
        doing.done.change = self.change(part, doing)
        if doing.step.settle:
            doing.cluster.settle()


actions: Shelf[type[Action[Any, Any]]] = Shelf("action", __name__, named=True)


@cache
def in_order() -> tuple[str, ...]:
    """The names of all actions, in the order in which messages list them."""
    return ordered(actions)


def ordered(names: Iterable[str]) -> tuple[str, ...]:
    """Names of actions in that order."""
    return tuple(sorted(names, key=lambda name: (actions[name].order, name)))


def sending() -> tuple[str, ...]:
    """The actions that make flows."""
    return tuple(name for name in in_order() if actions[name].sends)


def changing() -> tuple[str, ...]:
    """The actions that change objects."""
    return tuple(name for name in in_order() if actions[name].changes)


def texts(value: str | Sequence[str]) -> Sequence[str]:
    """The entries of a key that takes one text or a list of them."""
    return (value,) if isinstance(value, str) else value
