"""Nodes as their own commands show them: what a node's dump states takes the place of what emu computed for it.

Three steps, each in the open: a dump is read (`dump.py`), its devices are found among the node's (`devices.py`), and each table is
compared with the computed one and then put in its place (`links.py`, `routes.py`, `neighbours.py`, `sysctls.py`, `rules.py`,
`connections.py`, in the order of `apply.py`). A difference is a finding with both sides (`difference.py`). From then on no agent runs on
that node: what the dump states stays, also when objects change. Must not know scenarios, questions or the command line.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from emu.kube.api.meta import Object
from emu.kube.dumped.difference import IDS, Difference
from emu.kube.node.node import Node, Sandbox
from emu.kube.plan import ClusterConfig
from emu.modelled import Finding
from emu.wire.addr import Prefix

if TYPE_CHECKING:
    from emu.pasted.node_texts import NodeTexts

__all__ = ["IDS", "Difference", "beside", "take_over"]


def beside(config: ClusterConfig, dumps: Mapping[str, str | os.PathLike[str]]) -> ClusterConfig:
    """The configuration with the dumps of nodes, each a folder or tar. Raises InputError."""
    from emu.pasted.node_texts import node_texts

    return replace(config, dumps={name: node_texts(path) for name, path in dumps.items()})


def take_over(
    dumps: Mapping[str, NodeTexts],
    nodes: Mapping[str, Node],
    pods: Mapping[str, Sandbox],
    pod_subnet: Prefix,
    given: Sequence[Object],
    leave: Callable[[Iterable[str]], None],
) -> tuple[list[Difference], list[Finding]]:
    """Put the dumps in the place of what was computed: the differences, and what is to be noted of them and besides. `leave` keeps the
    agents from the nodes of these names; `given` are the objects that the cluster was built from. Raises InputError for a node that is
    not there, and for texts that cannot be read."""
    if not dumps:
        return [], []
    from emu.kube.dumped.apply import apply  # only here: the readers of dumps are many, and most clusters have none

    return apply(dumps, nodes, pods, pod_subnet, given, leave)
