"""What the page on fidelity counts is what is judged."""

from __future__ import annotations

import re
import runpy
from importlib import resources
from pathlib import Path

import emu.scenario.gallery
from emu.kernel.netfilter.matches import matches
from emu.kernel.netfilter.targets import targets


def test_the_page_counts_the_rows_of_the_tables() -> None:
    tables = [runpy.run_path(str(path)).get("ROWS", ()) for path in Path(__file__).parent.glob("test_twin_table*.py")]
    page = resources.files("emu.twin").joinpath("FIDELITY.md").read_text()
    found = re.search(r"\| (\d+) rows \|", page)
    assert found is not None and int(found[1]) == sum(map(len, tables))


def test_the_page_counts_the_stories_and_the_planted_faults() -> None:
    page = resources.files("emu.twin").joinpath("FIDELITY.md").read_text()
    stories = re.search(r"\| the gallery \| (\d+) scenarios \|", page)
    assert stories is not None and int(stories[1]) == len([*Path(emu.scenario.gallery.__path__[0]).glob("*.yaml")])
    faults = re.search(r"\| (\d+): the twin finds", page)
    assert faults is not None and int(faults[1]) == len(
        runpy.run_path(str(Path(__file__).parent / "test_twin_planted.py"))["FAULTS"]
    )


def test_the_page_names_each_rule_that_leaves_a_packet_undecided() -> None:
    page = resources.files("emu.twin").joinpath("FIDELITY.md").read_text()
    listed = dict(re.findall(r"^\| `(-[mj] \w+)` \| [^|]+ \| ([^|]+) \|$", page, re.MULTILINE))
    declared = {f"-m {name}": match.undecided for name, match in matches.items() if match.undecided}
    declared |= {f"-j {name}": target.undecided for name, target in targets.items() if target.undecided}
    assert listed == declared
