"""The page's words: all in one table, each is used, none is missing; the script's parts are whole and small."""

from __future__ import annotations

import json
import re
from importlib.resources import files

import pytest

from emu.report.html import assets

HTML = files("emu.report.html")
WORDS = json.loads(assets.read("words.json"))
# the words that the script puts together: `t(`kind_${k}`)`
BUILT = {"kind": 5, "col": 7, "pane": 3, "way": 4, "table": 6, "stage": 6, "page": 3}
PARTS = sorted(path.name for path in HTML.joinpath("script").iterdir())


def used() -> set[str]:
    script = assets.script()
    calls = re.findall(r"\bt\(([^`]*?)[,)]", script)
    named = {name for call in calls for name in re.findall(r'"(\w+)"', call)}
    counted = {f"{name}_{n}" for name in re.findall(r'\bcount\("(\w+)"', script) for n in ("one", "many")}
    templates = assets.read("page.html.j2") + assets.read("index.html.j2")
    python = (
        assets.read("course.py")
        + assets.read("page.py")
        + files("emu.cli").joinpath("paged.py").read_text(encoding="utf-8")
    )
    named |= {name for name in re.findall(r'"(\w+)"', python) if name in WORDS}
    return named | counted | set(re.findall(r"\bw\.(\w+)", templates))


def test_every_word_that_is_used_is_in_the_table() -> None:
    assert used() - WORDS.keys() == set()
    assert {name for part in BUILT for name in WORDS if name.startswith(f"{part}_")} >= {
        "kind_nat",
        "pane_why",
        "way_in_other",
    }


def test_every_word_of_the_table_is_used() -> None:
    built = {name for name in WORDS if name.partition("_")[0] in BUILT}
    assert WORDS.keys() - used() - built == set()
    for part, least in BUILT.items():
        assert sum(name.startswith(f"{part}_") for name in WORDS) >= least
        assert re.search(rf"t\(`{part}_\$\{{", assets.script())


def test_the_table_is_in_order_and_has_text_alone() -> None:
    assert list(WORDS) == ["lang", *sorted(name for name in WORDS if name != "lang")]
    assert all(isinstance(word, str) and word and "<" not in word for word in WORDS.values())


def test_the_script_is_its_parts_in_order() -> None:
    assert sorted(f"{part}.js" for part in assets.PARTS) == PARTS
    script = assets.script()
    assert script.startswith('"use strict";') and script.rstrip().endswith("start();")
    assert "</script" not in script and len(script) < 120_000


@pytest.mark.parametrize("part", PARTS)
def test_a_part_is_small_and_opens_with_what_it_is(part: str) -> None:
    text = assets.read(f"script/{part}")
    lines = text.splitlines()
    assert len(lines) < 250 and next(line for line in lines if line != '"use strict";').startswith("// ")
    assert not re.search(r"\b(eval|Function|XMLHttpRequest|WebSocket|document\.write|fetch)\(", text)
    assert "innerHTML = `" not in text, "text goes through h, which escapes it"
