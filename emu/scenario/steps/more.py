"""`more`: send over connections that an earlier step left open. Must not know how a connection is kept."""

from __future__ import annotations

from typing import Protocol

from emu.errors import InputError
from emu.kube.flow.flow import Flow
from emu.scenario.flows import TCP_TIMEOUT_S, seconds
from emu.scenario.kinds import Duration, Part
from emu.scenario.steps import Action, Doing, Place, actions
from emu.scenario.steps.tcp import Tcp


class More(Part, frozen=True):
    """Go on over the connections that an earlier step, given by its name, left open by `close: false`."""

    of: str
    send: str = ""
    close: bool = True
    timeout: Duration | None = None


class GoesOn(Protocol):
    """The verb of the cluster that this action uses."""

    def more(self, before: Flow, send: bytes, *, close: bool, timeout_s: float, name: str) -> Flow: ...


@actions.add("more")
class MoreAction(Action[More, GoesOn]):
    shape = More
    order = 50
    example = '- name: chat\n  tcp: {from: default/client, to: "default/web-0:80", close: false}\n- more: {of: chat, send: hello}'
    sends = True

    def check(self, part: More, place: Place) -> None:
        earlier = [each for each in place.scenario.steps[: place.number] if each.name == part.of]
        opened = [each.part for each in earlier if isinstance(each.part, Tcp)]
        if not opened or opened[-1].close:
            with place.at("of"):
                what = f'no earlier step "{part.of}" leaves a connection open'
                raise InputError(what, expected="the name of a tcp step with close: false")
        with place.at("timeout"):
            seconds(part.timeout, TCP_TIMEOUT_S)

    def run(self, part: More, doing: Doing[GoesOn]) -> None:
        timeout_s = seconds(part.timeout, TCP_TIMEOUT_S)
        left_open = [each for each in doing.left_open.get(part.of, ()) if each.socket is not None]
        if not left_open:
            raise InputError(f'"{part.of}" has no connection open')
        flows = []
        for before in left_open:
            data = part.send.encode()
            flow = doing.cluster.more(before, data, close=part.close, timeout_s=timeout_s, name=doing.step.name)
            flows.append(flow)
            doing.finished(flow)
        doing.left_open[part.of] = flows
