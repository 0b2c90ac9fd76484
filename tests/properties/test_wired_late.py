"""Whether and when pods are wired decides nothing: the same steps with and without putting it off end in the same state."""

from __future__ import annotations

from typing import Any

from hypothesis import event, given, note
from hypothesis import strategies as st

from emu.testing.strategies import examples
from put_off import asleep, pair, unlike
from put_off_steps import OBJECTS, configs, ran, steps


@examples(40)
@given(steps, configs, st.integers(0, 3))
def test_when_a_pod_is_wired_decides_nothing(drawn: list[tuple[Any, ...]], config: dict[str, Any], seed: int) -> None:
    (one, seen), (other, found) = (ran(each, drawn) for each in pair(3, OBJECTS, seed, **config))
    note(f"{asleep(other)} still asleep")
    event(f"{len(asleep(other))} nodes asleep at the end")
    assert found == seen
    assert (other.clock.moment, other.warnings) == (one.clock.moment, one.warnings)
    assert unlike(one, other) == []
