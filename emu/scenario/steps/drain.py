"""`drain`: cordon nodes and delete their pods, as `kubectl drain` does. Must not know the scheduler."""

from __future__ import annotations

from typing import Protocol

from emu.errors import InputError
from emu.scenario.steps import Change, Doing, Place, Settles, actions, texts

Nodes = str | tuple[str, ...]


class Drains(Settles, Protocol):
    """The verbs of the cluster that this action uses."""

    def drain(self, name: str, *, settle: bool) -> list[str]: ...


@actions.add("drain")
class DrainAction(Change[Nodes, Drains]):
    shape = Nodes
    order = 90
    example = "- drain: node-2"

    def check(self, part: Nodes, place: Place) -> None:
        for text in texts(part):
            if not text or "/" in text.removeprefix("node/"):
                raise InputError(f'"{text}" is not a node', expected="the name of a node")

    def change(self, part: Nodes, doing: Doing[Drains]) -> str:
        names = [text.removeprefix("node/") for text in texts(part)]
        gone = [pod for name in names for pod in doing.cluster.drain(name, settle=False)]
        return f"drained {', '.join(names)} of {', '.join(gone) or 'nothing'}"
