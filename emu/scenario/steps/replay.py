"""`replay`: the flows of a capture, or a talk with both halves, spoken in the cluster. Must not know how packets are replayed.

Without an expectation each flow must be as recorded: the same payloads in the same order, nothing lost or reset.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Protocol

from msgspec import Meta, field

from emu.errors import InputError
from emu.kube.flow.flow import Flow
from emu.kube.node.script import Bytes, Written, line
from emu.scenario.endpoints import endpoint
from emu.scenario.ends import Ends
from emu.scenario.expectations import Checked
from emu.scenario.flows import TCP_TIMEOUT_S, seconds
from emu.scenario.kinds import Duration, Part, Source
from emu.scenario.quantity import duration_ns
from emu.scenario.results import FlowResult
from emu.scenario.steps import Action, Doing, Place, actions
from emu.wire import edit
from emu.wire.addr import ip4
from emu.wire.record import Record

if TYPE_CHECKING:  # a scenario without a replay is run without it
    from emu.kube.flow.replay.engine import Replay, Settings
    from emu.kube.flow.replay.hosts import Roles
    from emu.kube.flow.replay.paired import FlowResult as Replayed
    from emu.kube.flow.replay.paired import Paired, Sink

Text = Annotated[str | Bytes, Meta(description='a text, or {hex: "16 03 01"}')]


class Spoken(Part, frozen=True):
    """A line of a talk: `client` or `server`, and how long that side takes before it."""

    client: Text | None = None
    server: Text | None = None
    after: str = ""


class ReplayPart(Part, frozen=True):
    """`pcap` is a capture beside the scenario (pcap, pcapng, hex), or `talk` is the whole talk. `from` stands for the clients of all flows,
    `to` for their servers, `map` for single addresses; every other address is a host outside. The other keys are tcpreplay's and tcprewrite's."""

    pcap: str = ""
    talk: tuple[Spoken, ...] = ()
    protocol: Literal["TCP", "UDP"] = "TCP"
    from_: Source = field(name="from", default="")
    to: str = ""
    map: dict[str, str] = {}
    mode: Literal["stateful", "frames"] = "stateful"
    at: Annotated[str, Meta(description="the interface that receives all frames as they are: node-1/eth0")] = ""
    multiplier: Annotated[float, Meta(ge=0.0001)] = 1.0
    pps: Annotated[float, Meta(ge=0)] = 0
    loop: Annotated[int, Meta(ge=1, le=1000)] = 1
    limit: Annotated[int, Meta(ge=0)] = 0
    maxsleep: Duration = 60.0
    fixcsum: bool = True
    pnat: str = ""
    srcipmap: str = ""
    dstipmap: str = ""
    portmap: str = ""
    ttl: str = ""
    timeout: Duration | None = None


class _Last:
    """A sink that keeps the differences of the flow that ended last."""

    def __init__(self) -> None:
        self.differences: tuple[str, ...] = ()

    def packet(self, found: Paired) -> None:
        """The flow's differences have what is needed of it."""

    def flow(self, found: Replayed) -> None:
        self.differences = tuple(found.differences)


class Replays(Protocol):
    """The verb of the cluster that this action uses."""

    def replay(
        self,
        records: Iterable[Record],
        roles: Roles,
        settings: Settings,
        sink: Sink,
        ended: Callable[[Flow], object] | None = None,
    ) -> Replay: ...


