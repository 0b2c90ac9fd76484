"""Nodes as their own commands show them: what a node's dump states takes the place of what emu computed for it.

Three steps, each in the open: a dump is read (`dump.py`), its devices are found among the node's (`devices.py`), and each table is
compared with the computed one and then put in its place (`links.py`, `routes.py`, `neighbours.py`, `sysctls.py`, `rules.py`,
`connections.py`). A difference is a finding with both sides (`difference.py`). From then on no agent runs on that node: what the dump
states stays, also when objects change. Must not know scenarios, questions or the command line.
"""

from __future__ import annotations

from emu.kube.dumped.difference import IDS, Difference
from emu.kube.dumped.take_over import beside, take_over

__all__ = ["IDS", "Difference", "beside", "take_over"]
