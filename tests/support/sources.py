"""The project's Python files as trees, parsed once a process: the rules of the house look at all of them, one after another.

Nothing may change a tree that it gets here.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]


def tree(path: Path) -> ast.Module:
    """A file's tree. A relative path is one below the project's folder."""
    return _parsed(ROOT / path)


@cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def nodes(module: ast.Module) -> tuple[ast.AST, ...]:
    """All nodes of a tree, in the order of `ast.walk`."""
    return tuple(ast.walk(module))
