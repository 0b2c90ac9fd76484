"""The page of emu.testing against the code: every strategy and every invariant stands in its tables, with what it states and its scope."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from emu.invariants import invariants
from emu.testing import invariants as named
from emu.testing import strategies
from emu.testing.clusters import ClusterShape
from pages import PYTHON

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "emu" / "testing" / "README.md").read_text(encoding="utf-8")


def rows(heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, without its head."""
    lines = PAGE.split(f"## {heading}\n")[1].splitlines()
    table = [
        line for line in lines[: next(at for at, line in enumerate(lines) if line.startswith("## "))] if line[:1] == "|"
    ]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table[2:]]


def test_every_strategy_is_in_the_table() -> None:
    listed = [re.match(r"`(\w+)", cells[0])[1] for cells in rows("Strategies")]  # type: ignore[index]  # each row has a name
    there = [
        name
        for name in strategies.__all__
        if name.islower() and name != "examples" and inspect.isroutine(inspect.unwrap(getattr(strategies, name)))
    ]
    assert sorted(listed) == sorted(there)


def test_every_invariant_is_in_the_table_with_its_scope() -> None:
    wanted = [
        [f"`{name}`", each.states, each.scope + ("" if each.captured else " Needs no capture.")]
        for name, each in sorted(invariants.items())
    ]
    assert rows("Invariants") == wanted
    assert all(getattr(named, name) is each for name, each in invariants.items()), "each can be called by its name"


@pytest.mark.slow
def test_the_ten_lines_of_the_readme_find_their_fault(capsys: pytest.CaptureFixture[str]) -> None:
    """Shrunk to one Service and one flow, with the road that README shows."""
    (text,) = (each for each in PYTHON if "test_a_rule_of_ours_leaves_services_alone" in each)
    assert len([line for line in text.splitlines() if line]) == 9
    found: list[ClusterShape] = []
    real = ClusterShape.build

    def build(shape: ClusterShape, seed: int = 0, *, capture: bool = True) -> object:
        found.append(shape)
        return real(shape, seed, capture=capture)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ClusterShape, "build", build)
        names: dict[str, object] = {}
        exec(compile(text, "<README>", "exec"), names)
        with pytest.raises(AssertionError) as failure:
            names["test_a_rule_of_ours_leaves_services_alone"]()  # type: ignore[operator]  # it is a function
    smallest = found[-1]
    assert (smallest.nodes, len(smallest.services), len(smallest.flows), len(smallest.pods)) == (1, 1, 1, 1)
    assert len(found) < 150
    shown = (ROOT / "README.md").read_text(encoding="utf-8").split("```\nservice_address_stays:")[1].split("```")[0]
    stated = str(failure.value).removeprefix("service_address_stays:")
    for line in shown.strip().splitlines():
        assert line.strip() in stated
