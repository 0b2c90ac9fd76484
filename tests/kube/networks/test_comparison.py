"""The README's table of pod networks: each cell is what the frames of a run show, and each network has a row."""

from __future__ import annotations

import re
from dataclasses import astuple, fields
from pathlib import Path

import pytest

from emu.kube.networks.network import networks
from network_facts import Facts, read

README = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")
CHAPTER = README.partition("\n## Pod networks\n")[2].partition("\n## ")[0]
ROWS: dict[str, str] = dict(re.findall(r"^\| `(network: .+?)` \| (.+) \|$", CHAPTER, re.M))


def test_every_network_has_a_row() -> None:
    named = {re.split(r"[\s,}]", words.removeprefix("network: "))[0] for words in ROWS}
    assert named == set(networks)


@pytest.mark.parametrize("words", ROWS)
def test_the_frames_show_what_the_row_states(words: str) -> None:
    assert tuple(ROWS[words].split(" | ")) == astuple(read(words))


def test_each_row_has_each_column() -> None:
    assert {len(cells.split(" | ")) for cells in ROWS.values()} == {len(fields(Facts))}
