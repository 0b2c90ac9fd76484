"""`delete`: delete objects by kind and name. Must not know any kind of object."""

from __future__ import annotations

from typing import Protocol

from emu.scenario.objects import object_key
from emu.scenario.steps import Change, Doing, Place, Settles, actions, texts

Names = str | tuple[str, ...]


class Deletes(Settles, Protocol):
    """The verbs of the cluster that this action uses."""

    def delete(self, kind: str, namespace: str, name: str, *, settle: bool) -> None: ...


@actions.add("delete")
class DeleteAction(Change[Names, Deletes]):
    shape = Names
    order = 70
    example = "- delete: pod/client"

    def check(self, part: Names, place: Place) -> None:
        for text in texts(part):
            object_key(text)

    def change(self, part: Names, doing: Doing[Deletes]) -> str:
        for text in texts(part):
            key = object_key(text)
            doing.cluster.delete(key.kind, key.namespace, key.name, settle=False)
        return "deleted " + ", ".join(texts(part))
