"""`cluster.kubernetesVersion`: what a client's old entry does after the Service lost its last endpoint, by release."""

from __future__ import annotations

from pathlib import Path

import pytest

from emu.errors import InputError
from emu.scenario.gallery import story
from emu.scenario.run import run
from emu.scenario.script import load

STORY = story("udp-to-a-pod-that-is-gone")
SET = "kubernetesVersion: v1.36"


@pytest.mark.parametrize(
    ("version", "outcome"),
    [
        ("v1.31.9", "rejected"),
        ("v1.32", "timeout"),
        ("v1.36", "timeout"),
        ("v1.37.0", "rejected"),
        ("v1.38", "rejected"),
    ],
)
def test_a_sender_after_the_last_endpoint(version: str, outcome: str, tmp_path: Path) -> None:
    text = STORY.read_text()
    assert SET in text
    path = tmp_path / "story.yaml"
    path.write_text(text.replace(SET, f"kubernetesVersion: {version}"))
    flows = {each.flow.name: each.flow.outcome.word for each in run(path).flows}
    assert flows["still sent to the pod that is gone"] == outcome
    assert flows["a new socket"] == "rejected"


@pytest.mark.parametrize("version", ["1.36", "v2.0", "v1", "latest"])
def test_other_texts_are_refused(version: str, tmp_path: Path) -> None:
    path = tmp_path / "story.yaml"
    path.write_text(STORY.read_text().replace(SET, f'kubernetesVersion: "{version}"'))
    with pytest.raises(InputError) as caught:
        load(path)
    assert caught.value.path == "cluster.kubernetesVersion"
