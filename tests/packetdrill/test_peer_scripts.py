"""packetdrill's own scripts: each within the subset holds, or stands in the committed list with its reason.

The scripts are not in the project. Without a checkout (`EMU_PACKETDRILL`) the test is skipped, loudly.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from emu.errors import InputError
from emu.packetdrill.run import run

NO_SCRIPTS = "skipped: no scripts of packetdrill"
LIST = Path(__file__).parents[1] / "data" / "packetdrill" / "gtests.txt"
WITHIN = 47  # scripts within the subset, at least


def listed() -> dict[str, str]:
    """The reason of each failure, by FILE:LINE."""
    pairs = (line.split(" | ", 1) for line in LIST.read_text(encoding="utf-8").splitlines())
    return dict(pairs)


def test_each_script_holds_or_is_listed_with_its_reason() -> None:
    folder = os.environ.get("EMU_PACKETDRILL", "")
    if not folder:
        pytest.skip(f"{NO_SCRIPTS} (EMU_PACKETDRILL names a checkout of github.com/google/packetdrill)")
    root = Path(folder) / "gtests"
    held, failed, refused = [], {}, {}
    for path in sorted(root.rglob("*.pkt")):
        name = str(path.relative_to(root))
        try:
            result = run(path.read_text(encoding="utf-8"), str(path))
        except InputError as error:
            refused[name] = str(error)
            continue
        if result.failure is None:
            held.append(name)
        else:
            failed[f"{name}:{result.failure.event.line}"] = result.failure.what
    assert failed.keys() == listed().keys()
    assert len(held) + len(failed) >= WITHIN
    assert [each for each in refused.values() if ".pkt:" not in each] == [], "a refusal names file and line"


def test_each_line_of_the_list_has_its_reason() -> None:
    assert all(place.rpartition(":")[2].isdigit() and reason for place, reason in listed().items())
