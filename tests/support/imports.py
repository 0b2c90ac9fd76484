"""The import graph of emu, read from its source: who imports whom, where, and which imports go round in a circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import sources

ROOT = Path(__file__).parents[2]
Graph = dict[str, set[str]]


def module_of(path: Path) -> str:
    """`emu/wire/frame.py` is `emu.wire.frame`; a package's own page is the package."""
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def modules(root: Path = ROOT) -> dict[str, Path]:
    """Every module of emu by name, with its path below `root`."""
    return {module_of(path.relative_to(root)): path.relative_to(root) for path in sorted((root / "emu").rglob("*.py"))}


def graph(root: Path = ROOT, *, at_import: bool = False) -> Graph:
    """For each module the modules of emu that it imports: anywhere in its text, or with `at_import` when it is imported
    (neither in functions nor under TYPE_CHECKING), its packages counted."""
    known = modules(root)
    found: Graph = {}
    for name, path in known.items():
        tree = sources.tree(root / path)
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        nodes = _executed(tree) if at_import else sources.nodes(tree)
        found[name] = {target for node in nodes for target in _targets(node, package, known) if target != name}
        if at_import:
            parts = name.split(".")
            found[name] |= {".".join(parts[:size]) for size in range(1, len(parts))}
    return found


def _executed(tree: ast.AST) -> Iterator[ast.AST]:
    """The nodes that run when a module is imported."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            continue
        yield node
        yield from _executed(node)


def _targets(node: ast.AST, package: str, known: Mapping[str, Path]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name in known)
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            parents = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*parents, *([base] if base else [])])
        for alias in node.names:
            deeper = f"{base}.{alias.name}"
            if deeper in known:
                yield deeper
            elif base in known:
                yield base


def circles(imports: Graph) -> list[list[str]]:
    """The strongly connected components of more than one module, the largest first (Tarjan's algorithm, with a stack of
    its own)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []
    for start in imports:
        if start in index:
            continue
        work = [(start, iter(sorted(imports[start])))]
        index[start] = low[start] = len(index)
        stack.append(start)
        while work:
            module, rest = work[-1]
            for other in rest:
                if other not in imports:
                    continue
                if other not in index:
                    index[other] = low[other] = len(index)
                    stack.append(other)
                    work.append((other, iter(sorted(imports[other]))))
                    break
                if other in stack:
                    low[module] = min(low[module], index[other])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[module])
                if low[module] == index[module]:
                    circle = stack[stack.index(module) :]
                    del stack[stack.index(module) :]
                    if len(circle) > 1:
                        found.append(sorted(circle))
    return sorted(found, key=len, reverse=True)
