"""Every scenario of the gallery runs on this machine's kernel and in the emulator, and both give the same frames."""

from __future__ import annotations

from pathlib import Path

import pytest

import emu.scenario.gallery
from twins import agrees, needs_twin

pytestmark = needs_twin
GALLERY = sorted(Path(emu.scenario.gallery.__path__[0]).glob("*.yaml"))


@pytest.mark.parametrize("path", GALLERY, ids=lambda path: path.stem)
def test_the_kernel_agrees(path: Path) -> None:
    agrees(path, "gallery")
