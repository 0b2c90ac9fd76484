"""The page's files in this folder: styles, words, and the script, which is its parts in this order. Must not know the document."""

from __future__ import annotations

from importlib.resources import files

# each part uses those before it; `start` begins
PARTS = (
    "base", "bytes", "model", "tables", "layout", "map", "stages", "token", "ladder", "why", "frame", "places", "inspector",
    "scrubber", "transport", "find", "flows", "questions", "compare", "export", "keys", "start",
)  # fmt: skip


def script() -> str:
    """The page's script."""
    return "\n".join(read(f"script/{part}.js") for part in PARTS)


def read(name: str) -> str:
    """A file of this folder, as text."""
    return files(__package__).joinpath(name).read_text(encoding="utf-8")
