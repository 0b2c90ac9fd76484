"""The gallery's contents: every story once, mistakes by their symptoms, cause and cure in the data."""

from __future__ import annotations

import json

import pytest

from emu.cli import main
from emu.scenario.gallery import stories, story
from emu.scenario.script import load


def test_each_story_is_a_line_of_its_group(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--list"]) == 0
    lessons, mistakes = capsys.readouterr().out.removeprefix("Lessons:\n").split("\nMistakes:\n")
    named = [[line.split()[0] for line in part.splitlines() if line] for part in (lessons, mistakes)]
    assert sorted(named[0] + named[1]) == sorted(stories())
    assert [name for name in named[1] if load(story(name)).spec.metadata.mistake is None] == []
    assert "only-nodes-reach-pods" in named[1] and "Pods are ready, and a node reaches its own pods." in mistakes


def test_a_story_by_its_name_shows_cause_cure_and_frames(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--list", "hairpin-off"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    about = load(story("hairpin-off")).spec.metadata
    assert about.mistake is not None and about.look
    stated = (about.description, about.mistake.seen, about.mistake.cause, about.mistake.find, about.mistake.cure)
    for sentence in (*stated, "See the story hairpin-on.", *(each.see for each in about.look)):
        assert " ".join(sentence.split()) in text
    assert main(["demo", "--list", "hairpin-of"]) == 2


def test_the_data_has_cause_and_cure(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--list", "-o", "json"]) == 0
    found = {each["name"]: each for each in json.loads(capsys.readouterr().out)}
    assert set(found) == set(stories())
    assert found["hairpin-off"]["mistake"]["curedIn"] == "hairpin-on"
    assert set(found["only-nodes-reach-pods"]["mistake"]) == {"seen", "cause", "find", "cure"}
