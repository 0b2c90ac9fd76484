"""`wait`: let virtual time pass. Must not know what happens meanwhile."""

from __future__ import annotations

from typing import Protocol

from emu.scenario.flows import seconds
from emu.scenario.kinds import Duration
from emu.scenario.steps import Action, Doing, Place, actions

Wait = str | float


class Waits(Protocol):
    """The verb of the cluster that this action uses."""

    def wait(self, seconds: float) -> None: ...


@actions.add("wait")
class WaitAction(Action[Wait, Waits]):
    shape = Duration
    order = 100
    example = "- wait: 5s"

    def check(self, part: Wait, place: Place) -> None:
        seconds(part, 0)

    def run(self, part: Wait, doing: Doing[Waits]) -> None:
        doing.cluster.wait(seconds(part, 0))
        doing.done.change = f"waited {part if isinstance(part, str) else f'{part:g}s'}"