@actions.add("replay")
class ReplayAction(Action[ReplayPart, Replays]):
    shape = ReplayPart
    order = 45
    example = (
        '- replay: {from: default/client, to: "default/web-0:80", talk: [{client: ask}, {server: answer, after: 5ms}]}'
    )
    sends = True
    many = True

    def expects(self, part: ReplayPart) -> bool:
        return True

    def check(self, part: ReplayPart, place: Place) -> None:
        if bool(part.pcap) == bool(part.talk):
            raise InputError(
                "a replay has one recording", expected="pcap: FILE, or talk: [{client: ...}, {server: ...}]"
            )
        for key, text in (("from", part.from_), ("to", part.to)):
            if text:
                with place.at(key):
                    endpoint(text, port=False if key == "from" else None)
        for address, end in part.map.items():
            with place.at("map", address):
                ip4(address)
                endpoint(end)
        if part.talk:
            self._check_talk(part, place)
        elif not (part.from_ or part.to or part.map or part.at):
            raise InputError("no host of the capture is one of the cluster", expected="from, to, map or at")
        for key in ("pnat", "srcipmap", "dstipmap"):
            with place.at(key):
                _pairs(getattr(part, key))
        with place.at("portmap"):
            edit.ports([part.portmap] if part.portmap else [])
        with place.at("ttl"):
            from emu.kube.flow.replay.engine import FRAMES, STATEFUL

            if edit.ttl(part.ttl) is not None and part.mode == STATEFUL and not part.at:
                raise InputError("sockets make their own packets", expected=f"mode: {FRAMES}, or at")
        for key in ("maxsleep", "timeout"):
            with place.at(key):
                seconds(getattr(part, key), 0)
        if part.pcap:
            with place.at("pcap"):
                _check_file(part, place)

    @staticmethod
    def _check_talk(part: ReplayPart, place: Place) -> None:
        if not part.from_ or not part.to:
            raise InputError("a talk has two ends", expected="from and to")
        with place.at("to"):
            endpoint(part.to, port=True)
        for number, spoken in enumerate(part.talk):
            with place.at("talk", number):
                line(_written(spoken))

    def resolve(self, part: ReplayPart, place: Place, ends: Ends) -> None:
        if part.from_:
            with place.at("from"):
                ends.senders(part.from_)

    def run(self, part: ReplayPart, doing: Doing[Replays]) -> None:
        from emu.kube.flow.replay.engine import MAX_SLEEP_NS, Settings

        settings = Settings(
            mode=part.mode,
            multiplier=part.multiplier,
            pps=part.pps,
            max_sleep_ns=duration_ns(part.maxsleep) if part.maxsleep else MAX_SLEEP_NS,
            timeout_ns=int(seconds(part.timeout, TCP_TIMEOUT_S) * 1_000_000_000),
            fix=part.fixcsum,
            name=doing.step.name,
            at=part.at,
        )
        last = _Last()

        def as_recorded(flow: Flow) -> None:
            doing.narrate(flow, doing.step)
            doing.done.flows.append(FlowResult(flow, Checked(1, last.differences)))

        # an expectation may be about frames that come after a flow has ended
        ended = as_recorded if doing.step.expect is None else None
        replay = doing.cluster.replay(_recorded(part, doing.place), _roles(part), settings, last, ended)
        for flow in replay.flows:
            doing.finished(flow)
        if not replay.totals.flows:
            why = ", ".join(replay.totals.left_out) or "the recording is empty"
            raise InputError(f"nothing was replayed: {why}")


def _check_file(part: ReplayPart, place: Place) -> None:
    from emu.capture.reader import reading

    try:
        with reading(_file(part, place)):
            pass
    except InputError as wrong:
        raise InputError(f"{part.pcap}: {wrong.what}", expected=wrong.expected) from None


def _written(spoken: Spoken) -> Written:
    return Written(spoken.client, spoken.server, spoken.after)


def _roles(part: ReplayPart) -> Roles:
    from emu.kube.flow.replay.hosts import roles

    return roles([f"{address}={end}" for address, end in part.map.items()], part.from_, part.to)


def _file(part: ReplayPart, place: Place) -> Path:
    return Path(place.scenario.document.file or "").parent / part.pcap


def _recorded(part: ReplayPart, place: Place) -> Iterator[Record]:
    """The records of the file or of the talk, edited, `loop` times over."""
    edits = edit.Edits(
        sources=[*_pairs(part.srcipmap), *_pairs(part.pnat)],
        targets=[*_pairs(part.dstipmap), *_pairs(part.pnat)],
        ports=edit.ports([part.portmap]) if part.portmap else {},
        ttl=edit.ttl(part.ttl),
    )
    count, offset_ns = 0, 0
    for _ in range(part.loop):
        first_ns, last_ns = -1, 0
        for record in _one_round(part, place):
            if part.limit and count >= part.limit:
                return
            count += 1
            first_ns = record.time_ns if first_ns < 0 else first_ns
            last_ns = record.time_ns
            for edited in edits.apply(record):
                yield edited._replace(number=count, time_ns=edited.time_ns + offset_ns)
        offset_ns += max(last_ns - first_ns, 0)


def _one_round(part: ReplayPart, place: Place) -> Iterator[Record]:
    if part.talk:
        from emu.kube.flow.replay.written import records

        port = int(part.to.rpartition(":")[2]) if part.to.rpartition(":")[2].isdigit() else 80
        yield from records([line(_written(each)) for each in part.talk], part.protocol, port)
        return
    from emu.capture.reader import reading

    with reading(_file(part, place)) as capture:
        yield from capture


def _pairs(text: str) -> list[edit.Pair]:
    return edit.pairs(text, "map") if text else []
