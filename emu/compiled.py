"""Compiled or pure Python: which of the two runs, decided once before any other module of emu is imported.

A platform wheel has compiled modules beside the same sources, and lists them in compiled.txt. They are taken together or not at
all: where one is missing, or EMU_PURE is set, the sources are imported. Must not import anything of emu, nor be compiled itself.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.machinery import EXTENSION_SUFFIXES, SOURCE_SUFFIXES, FileFinder, ModuleSpec, SourceFileLoader
from types import ModuleType

FOLDER = os.path.dirname(__file__)  # noqa: PTH120  (pathlib is slow to import, and this is each start)
LIST = "compiled.txt"  # the suffix of the files, then the modules' paths below this folder without it


def present(folder: str) -> bool | None:
    """Are all compiled modules of a folder's list there, for this Python? None: it has no list."""
    try:
        with open(os.path.join(folder, LIST), encoding="utf-8") as file:  # noqa: PTH118, PTH123
            suffix, *names = file.read().split()
    except (OSError, ValueError):
        return None
    return suffix in EXTENSION_SUFFIXES and all(os.path.isfile(f"{folder}/{name}{suffix}") for name in names)  # noqa: PTH113


class _Sources:
    """Finds the sources of emu's modules, whatever lies beside them."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name.startswith("emu."):
            for folder in path or ():
                spec = FileFinder(folder, (SourceFileLoader, SOURCE_SUFFIXES)).find_spec(name)
                if spec is not None:
                    return spec
        return None


def decided() -> bool:
    """Whether compiled modules run. Where they are there and shall not run, the sources are found first."""
    found = present(FOLDER)
    if found and not os.environ.get("EMU_PURE"):
        return True
    if found is not None:
        sys.meta_path.insert(0, _Sources)
    return False


COMPILED = decided()
