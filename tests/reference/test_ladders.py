"""The emulator equals a real kernel: seven scenarios, every frame on every interface, every call, every table."""

from __future__ import annotations

from functools import cache

import pytest

from ladder_compare import Done, compare_calls, compare_frames, compare_tables, perform
from ladder_drive import SCENARIOS
from ladder_emu import EmuWorld
from ladder_lines import load
from ladder_setup import Setup

STEPS = [
    pytest.param(name, index, id=f"{name}-{index + 1}: {step.title}")
    for name, steps in SCENARIOS.items()
    for index, step in enumerate(steps)
]


@cache
def ran(name: str, seed: int = 0) -> list[Done]:
    """A scenario is run once; its steps are judged one by one."""
    return perform(EmuWorld(Setup(name), seed), load(name))


def step(name: str, index: int) -> Done:
    steps = ran(name)
    if index >= len(steps):
        pytest.fail(f"not reached: step {len(steps)} raised {steps[-1].failure!r}", pytrace=False)
    return steps[index]


def judge(text: str) -> None:
    if text:
        pytest.fail(text, pytrace=False)


@pytest.mark.parametrize(("name", "index"), STEPS)
def test_frames(name: str, index: int) -> None:
    here = step(name, index)
    text = compare_frames(load(name)[index].frames, here.frames)
    if here.failure is not None:
        raise AssertionError(f"the step raised; until then: {text}") from here.failure
    judge(text)


@pytest.mark.parametrize(("name", "index"), STEPS)
def test_calls(name: str, index: int) -> None:
    judge(compare_calls(load(name)[index].calls, step(name, index).calls))


@pytest.mark.parametrize(
    ("name", "index"), [param for param in STEPS if load(str(param.values[0]))[int(str(param.values[1]))].tables]
)
def test_tables(name: str, index: int) -> None:
    here = step(name, index)
    assert here.failure is None
    judge(compare_tables(load(name)[index].tables, here.tables))


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("name", SCENARIOS)
def test_chance_changes_no_ladder(name: str, seed: int) -> None:
    """What a seed draws (ISNs, IP IDs, echo ids, NUD times) is what a ladder leaves open."""
    for kernel, here in zip(load(name), ran(name, seed), strict=True):
        judge(compare_frames(kernel.frames, here.frames))


def test_the_same_seed_gives_the_same_bytes() -> None:
    worlds = [EmuWorld(Setup("s12_closed_ports"), seed) for seed in (5, 5, 6)]
    for world in worlds:
        perform(world, load("s12_closed_ports"))
    assert worlds[0].seen == worlds[1].seen != worlds[2].seen
