"""`tcp`: connect, send, read the answer, close. Must not know how a connection is made."""

from __future__ import annotations

from typing import Annotated, Protocol

from msgspec import Meta, field

from emu.kube.flow.ends import Target
from emu.kube.flow.flow import Flow
from emu.scenario.flows import TCP_TIMEOUT_S, FlowAction, seconds
from emu.scenario.kinds import Duration, Part, Source
from emu.scenario.steps import Doing, actions

Blocking = Annotated[
    bool,
    Meta(
        description="the client waits inside connect(): after an ICMP error that comes at once it sends a second SYN and fails "
        "by the error of that; a client that waits with poll or epoll (curl, Go, Python with a time limit) fails at once"
    ),
]


class Tcp(Part, frozen=True):
    """Connect, send, read the answer, close. Without `close` the connection stays open, for a step `more`."""

    from_: Source = field(name="from")
    to: str
    send: str = ""
    port: Annotated[int, Meta(ge=0, le=65535)] = 0
    close: bool = True
    blocking: Blocking = False
    timeout: Duration | None = None


class Connects(Protocol):
    """The verb of the cluster that this action uses."""

    def tcp(
        self,
        source: str,
        to: str | Target,
        send: bytes,
        *,
        port: int,
        close: bool,
        blocking: bool,
        timeout_s: float,
        name: str,
    ) -> Flow: ...


@actions.add("tcp")
class TcpAction(FlowAction[Tcp, Connects]):
    shape = Tcp
    order = 10
    example = '- tcp: {from: default/client, to: "default/web-0:80", send: hello}'

    def send(self, part: Tcp, doing: Doing[Connects], source: str, target: Target) -> Flow:
        timeout_s = seconds(part.timeout, TCP_TIMEOUT_S)
        return doing.cluster.tcp(
            source,
            target,
            part.send.encode(),
            port=part.port,
            close=part.close,
            blocking=part.blocking,
            timeout_s=timeout_s,
            name=doing.step.name,
        )
