"""The expected walk of each gallery scenario as text: what became of each flow, and every hop of a step's first flow.

The texts are golden: `tools/golden walks` writes them anew, for people to read the difference.
"""

from __future__ import annotations

import sys
from difflib import unified_diff
from pathlib import Path

import pytest

from emu.report.walk import golden
from emu.scenario.gallery import stories, story
from emu.scenario.run import run

FOLDER = Path(__file__).parent


def walks(name: str) -> str:
    """The text of a scenario."""
    lines: list[str] = []
    for step in run(story(name)).steps:
        lines.append(f"== {step.number} {step.name}")
        if step.change:
            lines.append(step.change)
        for each in step.flows:
            flow = each.flow
            ends = f"{flow.kind} {flow.source} -> {flow.target.name}"
            nat = f", {each.nat}" if each.nat else ""
            lines.append(f"{ends}: {flow.outcome}{nat}, {len(flow.frames)} frames")
        if step.flows:
            lines += golden(step.flows[0].flow.frames).text.splitlines()
        lines.append("")
    return "\n".join(lines)


@pytest.mark.parametrize("name", stories())
def test_a_scenario_walks_as_expected(name: str) -> None:
    expected = (FOLDER / f"{name}.txt").read_text(encoding="utf-8")
    met = walks(name)
    if met != expected:
        difference = unified_diff(expected.splitlines(), met.splitlines(), "expected", "met", lineterm="", n=2)
        pytest.fail("\n".join(difference), pytrace=False)


def test_every_text_has_its_scenario() -> None:
    assert {path.stem for path in FOLDER.glob("*.txt")} == set(stories())


if __name__ == "__main__":
    for scenario in sys.argv[1:] or stories():
        (FOLDER / f"{scenario}.txt").write_text(walks(scenario), encoding="utf-8")
