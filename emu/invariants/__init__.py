"""The invariants of every network by name, each with its scope: what emu's scenarios, property tests and state machines share.

An invariant is one function in a file of this folder. It looks at what was captured, counted and tracked, and gives an answer for each
thing that it applies to. `judge` asks all or some of them; `hold` raises for what does not hold. They send nothing. Must not know
scenarios, strategies or pytest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from emu.capture.captured import Captured
from emu.capture.rungs import rungs
from emu.invariants.evidence import Bench, Evidence, Where
from emu.kube.flow.flow import Flow
from emu.registry import Shelf


class Violation(NamedTuple):
    """One thing that an invariant does not hold for: `what` is a sentence, `frames` show it, `flow` is the flow at fault if there
    is one. As text it is the sentence, and a line for each frame."""

    what: str
    frames: tuple[Captured, ...] = ()
    flow: Flow | None = None

    @property
    def sentence(self) -> str:
        """`what`, with the flow's name before it."""
        if self.flow is None:
            return self.what
        return f"{self.flow.name or f'{self.flow.kind} {self.flow.source} -> {self.flow.target.name}'}: {self.what}"

    def __str__(self) -> str:
        return "\n".join(filter(None, (self.sentence, rungs(self.frames))))


Answer = Violation | None
"""None where the invariant holds."""
Check = Callable[[Evidence], Iterator[Answer]]


@dataclass(frozen=True)
class Invariant:
    """`states` is what holds, a clause. `scope` is what it is judged on, and what it passes over. `check` gives one answer for each
    thing that it applies to. `captured`: it reads frames, so that it needs a capture."""

    name: str
    states: str
    scope: str
    check: Check
    captured: bool

    def __call__(self, where: Where) -> None:
        """Raises AssertionError with all that it does not hold for, and ValueError without the capture that it needs."""
        self.of(Evidence(where)).expect()

    def of(self, evidence: Evidence) -> Verdict:
        """The verdict. Raises ValueError if nothing was captured and it reads frames."""
        if self.captured:
            evidence.require_capture()
        answers = list(self.check(evidence))
        return Verdict(self.name, self.states, len(answers), tuple(each for each in answers if each is not None))


class Verdict(NamedTuple):
    """The result of one invariant: how many things it was judged on (packets, connections, flows ...), and the violations."""

    name: str
    states: str
    judged: int
    violations: tuple[Violation, ...]

    @property
    def held(self) -> bool:
        return not self.violations

    @property
    def failures(self) -> tuple[str, ...]:
        """A sentence each."""
        return tuple(each.sentence for each in self.violations)

    def expect(self) -> None:
        """Raises AssertionError with the violations."""
        if self.violations:
            text = "\n".join(map(str, self.violations[:3]))
            more = f"\n... and {len(self.violations) - 3} more" if len(self.violations) > 3 else ""
            raise AssertionError(f"{self.name}: {self.states}, but\n{text}{more}")

    def plus(self, other: Verdict) -> Verdict:
        """Two judgements of one invariant as one."""
        return Verdict(self.name, self.states, self.judged + other.judged, self.violations + other.violations)


invariants: Shelf[Invariant] = Shelf("invariant", "emu.invariants")


def invariant(states: str, scope: str, *, captured: bool = True) -> Callable[[Check], Invariant]:
    """Decorator: the function is an invariant under its own name."""

    def put(check: Check) -> Invariant:
        name = getattr(check, "__name__", "")
        return invariants.add(name)(Invariant(name, states, scope, check, captured))

    return put


def judge(where: Where | Evidence, names: Iterable[str] = ()) -> tuple[Verdict, ...]:
    """The verdicts of the named invariants (of all, if none is named). Without a capture and without names those that need none.
    Raises InputError for an unknown name, and ValueError where a named one needs a capture."""
    evidence = where if isinstance(where, Evidence) else Evidence(where)
    chosen = [invariants[name] for name in names]
    return tuple(
        each.of(evidence)
        for each in chosen or invariants.values()
        if chosen or evidence.is_captured or not each.captured
    )


def together(judged: Iterable[tuple[Verdict, ...]]) -> tuple[Verdict, ...]:
    """The verdicts of several judgements as one. A flow is judged while the pods that it knew still run."""
    found: dict[str, Verdict] = {}
    for verdicts in judged:
        for each in verdicts:
            found[each.name] = found[each.name].plus(each) if each.name in found else each
    return tuple(found.values())


__all__ = [
    "Answer", "Bench", "Evidence", "Invariant", "Verdict", "Violation", "Where", "invariant", "invariants", "judge", "together",
]  # fmt: skip
