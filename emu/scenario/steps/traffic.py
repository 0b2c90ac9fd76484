"""`traffic`: many flows that overlap, of kinds, at times and of sizes that are drawn. Must not know how a flow is sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Protocol

from msgspec import Meta
from msgspec.structs import replace

from emu.errors import InputError
from emu.kube.flow.ends import Target
from emu.scenario.ends import Ends
from emu.scenario.expectations import check_expectation
from emu.scenario.flows import SECOND_NS, FlowAction
from emu.scenario.kinds import Expect, Part
from emu.scenario.spread import Chance, Exponential, Spread
from emu.scenario.steps import Action, Doing, Place, actions
from emu.scenario.steps.ping import Ping, Pings
from emu.scenario.steps.tcp import Connects, Tcp
from emu.scenario.steps.udp import SendsDatagrams, Udp
from emu.scenario.steps.wait import Waits

MOST_FLOWS = 10_000_000
_POISSON = Spread(exponential=Exponential(mean=1.0))  # one a second
_TEXT = "abcdefghijklmnopqrstuvwxyz0123456789"


class Mix(Part, frozen=True):
    """One kind of flow: `weight` is its share of the sessions, `size` the bytes that it sends (in place of its own), `expect` what each
    of its flows must have. A glob stands for one of its matches, drawn for each flow."""

    weight: Annotated[float, Meta(gt=0)] = 1.0
    label: str = ""
    expect: Expect | None = None
    size: Spread | None = None
    tcp: Tcp | None = None
    udp: Udp | None = None
    ping: Ping | None = None

    @property
    def given(self) -> list[str]:
        parts = (("tcp", self.tcp), ("udp", self.udp), ("ping", self.ping))
        return [name for name, part in parts if part is not None]

    @property
    def part(self) -> Any:
        return self.tcp or self.udp or self.ping


class Traffic(Part, frozen=True):
    """`flows` flows in all, in sessions. A new session begins `rate` times a second on the average (as a Poisson process), or after the times
    that `arrivals` gives. A session makes `requests` flows of one kind, one after the other, and waits for `think` between them."""

    flows: Annotated[int, Meta(ge=1, le=MOST_FLOWS)]
    mix: tuple[Mix, ...]
    rate: Annotated[float, Meta(gt=0)] | None = None
    arrivals: Spread | None = None
    requests: Spread | None = None
    think: Spread | None = None


class Overlaps(Connects, SendsDatagrams, Pings, Waits, Protocol):
    """The verbs of the cluster that this action uses."""

    def together(self, starts: Iterator[tuple[int, Callable[[], None]]]) -> None: ...


@dataclass(frozen=True)
class _Inside(Place):
    """An entry of the mix where it stands."""

    entry: int = 0
    kind: str = ""

    @contextmanager
    def at(self, *path: str | int) -> Iterator[None]:
        with super().at("mix", self.entry, self.kind, *path):
            yield


@actions.add("traffic")
class TrafficAction(Action[Traffic, Overlaps]):
    shape = Traffic
    order = 60
    example = "- traffic: {flows: 4, rate: 100, mix: [{ping: {from: default/client, to: default/web-0}}]}"
    sends = True
    many = True

    def expects(self, part: Traffic) -> bool:
        return any(each.expect is not None for each in part.mix)

    def drawn(self, part: Traffic) -> int:
        return part.flows

    def check(self, part: Traffic, place: Place) -> None:
        if (part.rate is None) is (part.arrivals is None):
            raise InputError(
                "traffic with rate and arrivals" if part.rate else "traffic without a rate", expected="rate or arrivals"
            )
        for key, spread, timed in _spreads(part):
            with place.at(key):
                spread.check(timed=timed)
        if not part.mix:
            with place.at("mix"):
                raise InputError("the mix is empty", expected="entries with tcp, udp or ping")
        for number, mix in enumerate(part.mix):
            self._check_mix(number, mix, place)

    @staticmethod
    def _check_mix(number: int, mix: Mix, place: Place) -> None:
        with place.at("mix", number):
            if len(mix.given) != 1:
                what = f"an entry with {' and '.join(mix.given)}" if mix.given else "an entry without a flow"
                raise InputError(what, expected="exactly one of tcp, udp, ping")
            if mix.tcp is not None and not mix.tcp.close:
                raise InputError("a connection of traffic stays open", expected="close: true")
        if mix.size is not None:
            with place.at("mix", number, "size"):
                mix.size.check(timed=False)
        if mix.expect is not None:
            _check_expect(number, mix.expect, place)
        _flow_action(mix).check(mix.part, _inside(place, number, mix))

    def resolve(self, part: Traffic, place: Place, ends: Ends) -> None:
        for number, mix in enumerate(part.mix):
            _flow_action(mix).resolve(mix.part, _inside(place, number, mix), ends)

    def run(self, part: Traffic, doing: Doing[Overlaps]) -> None:
        chance = doing.chance(f"traffic/{doing.done.number}")
        places = [_inside(doing.place, number, mix) for number, mix in enumerate(part.mix)]
        ends = [
            _flow_action(mix).pairs(mix.part, place, doing.ends) for mix, place in zip(part.mix, places, strict=True)
        ]
        doing.cluster.together(self._starts(part, doing, chance, ends))
        doing.done.flows.sort(key=lambda each: each.flow.number)

    @staticmethod
    def _starts(
        part: Traffic, doing: Doing[Overlaps], chance: Chance, ends: Sequence[tuple[list[str], list[Target]]]
    ) -> Iterator[tuple[int, Callable[[], None]]]:
        """The sessions, each drawn when the one before has begun: nothing else draws from this source."""
        left, at_ns = part.flows, float(doing.clock.now)
        while left:
            session = _Session(part, doing, chance, left, ends)
            left -= session.requests
            yield round(at_ns), session.run
            at_ns += _gap_ns(part, chance)


def _check_expect(number: int, expect: Expect, place: Place) -> None:
    try:
        check_expectation(expect)
        if expect.seen:
            raise InputError("a step seen looks for frames of traffic", path="seen", expected="no seen here")
    except InputError as error:
        with place.at("mix", number, "expect", *((error.path,) if error.path else ())):
            raise InputError(error.what, expected=error.expected) from None


class _Session:
    """What one client does. All of it is drawn before its first packet, so that the network changes no draw. `ends` has the senders and receivers of
    each entry of the mix."""

    def __init__(
        self,
        part: Traffic,
        doing: Doing[Overlaps],
        chance: Chance,
        left: int,
        ends: Sequence[tuple[list[str], list[Target]]],
    ) -> None:
        self._doing = doing
        number, self._mix = _chosen(part.mix, chance)
        wanted = 1 if part.requests is None else round(part.requests.draw(chance, timed=False))
        self.requests = min(max(wanted, 1), left)
        senders, receivers = ends[number]
        self._sends: list[tuple[str, Target, Any, float]] = []
        for request in range(self.requests):
            think_ns = 0.0 if part.think is None or not request else part.think.draw(chance, timed=True)
            value = self._mix.part
            if self._mix.size is not None:
                value = _sized(value, round(self._mix.size.draw(chance, timed=False)))
            self._sends.append((_one_of(senders, chance), _one_of(receivers, chance), value, think_ns))

    def run(self) -> None:
        doing, action = self._doing, _flow_action(self._mix)
        for sender, target, value, think_ns in self._sends:
            if think_ns:
                doing.cluster.wait(round(think_ns) / SECOND_NS)
            flow = action.send(value, doing, sender, target)
            doing.finished(flow, self._mix.expect, self._mix.label)


def _spreads(part: Traffic) -> Iterator[tuple[str, Spread, bool]]:
    for key, spread, timed in (
        ("arrivals", part.arrivals, True),
        ("think", part.think, True),
        ("requests", part.requests, False),
    ):
        if spread is not None:
            yield key, spread, timed


def _gap_ns(part: Traffic, chance: Chance) -> float:
    """The time to the next session."""
    if part.arrivals is not None:
        return part.arrivals.draw(chance, timed=True)
    return _POISSON.draw(chance, timed=True) / (part.rate or 1.0)


def _chosen(mix: Sequence[Mix], chance: Chance) -> tuple[int, Mix]:
    """An entry by its weight."""
    at = chance.random() * sum(each.weight for each in mix)
    for number, each in enumerate(mix):
        at -= each.weight
        if at < 0:
            return number, each
    return len(mix) - 1, mix[-1]


def _one_of(choices: Sequence[Any], chance: Chance) -> Any:
    return choices[min(int(chance.random() * len(choices)), len(choices) - 1)]


def _sized(part: Any, size: int) -> Any:
    """The same flow with a payload of `size` bytes."""
    if isinstance(part, Ping):
        return replace(part, size=min(size, 65507))
    return replace(part, send=(_TEXT * (size // len(_TEXT) + 1))[:size])


def _flow_action(mix: Mix) -> FlowAction[Any, Any]:
    action = actions[mix.given[0]]()
    assert isinstance(action, FlowAction)
    return action


def _inside(place: Place, number: int, mix: Mix) -> _Inside:
    return _Inside(place.scenario, place.number, place.step, number, mix.given[0])
