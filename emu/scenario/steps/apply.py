"""`apply`: create or change objects, as `kubectl apply` does. Must not know any kind of object."""

from __future__ import annotations

from typing import Any, Protocol

from emu.kube.api.loader import convert
from emu.kube.api.meta import Object, Other
from emu.scenario.steps import Change, Doing, Place, Settles, actions

Manifests = dict[str, Any] | tuple[dict[str, Any], ...]


class Applies(Settles, Protocol):
    """The verbs of the cluster that this action uses."""

    def apply(self, obj: Object, *, settle: bool) -> Object: ...


@actions.add("apply")
class ApplyAction(Change[Manifests, Applies]):
    shape = Manifests
    order = 60
    example = "- apply: {apiVersion: v1, kind: Pod, metadata: {name: db}, spec: {containers: [{name: db}]}}"

    def check(self, part: Manifests, place: Place) -> None:
        listed = isinstance(part, tuple)
        objects: list[Object] = []
        for i, value in enumerate(part if isinstance(part, tuple) else (part,)):
            at = ("steps", place.number, "apply", *((i,) if listed else ()))
            objects += convert(value, document=place.scenario.document, at=at, notes=place.scenario.loaded.objects)
        place.scenario.applied[place.number] = [each for each in objects if not isinstance(each, Other)]

    def change(self, part: Manifests, doing: Doing[Applies]) -> str:
        objects = doing.place.scenario.applied[doing.place.number]
        for obj in objects:
            doing.cluster.apply(obj, settle=False)
        return "applied " + (", ".join(str(obj.key) for obj in objects) or "nothing that has an effect")
