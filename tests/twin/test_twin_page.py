"""What the page on fidelity counts is what is judged."""

from __future__ import annotations

import re
import runpy
from importlib import resources
from pathlib import Path


def test_the_page_counts_the_rows_of_the_tables() -> None:
    tables = [runpy.run_path(str(path)).get("ROWS", ()) for path in Path(__file__).parent.glob("test_twin_table*.py")]
    page = resources.files("emu.twin").joinpath("FIDELITY.md").read_text()
    found = re.search(r"\| (\d+) rows \|", page)
    assert found is not None and int(found[1]) == sum(map(len, tables))
