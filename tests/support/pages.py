"""The fenced blocks of the project's pages, and a folder as a reader of them has it."""

from __future__ import annotations

import re
from pathlib import Path

from emu.scenario import gallery

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
PAGES = ("README.md", "emu/scenario/README.md", "emu/testing/README.md")
BLOCKS = [block for page in PAGES for block in BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))]
PYTHON = [text for language, text in BLOCKS if language == "python"]
CONSOLE = [text for language, text in BLOCKS if language == "console"]

PLAIN = re.compile(r"emu [^|&;<>$`(){}*?~\\]*")  # a command that no shell has a part in


def commands(text: str) -> list[tuple[str, list[str]]]:
    """The commands of a console block, each with the lines that stand below it."""
    return [(command, below.splitlines()) for command, below in re.findall(r"^\$ (.+)\n((?:(?!\$ ).*\n)*)", text, re.M)]


def reader_folder(path: Path) -> Path:
    """Fill a folder as a reader's: the gallery's files, and those that the pages name (`# file: NAME`)."""
    gallery.copy(path / "gallery")
    for language, text in BLOCKS:
        named = re.match(r"# file: (\S+)\n", text)
        if language in ("yaml", "text") and named:
            (path / named[1]).parent.mkdir(exist_ok=True)
            (path / named[1]).write_text(text, encoding="utf-8")
    return path
