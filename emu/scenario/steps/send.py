"""`send`: any packet, written as a Scapy expression. Must not know Scapy: `craft` reads the expression."""

from __future__ import annotations

from typing import Protocol

from msgspec import field

from emu.craft import expression
from emu.kube.flow.flow import Flow
from emu.scenario.endpoints import endpoint
from emu.scenario.ends import Ends
from emu.scenario.kinds import Part, Source
from emu.scenario.steps import Action, Doing, Place, actions


class Send(Part, frozen=True):
    """A Scapy expression, parsed and never evaluated; what it leaves out the sender's namespace fills in."""

    from_: Source = field(name="from")
    scapy: str


class SendsPackets(Protocol):
    """The verb of the cluster that this action uses."""

    def send(self, source: str, packet: str, *, name: str) -> Flow: ...


@actions.add("send")
class SendAction(Action[Send, SendsPackets]):
    shape = Send
    order = 40
    example = "- send: {from: default/client, scapy: \"IP(dst='10.244.1.1')/ICMP()\"}"
    sends = True

    def check(self, part: Send, place: Place) -> None:
        with place.at("from"):
            endpoint(part.from_, port=False)
        with place.at("scapy"):
            expression(part.scapy)

    def resolve(self, part: Send, place: Place, ends: Ends) -> None:
        with place.at("from"):
            ends.senders(part.from_)

    def run(self, part: Send, doing: Doing[SendsPackets]) -> None:
        with doing.place.at("from"):
            senders = doing.ends.senders(part.from_)
        for sender in senders:
            doing.finished(doing.cluster.send(sender, part.scapy, name=doing.step.name))
        doing.left_open[doing.step.name] = [each.flow for each in doing.done.flows]
