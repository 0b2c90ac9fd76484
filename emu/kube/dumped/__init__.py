"""Nodes as their own commands show them: what a node's dump states takes the place of what emu computed for it.

Three steps, each in the open: a dump is read (`dump.py`), its devices are found among the node's (`devices.py`), and each table is
compared with the computed one and then put in its place (`links.py`, `routes.py`, `neighbours.py`, `sysctls.py`, `rules.py`,
`connections.py`). A difference is a finding with both sides (`difference.py`). From then on no agent runs on that node: what the dump
states stays, also when objects change. Must not know scenarios, questions or the command line.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emu.kube.dumped.difference import IDS, Difference
    from emu.kube.dumped.take_over import beside
    from emu.modelled import Finding

_WHERE = {"IDS": "difference", "Difference": "difference", "beside": "take_over"}


def __getattr__(name: str) -> Any:
    """Its names are imported when they are first used: a cluster without dumps is built without them."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)


def taken_over(dumps: Mapping[str, Any], *rest: Any) -> tuple[list[Difference], list[Finding]]:
    """`take_over`, which is imported only where there is a dump."""
    if not dumps:
        return [], []
    from emu.kube.dumped.take_over import take_over

    return take_over(dumps, *rest)


__all__ = ["IDS", "Difference", "beside", "taken_over"]
