"""Recorded packets sent as they are, by a raw socket of the host that stands for their sender: only addresses and ports are the
cluster's, and checksums follow them. The ends take what is theirs without an answer, as programs that read a raw socket do.

Packets are paired by what NAT does not change. Must not know captures or hosts.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping

from emu.errors import SocketError
from emu.kernel.net import ip_output
from emu.kernel.net.netns import Netns
from emu.kube.flow.outcome import DELIVERED, decided_by, silence
from emu.kube.flow.replay.paired import Paired
from emu.kube.flow.replay.recorded import Recorded
from emu.kube.flow.replay.speaker import MOST_WAITING, Entry, Waiting
from emu.kube.flow.replay.talk import Talk
from emu.trail import Born, Delivered, Dropped
from emu.wire.frame import ETH_HLEN, ICMP, IP_MF, IP_OFFSET, Frame
from emu.wire.ipv4 import given_header
from emu.wire.readdress import HEADS as _HEADS
from emu.wire.readdress import PORTED, addressed, broken, key_of, packet_in

SENT = Born("a replay sends a recorded packet")
TAKEN = "the end of a replay"


class FrameSpeaker(Waiting):
    """The packets of one flow, as they are."""

    def __init__(self, talk: Talk, namespaces: Mapping[str, Netns], *, fix: bool) -> None:
        super().__init__(talk)
        self._namespaces, self._fix = namespaces, fix
        client, server = talk.stands
        ported = talk.proto in PORTED
        port = talk.client[1] if ported or talk.proto == ICMP else 0
        talk.sent = (client.addr, port), (server.target.addr, (server.target.port or talk.server[1]) if ported else 0)
        self._keys: dict[Entry, bytes] = {}

    # -- sending ----------------------------------------------------------------------------------

    def feed(self, recorded: Recorded, paired: Paired) -> None:
        way = self.direction(paired)
        self._settle()
        sender = self._sender(way)
        if sender is None:
            why = "no packet of the client has reached a server"
            self.talk.done(paired.not_sent(why, difference=True))
            return
        seen = recorded.seen
        source, target = self.sent(way)
        if seen.offset and self.talk.proto in PORTED:
            source, target = (source[0], 0), (target[0], 0)
        data = addressed(recorded.packet, source, target, fix=self._fix, whole=not seen.fragment)
        entry = Entry(paired, b"" if seen.fragment else recorded.payload, lo=seen.offset, hi=seen.ip_id)
        self._keys[entry] = b"" if seen.fragment else key_of(data, seen.proto, recorded.l4)
        if seen.fragment:
            head = 0 if seen.offset else _HEADS.get(seen.proto, 0)  # ports and checksums are no payload
            entry.payload = recorded.packet[recorded.l4 + head :]
        self.pending[way].append(entry)
        try:
            self._send(sender, data)
        except SocketError as wrong:
            if entry in self.pending[way] and not entry.losses:
                self._drop(way, entry)
                self.talk.done(paired.not_sent(f"{wrong.name}: {_words(wrong, sender)}", difference=True))
        if self.waiting > MOST_WAITING:
            self._oldest()

    def _sender(self, way: int) -> Netns | None:
        client, server = self.talk.stands
        if way == 0:
            return client.net
        return self._namespaces.get(self.talk.seen_at) if self.talk.seen is not None else server.net

    def _send(self, net: Netns, data: bytes) -> None:
        """A raw socket sends it (raw_send_hdrinc). Raises SocketError."""
        source, target = int.from_bytes(data[12:16], "big"), int.from_bytes(data[16:20], "big")
        route, _source = ip_output.route_socket(net, target, 0, ip_output.flow(net, 255))
        whole = given_header(ip_output.LO_HEADER + data, source, lambda: 0)
        frame = Frame.parse(whole, self.talk.number, [SENT] if net.tracing else None)
        if len(data) > net.ipv4.out_device(route).mtu:
            raise SocketError(errno.EMSGSIZE)
        frame.route = route
        net.bear(frame)
        ip_output.send(net, frame, interruptible=False)

    # -- the network ------------------------------------------------------------------------------

    def take(self, frame: Frame, net: Netns) -> bool:
        """A packet has come to a host's protocols: is it one of these? Then it ends here."""
        found = self._found(frame)
        if found is None:
            return False
        way, entries = found
        reason = broken(frame)
        if reason:
            net.drop(frame, reason)
            return True
        net.delivered += 1
        fact = Delivered(net.name, TAKEN)
        if frame.trail is not None:
            frame.trail.append(fact)
        for listener in net.delivery_listeners:
            listener(frame, fact)
        if way == 0:
            self.see(frame, net.name)
        for entry in entries:
            self._take(way, entry, entries, frame, net.name)
        self.talk.flow.outcome = DELIVERED
        return True

    def see(self, frame: Frame, at: str) -> None:
        if self.talk.seen is None:
            port = 0 if frame.proto == ICMP else frame.dport
            self.talk.seen, self.talk.seen_at = ((frame.src, frame.sport), (frame.dst, port)), at

    def _take(self, way: int, entry: Entry, entries: list[Entry], frame: Frame, at: str) -> None:
        if len(entries) > 1 or not self._keys[entry]:  # a datagram that was put together
            start = entry.lo or _HEADS.get(frame.proto, 0)
            data = frame.payload[start : start + len(entry.payload)]
            entry.paired.notes.append("put together again on the way")
        else:
            data = frame.payload[-len(entry.payload) :] if entry.payload else b""
        entry.came, entry.lo, entry.hi = bytearray(data), 0, 0
        self._keys.pop(entry, None)
        self.arrive(entry, way, frame, at)

    def arrive(self, entry: Entry, way: int, frame: Frame, at: str) -> None:
        paired = entry.paired
        paired.arrived(frame, at, self.sent(way))
        pending = self.pending[way]
        first = pending[0] if pending else entry
        if first is not entry and not first.losses and not entry.hi and self._keys.get(first) != b"":
            paired.differences.append(f"out of order: packet {first.paired.number} has not come yet")
        if entry.payload:
            self.talk.payload(paired, entry.payload, bytes(entry.came))
        pending.remove(entry)
        self.talk.done(paired)

    def _found(self, frame: Frame) -> tuple[int, list[Entry]] | None:
        """The recorded packets that an emulated one is: one, or the fragments of it. The likelier direction comes first."""
        if frame.proto < 0:
            return None
        packet = packet_in(frame)
        ways = (1, 0) if self.way_of(frame) else (0, 1)
        if not frame.frag:
            key = key_of(packet, frame.proto, frame.l4 - ETH_HLEN)
            for way in ways:
                for entry in self.pending[way]:
                    if self._keys.get(entry) == key and key:
                        return way, [entry]
        ident, offset = frame.ip_id, (frame.frag & IP_OFFSET) * 8
        for way in ways:
            pieces = [each for each in self.pending[way] if self._keys.get(each) == b"" and each.hi == ident]
            if frame.frag and not (frame.frag & IP_MF and offset == 0 and len(pieces) > 1):
                pieces = [each for each in pieces if each.lo == offset] or pieces
            if pieces:
                return way, pieces
        return None

    def arrived(self, frame: Frame, at: str) -> None:
        """What sockets get is no packet of these."""

    def strange(self, frame: Frame, at: str) -> None:
        """A packet of the flow that the recording does not have: an answer of the network."""
        what = "an ICMP message" if frame.proto == ICMP else "a packet"
        self.talk.differ(f"{what} reaches {at}, and the recording has none")

    def lost(self, frame: Frame, loss: Dropped) -> None:
        found = self._found(frame)
        for entry in found[1] if found is not None else ():
            entry.losses.append(loss)

    # -- the end ----------------------------------------------------------------------------------

    def _settle(self) -> None:
        """What was dropped by now stays dropped: no one sends it again."""
        for way in (0, 1):
            for entry in [each for each in self.pending[way] if each.losses]:
                self._drop(way, entry)
                self.talk.done(entry.paired.dropped(entry.losses[-1], decided_by(entry.losses[-1])))

    def _oldest(self) -> None:
        way = 0 if self.pending[0] else 1
        entry = self.pending[way][0]
        self._drop(way, entry)
        self.talk.done(entry.paired.missing(f"{MOST_WAITING:,} packets of the flow wait already"))

    def _drop(self, way: int, entry: Entry) -> None:
        self.pending[way].remove(entry)
        self._keys.pop(entry, None)

    def finish(self, *, quiet: bool) -> None:
        flow = self.talk.flow
        self._settle()
        if flow.outcome.word == "timeout":
            flow.outcome = silence(flow.losses)
        self.forget((1 << 30, 1 << 30), ("", ""))
        self._keys.clear()
        self.talk.over = True


def _words(wrong: SocketError, net: Netns) -> str:
    if wrong.errno == errno.EMSGSIZE:
        return f"it is longer than {net.name}'s link takes"
    return str(wrong.strerror).lower()
