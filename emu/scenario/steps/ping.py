"""`ping`: ICMP echo requests. Must not know how they travel."""

from __future__ import annotations

from typing import Annotated, Protocol

from msgspec import Meta, field

from emu.kube.flow.ends import Target
from emu.kube.flow.flow import Flow
from emu.scenario.flows import FlowAction, seconds
from emu.scenario.kinds import Duration, Part, Source
from emu.scenario.quantity import duration_ns
from emu.scenario.steps import Doing, Place, actions


class Ping(Part, frozen=True):
    from_: Source = field(name="from")
    to: str
    count: Annotated[int, Meta(ge=1, le=10000)] = 1
    interval: Duration = 1.0
    size: Annotated[int, Meta(ge=0, le=65507)] = 56


class Pings(Protocol):
    """The verb of the cluster that this action uses."""

    def ping(self, source: str, to: str | Target, count: int, *, interval_s: float, size: int, name: str) -> Flow: ...


@actions.add("ping")
class PingAction(FlowAction[Ping, Pings]):
    shape = Ping
    order = 30
    example = "- ping: {from: default/client, to: default/web-0, count: 2, interval: 100ms}"
    protocol = ""
    durations = ("interval",)

    def check(self, part: Ping, place: Place) -> None:
        super().check(part, place)
        with place.at("interval"):
            duration_ns(part.count * seconds(part.interval, 0))

    def send(self, part: Ping, doing: Doing[Pings], source: str, target: Target) -> Flow:
        interval_s = seconds(part.interval, 1.0)
        return doing.cluster.ping(
            source, target, part.count, interval_s=interval_s, size=part.size, name=doing.step.name
        )
