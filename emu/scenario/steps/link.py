"""`link`: the cable of a node or a pod is pulled, gets a delay, a loss or another MTU; or the host itself adds, sets or deletes its
devices, in the words of `ip link`. Must not know devices."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Annotated, Protocol

from msgspec import Meta, field

from emu.errors import InputError
from emu.kernel.commands import LINK, check_link
from emu.kernel.net.netns import Netns
from emu.scenario.hosts import Configures, Host, Lines, each_line, shown
from emu.scenario.kinds import Duration
from emu.scenario.quantity import duration_ns, share
from emu.scenario.steps import Action, Doing, Place, actions

MS_NS = 1_000_000


class Link(Host, frozen=True):
    """Changes to the cable of a node, a pod or a host outside, that of eth0 if no `device` is named: both ends of it. `lose` numbers the
    frames to lose on its way out (0 is the next one). `add`, `set` and `del` are commands of the host itself, as `ip link` takes them
    (`vx0 type vxlan id 7 dev eth0`, `eth0 down`): they change its own end, and its routes go with a device that it sets down. Those
    that it adds are VXLAN devices."""

    device: str = "eth0"
    down: bool | None = None
    delay: Duration | None = None
    loss: str | float | None = None
    mtu: Annotated[int, Meta(ge=68, le=65535)] | None = None
    lose: tuple[Annotated[int, Meta(ge=0)], ...] = ()
    add: Lines = ()
    set: Lines = ()
    gone: Lines = field(default=(), name="del")

    @property
    def cable(self) -> bool:
        """The cable itself changes."""
        return any(value is not None for value in (self.down, self.delay, self.loss, self.mtu)) or bool(self.lose)

    @property
    def verbs(self) -> list[tuple[str, str | tuple[str, ...]]]:
        """The host's own commands by verb, in their order."""
        return [("add", self.add), ("set", self.set), ("del", self.gone)]


class ChangesLinks(Configures, Protocol):
    """The verbs of the cluster that this action uses."""

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
        part.check(place)
        if not part.cable and not any(value for _, value in part.verbs):
            raise InputError("the link is not changed", expected="down, delay, loss, lose, mtu, add, set or del")
        for verb, value in part.verbs:
            each_line(value, place, verb, partial(check_link, verb))
        if part.delay is not None:
            with place.at("delay"):
                duration_ns(part.delay)
        if part.loss is not None:
            with place.at("loss"):
                share(part.loss)

    def run(self, part: Link, doing: Doing[ChangesLinks]) -> None:
        words = self._cable(part, doing) if part.cable else []
        for verb, value in part.verbs:
            if value:
                change = partial(_each, doing.place, verb, value)
                doing.cluster.configure(part.reference, change)
                words.append(f"{verb} {shown(value)}")
        doing.done.change = f"link of {part.name}: {', '.join(words)}"

    @staticmethod
    def _cable(part: Link, doing: Doing[ChangesLinks]) -> list[str]:
        doing.cluster.link(
            part.name,
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
        return words + ([f"lose {', '.join(map(str, part.lose))}"] if part.lose else [])


def _each(place: Place, verb: str, value: str | tuple[str, ...], net: Netns) -> None:
    each_line(value, place, verb, partial(LINK[verb], net))
