"""Every scenario of the gallery runs on this machine's kernel and in the emulator, and both give the same frames."""

from __future__ import annotations

from pathlib import Path

import pytest

import emu.scenario.gallery
from emu.twin import judge
from twins import needs_twin

pytestmark = needs_twin
GALLERY = sorted(Path(emu.scenario.gallery.__path__[0]).glob("*.yaml"))


@pytest.mark.parametrize("path", GALLERY, ids=lambda path: path.stem)
def test_the_kernel_agrees(path: Path) -> None:
    report = judge(path)
    assert report.exit_status == 0, report.text()
    assert report.frames
    assert len({flow.name for flow in report.flows}) > 0
