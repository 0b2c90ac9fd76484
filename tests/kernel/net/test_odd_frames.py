"""Odd frames into a router: what leaves it because of each, as a kernel did it (`tests/reference/recorded`)."""

from __future__ import annotations

from functools import cache
from importlib import resources

import pytest

from odd_frame_cases import SETUPS, cases
from odd_frames import Recorded, by_setup, emulated, read

RECORDED = read()


@cache
def answers(setup: str) -> dict[str, list[str]]:
    group = [each.case for each in RECORDED if each.case.setup == setup]
    return {case.label: sent for case, sent in zip(group, emulated(SETUPS[setup], group), strict=True)}


def test_every_case_was_recorded() -> None:
    page = resources.files("emu.twin").joinpath("FIDELITY.md").read_text()
    assert f"| {len(RECORDED)} frames or groups |" in page
    assert [each.case for each in RECORDED] == [case for _, group in by_setup(list(cases())) for case in group]


@pytest.mark.parametrize(
    "recorded", [pytest.param(each, id=f"{each.case.setup}: {each.case.label}") for each in RECORDED]
)
def test_odd_frame(recorded: Recorded) -> None:
    assert answers(recorded.case.setup)[recorded.case.label] == recorded.sent
