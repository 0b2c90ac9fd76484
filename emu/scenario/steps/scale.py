"""`scale`: set the replicas of workloads. Must not know controllers."""

from __future__ import annotations

from typing import Annotated, Protocol

from msgspec import Meta

from emu.errors import InputError
from emu.scenario.objects import object_key
from emu.scenario.steps import Change, Doing, Place, Settles, actions

SCALABLE = ("deployment", "replicaset", "statefulset")
Replicas = dict[str, Annotated[int, Meta(ge=0, le=100000)]]


class Scales(Settles, Protocol):
    """The verbs of the cluster that this action uses."""

    def scale(self, kind: str, namespace: str, name: str, replicas: int, *, settle: bool) -> None: ...


@actions.add("scale")
class ScaleAction(Change[Replicas, Scales]):
    shape = Replicas
    order = 80
    example = "- scale: {statefulset/web: 2}"

    def check(self, part: Replicas, place: Place) -> None:
        for text in part:
            with place.at(text):
                if object_key(text).kind not in SCALABLE:
                    raise InputError(f'"{text}" cannot be scaled', expected=" or ".join(SCALABLE))

    def change(self, part: Replicas, doing: Doing[Scales]) -> str:
        for text, replicas in part.items():
            key = object_key(text)
            doing.cluster.scale(key.kind, key.namespace, key.name, replicas, settle=False)
        return "scaled " + ", ".join(f"{text} to {replicas}" for text, replicas in part.items())
