"""Recorded frames received on one interface of the cluster, byte for byte: what its host, and those behind it, do with them.

Nothing is mapped and no end is played: sockets answer as they do. Must not know captures or hosts.
"""

from __future__ import annotations

from emu.clock import Clock
from emu.kernel.link.device import Device
from emu.kube.flow.outcome import DELIVERED, decided_by, silence
from emu.kube.flow.replay.paired import SAME, Half, Paired
from emu.kube.flow.replay.recorded import Recorded
from emu.kube.flow.replay.speaker import MOST_WAITING, Entry, Waiting
from emu.kube.flow.replay.talk import Talk
from emu.trail import Born, Dropped
from emu.wire.addr import BROADCAST_MAC
from emu.wire.frame import BROADCAST, ETH_HLEN, ETH_P_IP, HOST, MULTICAST, OTHERHOST, Frame
from emu.wire.linktype import ETHERNET
from emu.wire.readdress import key_of, packet_in

RECEIVED = Born("a replay puts a recorded frame on the interface")


class TapSpeaker(Waiting):
    """The frames of one recorded flow, on one interface."""

    def __init__(self, talk: Talk, device: Device, clock: Clock) -> None:
        super().__init__(talk)
        self._device, self._clock = device, clock
        self._frames: dict[Entry, tuple[Frame, bytes, tuple[Half, Half]]] = {}

    def feed(self, recorded: Recorded, paired: Paired) -> None:
        record, device = recorded.record, self._device
        assert record is not None
        whole = record.linktype == ETHERNET and len(record.data) >= ETH_HLEN
        if not whole and not recorded.packet:
            self.talk.done(paired.not_sent(recorded.why or "the frame has no Ethernet header"))
            return
        head = device.mac + bytes(6) + ETH_P_IP.to_bytes(2, "big")
        data = record.data if whole else head + recorded.packet
        net = device.net
        frame = Frame.parse(data, self.talk.number, [RECEIVED] if net.tracing else None)
        frame.pkt_type = _kind(frame.dmac, device.mac)
        key = (
            b"" if recorded.why or frame.frag or frame.proto < 0 else key_of(recorded.packet, frame.proto, recorded.l4)
        )
        entry = Entry(paired)
        self._frames[entry] = frame, key, ((frame.src, frame.sport), (frame.dst, frame.dport))
        way = self.direction(paired)
        self.pending[way].append(entry)
        other = frame.pkt_type == OTHERHOST
        net.bear(frame)
        device.receive(frame)
        self._clock.drain()
        self._settle()
        if entry in self._frames and (frame.proto < 0 or other):
            self._end(way, entry)
            paired.verdict, paired.at = SAME, f"{net.name}/{device.name}"
            paired.notes.append("it is for another host's MAC" if other else "taken in, or passed on by a bridge")
            self.talk.done(paired)
        if self.waiting > MOST_WAITING:
            entry = self.pending[way][0]
            self._end(way, entry)
            self.talk.done(entry.paired.missing("it waits for long"))

    def _end(self, way: int, entry: Entry) -> None:
        self.pending[way].remove(entry)
        self._frames.pop(entry, None)

    def _found(self, frame: Frame) -> tuple[int, Entry] | None:
        key = b""
        if frame.proto >= 0 and not frame.frag:
            key = key_of(packet_in(frame), frame.proto, frame.l4 - ETH_HLEN)
        for way in (0, 1):
            for entry in self.pending[way]:
                known = self._frames.get(entry)
                if known is not None and (known[0] is frame or (key and known[1] == key)):
                    return way, entry
        return None

    def arrived(self, frame: Frame, at: str) -> None:
        found = self._found(frame)
        if found is None:
            return
        way, entry = found
        sent = self._frames[entry][2]
        self._end(way, entry)
        self.talk.flow.outcome = DELIVERED
        self.talk.done(entry.paired.arrived(frame, at, sent))

    def lost(self, frame: Frame, loss: Dropped) -> None:
        found = self._found(frame)
        if found is not None:
            found[1].losses.append(loss)

    def _settle(self) -> None:
        for way in (0, 1):
            for entry in [each for each in self.pending[way] if each.losses]:
                self._end(way, entry)
                self.talk.done(entry.paired.dropped(entry.losses[-1], decided_by(entry.losses[-1])))

    def finish(self, *, quiet: bool) -> None:
        flow = self.talk.flow
        self._settle()
        if flow.outcome.word == "timeout":
            flow.outcome = silence(flow.losses)
        self.forget((1 << 30, 1 << 30), ("", ""))
        self._frames.clear()
        self.talk.over = True


def _kind(target: bytes, own: bytes) -> int:
    """eth_type_trans: whom a frame is for."""
    if target == own:
        return HOST
    if target == BROADCAST_MAC:
        return BROADCAST
    return MULTICAST if target[:1] and target[0] & 1 else OTHERHOST
