"""What the actions that send a packet have in common: two ends, a timeout, and a flow for each pair of ends.

Must not know which such actions there are.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

from emu.kube.flow.ends import Target
from emu.kube.flow.flow import Flow
from emu.scenario.endpoints import endpoint
from emu.scenario.ends import Ends
from emu.scenario.quantity import duration_ns
from emu.scenario.steps import Action, C, Doing, Place

SECOND_NS = 1_000_000_000
TCP_TIMEOUT_S, UDP_TIMEOUT_S = 10.0, 5.0


class FlowPart(Protocol):
    """The value of such an action: what all of them have."""

    @property
    def from_(self) -> str: ...

    @property
    def to(self) -> str: ...


F = TypeVar("F", bound=FlowPart)


def seconds(value: str | float | None, default: float) -> float:
    """A duration of the file in seconds."""
    return default if value is None else duration_ns(value) / SECOND_NS


class FlowAction(Action[F, C]):
    """One flow from each sender to each receiver. `protocol` chooses among a Service's ports; "" has no ports."""

    sends = True
    protocol = "TCP"
    durations: tuple[str, ...] = ("timeout",)

    def send(self, part: F, doing: Doing[C], source: str, target: Target) -> Flow:
        """Run one flow. Raises InputError."""
        raise NotImplementedError

    def check(self, part: F, place: Place) -> None:
        with place.at("from"):
            endpoint(part.from_, port=False)
        with place.at("to"):
            endpoint(part.to, port=bool(self.protocol))
        for key in self.durations:
            with place.at(key):
                seconds(getattr(part, key), 0)

    def resolve(self, part: F, place: Place, ends: Ends) -> None:
        self.pairs(part, place, ends)

    def pairs(self, part: F, place: Place, ends: Ends) -> tuple[list[str], list[Target]]:
        """The senders and the receivers. Raises InputError."""
        with place.at("from"):
            senders = ends.senders(part.from_)
        with place.at("to"):
            return senders, ends.receivers(part.to, self.protocol) if self.protocol else ends.without_port(part.to)

    def run(self, part: F, doing: Doing[C]) -> None:
        senders, receivers = self.pairs(part, doing.place, doing.ends)
        for sender in senders:
            flows = [self.send(part, doing, sender, target) for target in receivers]
            for flow in flows:
                doing.finished(flow)
        doing.left_open[doing.step.name] = [each.flow for each in doing.done.flows]
