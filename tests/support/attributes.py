"""The names of a class's attributes, whether it is compiled or has slots."""

from __future__ import annotations

from emu.fork_program import ATTRIBUTES


def attributes(kind: type) -> tuple[str, ...]:
    """As `__slots__` lists them."""
    found: tuple[str, ...] = getattr(kind, ATTRIBUTES, None) or getattr(kind, "__slots__")  # noqa: B009  (a type has none)
    return found
