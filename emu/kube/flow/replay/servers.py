"""Who answers a replay: the app `script`, at whichever host the client's first packet reaches, in the place of what listens there.

A Service's endpoint answers only where something listens on its port, as in the cluster. A host that the mapping names answers on the
recorded port in any case. Afterwards all is as before. Must not know captures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from emu.apps.script import Chooses, ScriptUdp
from emu.apps.script import Half as Script
from emu.apps.serve import TcpServer
from emu.errors import SocketError
from emu.kernel.net import icmp
from emu.kernel.net.netns import Netns
from emu.kernel.transport.udp import UdpSocket
from emu.kube.flow.replay.frame_speaker import FrameSpeaker
from emu.kube.flow.replay.speaker import Speaker
from emu.kube.flow.replay.tcp_speaker import TcpSpeaker
from emu.wire import icmp as wire_icmp
from emu.wire.frame import ICMP, TCP, UDP, Frame
from emu.wire.icmp import ECHO_REPLY, ERRORS
from emu.wire.tcp import ACK, RST, SYN, flags_of

Handler = Callable[[Frame, Any], None]


class Servers:
    """Listens on all namespaces from `start` to `stop`. `speakers` are those under way, by the number of their flow."""

    def __init__(self, namespaces: Mapping[str, Netns], speakers: Mapping[int, Speaker]) -> None:
        self._namespaces, self._speakers = namespaces, speakers
        # what answers, by namespace, protocol, port and address, and the sockets in whose place it does
        self._taken: dict[tuple[int, int, int, int], TcpServer | ScriptUdp] = {}
        self._displaced: dict[tuple[int, int, int], tuple[Netns, list[Any]]] = {}
        self._before: list[tuple[Netns, int, Handler | None]] = []
        self._protocols: set[int] = set()

    def start(self) -> None:
        for proto, make in ((TCP, self._tcp), (UDP, self._udp), (ICMP, self._icmp)):
            self.watch(proto, make)

    def watch(self, proto: int, make: Callable[[Handler], Handler] | None = None) -> None:
        """Look at each packet of a protocol that has come to a host, before the host does."""
        if proto in self._protocols:
            return
        self._protocols.add(proto)
        for net in self._namespaces.values():
            inner = net.ipv4.protocols.get(proto)
            self._before.append((net, proto, inner))
            net.ipv4.protocols[proto] = self._frames((make or _plain)(inner or _unknown))

    def stop(self) -> None:
        """All hosts are as before."""
        for net, proto, inner in self._before:
            if inner is None:
                net.ipv4.protocols.pop(proto, None)
            else:
                net.ipv4.protocols[proto] = inner
        self._before.clear()
        for server in self._taken.values():
            server.stop()
        for (_, proto, port), (net, sockets) in self._displaced.items():
            bound = _ports(net, proto).bound
            bound[port] = [*sockets, *bound.get(port, ())]
            if not bound[port]:
                del bound[port]
        self._taken.clear()
        self._displaced.clear()

    def forget(self, flow: int) -> None:
        """A flow is over."""
        for server in self._taken.values():
            if isinstance(server, ScriptUdp):
                server.forget(flow)

    # -- what comes --------------------------------------------------------------------------------

    def _frames(self, inner: Handler) -> Handler:
        speakers = self._speakers

        def receive(frame: Frame, net: Netns) -> None:
            speaker = speakers.get(frame.flow)
            if isinstance(speaker, FrameSpeaker) and not speaker.talk.over:
                if speaker.take(frame, net):
                    return
                if frame.proto == ICMP or frame.proto == speaker.talk.proto:
                    speaker.strange(frame, net.name)
            inner(frame, net)

        return receive

    def _tcp(self, inner: Handler) -> Handler:
        def receive(frame: Frame, net: Netns) -> None:
            speaker = self._speakers.get(frame.flow)
            if isinstance(speaker, TcpSpeaker) and not speaker.talk.refused:
                if flags_of(frame) & (SYN | ACK | RST) == SYN:  # -1, all bits, where it is cut
                    self._serve(speaker, net, frame, TCP)
            inner(frame, net)

        return receive

    def _udp(self, inner: Handler) -> Handler:
        def receive(frame: Frame, net: Netns) -> None:
            speaker = self._speakers.get(frame.flow)
            if speaker is not None and speaker.talk.proto == UDP and not isinstance(speaker, FrameSpeaker):
                if (frame.dst, frame.dport) != speaker.talk.sent[0]:
                    self._serve(speaker, net, frame, UDP)
            inner(frame, net)

        return receive

    def _icmp(self, inner: Handler) -> Handler:
        def receive(frame: Frame, net: Netns) -> None:
            speaker = self._speakers.get(frame.flow)
            if speaker is not None and frame.dport >> 8 in (ECHO_REPLY, *ERRORS):
                speaker.arrived(frame, net.name)
            inner(frame, net)

        return receive

    # -- who answers -------------------------------------------------------------------------------

    def _serve(self, speaker: Speaker, net: Netns, frame: Frame, proto: int) -> None:
        port, addr = frame.dport, frame.dst if proto == UDP else 0
        key = id(net), proto, port, addr
        if key in self._taken:
            return
        stand = speaker.talk.stands[1]
        ports = _ports(net, proto)
        found = ports.lookup(frame.dst, port)
        if found is None:
            if stand.net is not net or port != stand.target.port:
                return
        elif (proto == TCP and found.backlog is None) or (proto == UDP and found.__class__ is not UdpSocket):
            return
        displaced = self._displaced.get(key[:3])
        if displaced is None:
            self._displaced[key[:3]] = net, ports.bound.pop(port, [])
        try:
            if proto == TCP:
                self._taken[key] = TcpServer(net, port, lambda: Chooses(self._half))
            else:
                self._taken[key] = ScriptUdp(net, port, self._half, addr)
        except SocketError:
            if displaced is None:
                ports.bound[port] = self._displaced.pop(key[:3])[1]

    def _half(self, flow: int) -> Script | None:
        """The server's half of a flow."""
        speaker = self._speakers.get(flow)
        halves = getattr(speaker, "halves", None)
        return None if halves is None else halves[1]


def _plain(inner: Handler) -> Handler:
    return inner


def _unknown(frame: Frame, net: Netns) -> None:
    """A protocol that the host does not have (ip_local_deliver_finish)."""
    icmp.send(net, frame, wire_icmp.DEST_UNREACH, wire_icmp.PROT_UNREACH)
    net.drop(frame, "IP_NOPROTO")


def _ports(net: Netns, proto: int) -> Any:
    return net.sockets.tcp_table.ports if proto == TCP else net.sockets.udp_table.ports
