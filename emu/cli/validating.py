"""`emu validate`: every file read as what it is, counted, and looked over. Must not know any kind of object."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from emu.errors import InputError
from emu.report import Report, columns

NO_EXPECTATION = "no-expectation"
HEADINGS = ("FILE", "KIND", "OBJECTS", "WITHOUT EFFECT")
NAMED = 2  # so many objects of one kind are named, more are counted


def validate_files(files: Sequence[Path]) -> tuple[Report, list[str]]:
    """A row a file, and the warnings. Raises InputError for the first file that is wrong."""
    from emu.lint.gather import of_file

    rows: list[dict[str, Any]] = []
    warnings: list[str] = []
    for path in files:
        looked = of_file(path)
        if looked.kind == "empty":
            raise InputError("is empty", file=str(path), expected="a scenario or manifests")
        if looked.error is not None:
            raise looked.error
        found = [str(each) for each in looked.findings if each.id != NO_EXPECTATION]  # a run states that itself
        rows.append(
            {
                "file": str(path),
                "kind": looked.kind,
                "objects": looked.objects,
                "ignored": looked.ignored,
                "warnings": found,
            }
        )
        warnings += found
    shown = [
        row
        | {"found": ", ".join(f"{n} {kind}" for kind, n in row["objects"].items())}
        | {"unused": ", ".join(_in_short(row["ignored"]))}
        for row in rows
    ]
    return Report(rows, columns(HEADINGS, shown, ("file", "kind", "found", "unused"))), warnings


def _in_short(names: Sequence[str]) -> list[str]:
    """Objects by `kind/name`; many of one kind as their number (JSON has all names)."""
    kinds = Counter(name.partition("/")[0] for name in names)
    counted = {kind for kind, count in kinds.items() if count > NAMED}
    return [f"{count} {kind}" for kind, count in kinds.items() if kind in counted] + [
        name for name in names if name.partition("/")[0] not in counted
    ]
