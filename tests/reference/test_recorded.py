"""The emulator equals a real kernel in more cases than the ladders have: what it did is in `recorded/`."""

from __future__ import annotations

from functools import cache

import pytest

from ladder_cases import CASES, FOLDER
from ladder_compare import Done, compare_calls, compare_frames, compare_tables, play
from ladder_emu import EmuWorld
from ladder_lines import Step, parse

STEPS = [
    pytest.param(name, index, id=f"{name}-{index + 1}: {step.title}")
    for name, case in CASES.items()
    for index, step in enumerate(case.steps)
]


@cache
def recorded(name: str) -> list[Step]:
    return parse((FOLDER / f"{name}.txt").read_text())


@cache
def ran(name: str) -> list[Done]:
    case = CASES[name]
    return play(EmuWorld(case.setup()), case.steps, [case.tables()] * len(case.steps))


def test_every_case_was_recorded() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.txt")) == sorted(CASES)
    for name, case in CASES.items():
        assert [step.title for step in recorded(name)] == [step.title for step in case.steps]


@pytest.mark.parametrize(("name", "index"), STEPS)
def test_recorded(name: str, index: int) -> None:
    kernel, steps = recorded(name)[index], ran(name)
    if index >= len(steps):
        pytest.fail(f"not reached: step {len(steps)} raised {steps[-1].failure!r}", pytrace=False)
    here = steps[index]
    texts = [compare_calls(kernel.calls, here.calls), compare_frames(kernel.frames, here.frames)]
    if here.failure is not None:
        raise AssertionError("\n".join(["the step raised", *texts])) from here.failure
    texts.append(compare_tables(kernel.tables, here.tables))
    if any(texts):
        pytest.fail("\n".join(text for text in texts if text), pytrace=False)
