"""The replay: packet after packet of a capture, each at its time, and each reported when its end is known.

Nothing of the capture is kept but the flows under way and a few packets ahead, so that its length does not matter. Two modes:
*stateful* (real endpoints speak the recorded payloads) and *frames* (the packets as they are). Must not know files, commands or reports.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from emu.clock import MS, SECOND
from emu.errors import InputError
from emu.kernel.link.device import Device
from emu.kube.flow.ends import Target, netns
from emu.kube.flow.flow import Flow
from emu.kube.flow.replay.datagram_speakers import PingSpeaker, UdpSpeaker
from emu.kube.flow.replay.flows import Ahead, Belongs, Key, Sorter, client_sends
from emu.kube.flow.replay.frame_speaker import FrameSpeaker
from emu.kube.flow.replay.hosts import EXTERNAL, Grounds, Hosts, Roles, Stand, Unmapped
from emu.kube.flow.replay.paired import Half, Paired, Sink, half_text, paired
from emu.kube.flow.replay.recorded import Reassembly, Recorded, read
from emu.kube.flow.replay.servers import Servers
from emu.kube.flow.replay.speaker import Speaker
from emu.kube.flow.replay.talk import KINDS, Talk, kind_of
from emu.kube.flow.replay.tap_speaker import TapSpeaker
from emu.kube.flow.replay.tcp_speaker import TcpSpeaker
from emu.kube.flow.testbed import Testbed
from emu.trail import Delivered, Dropped
from emu.wire.frame import ICMP, TCP, UDP, Frame
from emu.wire.record import Record

STATEFUL, FRAMES = "stateful", "frames"
LOOK_AHEAD = 128
IDLE_NS = {TCP: 300 * SECOND, UDP: 60 * SECOND}  # of a flow, on the virtual clock
OTHERS_IDLE_NS = 30 * SECOND
MOST_FLOWS = 65536
BUSY = 256  # packets of a flow that may wait before the replay waits for it
MAX_SLEEP_NS = 60 * SECOND
OTHERS = Key(-1, (0, 0), (0, 0))  # what is no flow of IPv4


class Judge(Protocol):
    def judge(self, flow: Flow) -> None: ...


class Stage(Grounds, Testbed, Protocol):
    """A cluster, as a replay uses it. `flows` by number, of which `flow_count` were made; `unmodelled` judges their outcomes."""

    flows: dict[int, Flow]
    flow_count: int

    @property
    def unmodelled(self) -> Judge: ...
    @property
    def namespaces(self) -> Any: ...


Ended = Callable[[Flow], object]


@dataclass(frozen=True, slots=True)
class Settings:
    """`multiplier`: how much faster than recorded (0: as fast as answers come); `pps` packets a second instead; `max_sleep_ns`: longer
    gaps are cut; `fix` computes checksums anew (frames); `keep` leaves flows and open connections, for captures and views; `at`: instead, the interface
    that receives all frames as they are ("node-1/eth0")."""

    mode: str = STATEFUL
    multiplier: float = 1.0
    pps: float = 0.0
    max_sleep_ns: int = MAX_SLEEP_NS
    timeout_ns: int = 10 * SECOND
    fix: bool = True
    keep: bool = True
    name: str = ""
    at: str = ""


@dataclass(slots=True)
class Totals:
    """The whole replay: packets by verdict, `left_out` by reason (packets of no flow), and what people should know."""

    packets: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    flows: int = 0
    differences: int = 0
    undecided: int = 0
    cut_sleeps: int = 0
    notes: list[str] = field(default_factory=list)
    elapsed_ns: int = 0


class Replay:
    """One replay. `totals` counts as it goes. `ended` gets each flow that has ended and is kept; without it, `flows` has them."""

    def __init__(
        self,
        stage: Stage,
        roles: Roles,
        settings: Settings,
        sink: Sink,
        ended: Ended | None = None,
    ) -> None:
        self._stage, self._settings, self._sink = stage, settings, sink
        self._hosts = Hosts(stage, roles)
        self._device = device_of(stage, settings.at) if settings.at else None
        self.totals = Totals()
        self._speakers: dict[int, Speaker] = {}
        self._by_key: OrderedDict[Key, Speaker] = OrderedDict()
        self._servers = Servers(stage.namespaces, self._speakers)
        self._sorter, self._ahead, self._pieces = Sorter(), Ahead(), Reassembly()
        self._number = stage.flow_count
        self._remarked: set[str] = set()
        self.flows: list[Flow] = []
        self._ended = ended or self.flows.append

    def run(self, records: Iterable[Record], progress: Callable[[int], None] | None = None) -> Totals:
        """Replay every record; `progress` is called with their count now and then. Raises InputError for records that cannot be read."""
        stage = self._stage
        self._listen()
        started_ns = stage.clock.now
        try:
            for recorded in self._paced(records, progress):
                self._next(recorded)
            for piece in self._pieces.rest():
                self._whole(piece)
            self._wait_for_all()
        finally:
            self._hush()
        self.totals.elapsed_ns = stage.clock.now - started_ns
        return self.totals

    # -- time -------------------------------------------------------------------------------------

    def _paced(self, records: Iterable[Record], progress: Callable[[int], None] | None) -> Iterator[Recorded]:
        clock, settings, totals = self._stage.clock, self._settings, self.totals
        before_ns: int | None = None
        due_ns = clock.now
        for recorded in self._looking_ahead(records):
            if before_ns is not None:
                gap_ns = recorded.time_ns - before_ns
                if settings.pps:
                    gap_ns = int(SECOND / settings.pps)
                elif not settings.multiplier:
                    gap_ns = 0
                elif settings.multiplier != 1.0:
                    gap_ns = int(gap_ns / settings.multiplier)
                if gap_ns > settings.max_sleep_ns:
                    gap_ns = settings.max_sleep_ns
                    totals.cut_sleeps += 1
                due_ns += max(gap_ns, 0)
            before_ns = max(recorded.time_ns, before_ns or 0)
            clock.run_until(max(due_ns, clock.now))
            if not settings.multiplier:
                due_ns = clock.now
            totals.packets += 1
            yield recorded
            if not totals.packets % 256:
                self._expire()
                if progress is not None:
                    progress(totals.packets)

    def _looking_ahead(self, records: Iterable[Record]) -> Iterator[Recorded]:
        waiting: deque[Recorded] = deque()
        for record in records:
            recorded = read(record)
            self._ahead.look(recorded)
            waiting.append(recorded)
            if len(waiting) > LOOK_AHEAD:
                yield waiting.popleft()
        yield from waiting

    def _wait_for_all(self) -> None:
        """The capture has ended: let what is under way come, and end all flows."""
        clock = self._stage.clock
        limit_ns = clock.now + self._settings.timeout_ns
        speakers = [*self._by_key.values()]
        clock.run(limit_ns, lambda: not any(speaker.waiting for speaker in speakers))
        clock.run_until(clock.now + 2 * MS)
        while self._by_key:
            self._end(next(iter(self._by_key)))

    # -- packets ----------------------------------------------------------------------------------

    def _next(self, recorded: Recorded) -> None:
        if recorded.seen.fragment and not recorded.why and self._settings.mode == STATEFUL and not self._settings.at:
            whole, pieces, given_up = self._pieces.add(recorded)
            for piece in given_up:
                self._whole(piece)
            if whole is not None:
                for piece in pieces:
                    if piece.number != whole.number:
                        made = paired(piece).not_sent(
                            f"a fragment of the datagram that packet {whole.number} completes"
                        )
                        self._leave_out(made, "a fragment: its datagram is sent as one")
                self._whole(whole)
            return
        self._whole(recorded)

    def _whole(self, recorded: Recorded) -> None:
        belongs = self._sorter.of(recorded)
        if belongs.key is None and self._settings.at:
            belongs = Belongs(OTHERS)
        if belongs.key is None:
            self._leave_out(paired(recorded).not_sent(belongs.why), belongs.why)
            return
        try:
            speaker = self._speaker(belongs.key, belongs, recorded)
        except Unmapped as why:
            self._leave_out(paired(recorded).not_sent(str(why)), str(why))
            return
        talk = speaker.talk
        talk.last_ns = self._stage.clock.now
        self._by_key.move_to_end(belongs.key)
        made = paired(recorded, talk.number, talk.way_of(belongs.source))
        speaker.feed(recorded, made)
        if speaker.waiting > BUSY:
            self._let_work(speaker)

    def _let_work(self, speaker: Speaker) -> None:
        """A flow has much to send: let it, for a moment."""
        clock = self._stage.clock
        clock.run(clock.now + 200 * MS, lambda: speaker.waiting <= BUSY // 2)

    def _leave_out(self, made: Paired, why: str) -> None:
        self.totals.left_out[why] += 1
        if len(self.totals.left_out) > 1000:
            self.totals.left_out["other reasons"] += self.totals.left_out.pop(why)
        self._report(made)

    def _report(self, made: Paired) -> None:
        self.totals.counts[made.verdict] += 1
        self.totals.differences += bool(made.differences)
        self._sink.packet(made)

    # -- flows ------------------------------------------------------------------------------------

    def _speaker(self, key: Key, belongs: Belongs, recorded: Recorded) -> Speaker:
        """The speaker of a packet's flow, a new one for a new flow. Raises Unmapped."""
        speaker = self._by_key.get(key)
        if isinstance(speaker, TcpSpeaker) and speaker.starts_anew(recorded):
            clock, old = self._stage.clock, speaker
            clock.run(clock.now + 50 * MS, lambda: not old.waiting)
            self._end(key)
            speaker = None
        elif speaker is not None and len(self._by_key) > MOST_FLOWS:
            self._end(next(iter(self._by_key)))
            speaker = self._by_key.get(key)
        if speaker is None:
            speaker = self._by_key[key] = self._open(key, belongs, recorded)
        return speaker

    def _open(self, key: Key, belongs: Belongs, recorded: Recorded) -> Speaker:
        client, server = belongs.source, belongs.target
        if self._device is not None:
            return self._tapped(key, client, server, self._device)
        if not client_sends(recorded, client, server):
            client, server = server, client
        stands = self._hosts.client(client[0]), self._hosts.server(server[0], server[1], key.proto)
        if stands[0].net is stands[1].net and stands[0].name == EXTERNAL:
            raise Unmapped("neither of its ends is in the cluster")
        if key.proto in (TCP, UDP) and not stands[1].target.port:
            raise Unmapped("its server has port 0")
        self._number += 1
        stage, settings = self._stage, self._settings
        name = settings.name or f"{kind_of(key.proto)} {stands[0].name} -> {stands[1].target.name}"
        net = stands[0].net
        assert net is not None
        flow = Flow(stage, self._number, kind_of(key.proto), name, stands[0].name, stands[1].target, net)
        flow.started_ns = stage.clock.now
        stage.flows[self._number], stage.flow_count = flow, self._number
        talk = Talk(flow, key.proto, client, server, stands, self._report, refused=self._ahead.refused(key))
        speaker = self._made(talk)
        self._speakers[self._number] = speaker
        self.totals.flows += 1
        return speaker

    def _tapped(self, key: Key, client: Half, server: Half, device: Device) -> Speaker:
        """A flow that the interface receives as it is."""
        stage, at = self._stage, self._settings.at
        target = Target(server[0], server[1], half_text(server) if key is not OTHERS else "the link")
        stands = (
            Stand(at, device.net, client[0], target, own=False),
            Stand(target.name, None, server[0], target, own=False),
        )
        self._number += 1
        kind = kind_of(key.proto) if key is not OTHERS else "other"
        flow = Flow(stage, self._number, kind, f"{kind} on {at}", device.net.name, target, device.net)
        flow.started_ns = stage.clock.now
        stage.flows[self._number], stage.flow_count = flow, self._number
        clock: Any = stage.clock
        speaker = TapSpeaker(Talk(flow, key.proto, client, server, stands, self._report), device, clock)
        self._speakers[self._number] = speaker
        self.totals.flows += 1
        return speaker

    def _made(self, talk: Talk) -> Speaker:
        clock: Any = self._stage.clock
        if self._settings.mode == STATEFUL:
            if talk.proto == TCP:
                return TcpSpeaker(talk, clock)
            if talk.proto == UDP:
                return UdpSpeaker(talk, clock)
            if talk.proto == ICMP:
                return PingSpeaker(talk, clock)
            self._remark(
                f"emu has no endpoint of {KINDS.get(talk.proto, kind_of(talk.proto))}: its packets are sent as they are"
            )
        self._servers.watch(talk.proto)
        return FrameSpeaker(talk, self._stage.namespaces, fix=self._settings.fix)

    def _remark(self, what: str) -> None:
        if what not in self._remarked:
            self._remarked.add(what)
            self.totals.notes.append(what)

    def _expire(self) -> None:
        """End the flows that have been quiet for long."""
        now_ns = self._stage.clock.now
        while self._by_key:
            key, speaker = next(iter(self._by_key.items()))
            idle_ns = now_ns - speaker.talk.last_ns
            ended = isinstance(speaker, TcpSpeaker) and speaker.ended and not speaker.waiting
            if idle_ns < (2 * SECOND if ended else IDLE_NS.get(speaker.talk.proto, OTHERS_IDLE_NS)):
                if len(self._by_key) <= MOST_FLOWS:
                    return
            self._end(key)

    def _end(self, key: Key) -> None:
        speaker = self._by_key.pop(key)
        talk, stage = speaker.talk, self._stage
        speaker.finish(quiet=not self._settings.keep)
        result = talk.result(stage.unmodelled.judge, stage.clock.now)
        self.totals.differences += len(result.differences) if not self._any(talk) else 0
        self.totals.undecided += bool(result.undecided)
        self._sink.flow(result)
        del self._speakers[talk.number]
        self._servers.forget(talk.number)
        if self._settings.keep:
            self._ended(talk.flow)
        else:
            stage.flows.pop(talk.number, None)
        if stage.capture is not None:
            stage.capture.spill()

    @staticmethod
    def _any(talk: Talk) -> bool:
        """Were all of the flow's differences those of packets, which are counted already?"""
        return all(each.startswith("packet ") for each in talk.differences)

    # -- the network ------------------------------------------------------------------------------

    def _listen(self) -> None:
        for net in self._stage.namespaces.values():
            net.delivery_listeners.append(self._delivered)
            net.drop_listeners.append(self._dropped)
        self._servers.start()

    def _hush(self) -> None:
        self._servers.stop()
        for net in self._stage.namespaces.values():
            for listeners, mine in (
                (net.delivery_listeners, self._delivered), (net.drop_listeners, self._dropped),
            ):  # fmt: skip
                if mine in listeners:
                    listeners.remove(mine)

    def _delivered(self, frame: Frame, fact: Delivered) -> None:
        speaker = self._speakers.get(frame.flow)
        if speaker is not None and not speaker.talk.over:
            speaker.arrived(frame, fact.netns)

    def _dropped(self, frame: Frame, fact: Dropped) -> None:
        speaker = self._speakers.get(frame.flow)
        if speaker is not None and not speaker.talk.over:
            speaker.lost(frame, fact)


def device_of(stage: Stage, text: str) -> Device:
    """The device of `node-1/eth0` or `default/client/eth0`. Raises InputError."""
    where, slash, name = text.rpartition("/")
    if not slash:
        raise InputError(f"{text!r} is no interface", expected="NODE/DEVICE or NS/POD/DEVICE, such as node-1/eth0")
    net = stage.namespaces.get(where)
    if net is None:
        net = netns(stage, where if "/" in where else f"node/{where}")
    found: Device = net.device(name)
    return found


__all__ = ["FRAMES", "Ended", "STATEFUL", "Replay", "Settings", "Stage", "Totals"]


def replayed(
    stage: Stage,
    records: Iterable[Record],
    roles: Roles,
    settings: Settings,
    sink: Sink,
    ended: Ended | None = None,
) -> Replay:
    """A replay of all records. Raises InputError."""
    made = Replay(stage, roles, settings, sink, ended)
    made.run(records)
    return made
