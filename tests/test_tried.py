"""Each fact of tests/TRIED.md has its test."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent


def test_every_row_names_a_test_that_is_there() -> None:
    rows = re.findall(r"^\| .* \| `([^`]+)::(\w+)` \|$", (HERE / "TRIED.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(rows) > 40
    missing = [
        f"{file}::{name}"
        for file, name in rows
        if not (HERE / file).is_file() or f"def {name}(" not in (HERE / file).read_text(encoding="utf-8")
    ]
    assert missing == []
