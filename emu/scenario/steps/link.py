"""`link`: the link of a node or a pod goes down, gets a delay, a loss or another MTU. Must not know devices."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Protocol

from msgspec import Meta

from emu.errors import InputError
from emu.scenario.kinds import Duration, Part
from emu.scenario.quantity import duration_ns, share
from emu.scenario.steps import Action, Doing, Place, actions

MS_NS = 1_000_000


class Link(Part, frozen=True):
    """Changes to the link of a node or a pod, that of eth0 if no `device` is named. `lose` numbers the frames to lose on its way
    out (0 is the next one)."""

    node: str = ""
    pod: str = ""
    device: str = "eth0"
    down: bool | None = None
    delay: Duration | None = None
    loss: str | float | None = None
    mtu: Annotated[int, Meta(ge=68, le=65535)] | None = None
    lose: tuple[Annotated[int, Meta(ge=0)], ...] = ()


class ChangesLinks(Protocol):
    """The verb of the cluster that this action uses."""

    def link(
        self,
        where: str,
        *,
        device: str,
        down: bool | None,
        delay_ms: float | None,
        loss: float | None,
        mtu: int | None,
        lose: Iterable[int],
    ) -> None: ...


@actions.add("link")
class LinkAction(Action[Link, ChangesLinks]):
    shape = Link
    order = 110
    example = "- link: {node: node-2, delay: 5ms}"

    def check(self, part: Link, place: Place) -> None:
        if bool(part.node) == bool(part.pod):
            raise InputError("a link belongs to a node or to a pod", expected="node: NAME or pod: NS/NAME")
        if part.down is None and part.delay is None and part.loss is None and part.mtu is None and not part.lose:
            raise InputError("the link is not changed", expected="down, delay, loss, lose or mtu")
        if part.delay is not None:
            with place.at("delay"):
                duration_ns(part.delay)
        if part.loss is not None:
            with place.at("loss"):
                share(part.loss)

    def run(self, part: Link, doing: Doing[ChangesLinks]) -> None:
        doing.cluster.link(
            part.node or part.pod,
            device=part.device,
            down=part.down,
            delay_ms=None if part.delay is None else duration_ns(part.delay) / MS_NS,
            loss=None if part.loss is None else share(part.loss),
            mtu=part.mtu,
            lose=part.lose,
        )
        words = [
            f"{key} {str(value).lower()}"
            for key in ("down", "delay", "loss", "mtu")
            if (value := getattr(part, key)) is not None
        ]
        words += [f"lose {', '.join(map(str, part.lose))}"] if part.lose else []
        doing.done.change = f"link of {part.node or part.pod}: {', '.join(words)}"
