"""`udp`: one datagram, and its answer. Must not know how a datagram travels."""

from __future__ import annotations

from typing import Annotated, Protocol

from msgspec import Meta, field

from emu.kube.flow.ends import Target
from emu.kube.flow.flow import Flow
from emu.scenario.flows import UDP_TIMEOUT_S, FlowAction, seconds
from emu.scenario.kinds import Duration, Part, Source
from emu.scenario.steps import Doing, actions


class Udp(Part, frozen=True):
    """Send one datagram and wait for the answer, unless `reply` is false."""

    from_: Source = field(name="from")
    to: str
    send: str = ""
    port: Annotated[int, Meta(ge=0, le=65535)] = 0
    connected: bool = True
    reply: bool = True
    timeout: Duration | None = None


class SendsDatagrams(Protocol):
    """The verb of the cluster that this action uses."""

    def udp(
        self,
        source: str,
        to: str | Target,
        send: bytes,
        *,
        port: int,
        connected: bool,
        reply: bool,
        timeout_s: float,
        name: str,
    ) -> Flow: ...


@actions.add("udp")
class UdpAction(FlowAction[Udp, SendsDatagrams]):
    shape = Udp
    order = 20
    example = '- udp: {from: node/node-1, to: "default/web-0:80", send: hello, reply: false}'
    protocol = "UDP"

    def send(self, part: Udp, doing: Doing[SendsDatagrams], source: str, target: Target) -> Flow:
        return doing.cluster.udp(
            source,
            target,
            part.send.encode(),
            port=part.port,
            connected=part.connected,
            reply=part.reply,
            timeout_s=seconds(part.timeout, UDP_TIMEOUT_S),
            name=doing.step.name,
        )
