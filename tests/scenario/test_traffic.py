"""Traffic: flows that overlap, drawn from named distributions; the same seed gives the same bytes, and mistakes are found early."""

from __future__ import annotations

from itertools import pairwise
from math import log
from statistics import fmean, median

import msgspec
import pytest

from emu.clock import SECOND, Draws
from emu.errors import InputError
from emu.scenario.run import HELD, Run, run
from emu.scenario.script import load_text
from emu.scenario.spread import Spread
from small import scenario

WEB = '{weight: 3, label: web, size: {uniform: {from: 10, to: 90}}, tcp: {from: default/client, to: "svc/web:80"}, expect: {at: default/web}}'
PING = "{label: ping, ping: {from: 'default/*', to: default/web}}"
LOST = '{label: scan, tcp: {from: default/client, to: "default/web:99"}, expect: {outcome: refused}}'
BUSY = f"""\
- name: day
  label: background
  traffic:
    flows: 40
    rate: 100
    requests: {{uniform: {{from: 1, to: 3}}}}
    think: {{exponential: {{mean: 5ms}}}}
    mix: [{WEB}, {PING}, {LOST}]
"""


def busy(seed: int = 0, steps: str = BUSY) -> Run:
    return run(load_text(scenario("busy", steps).replace("cluster:", f"seed: {seed}\ncluster:", 1)))


def test_flows_overlap_and_each_is_judged_by_its_own_expectation() -> None:
    done = busy()
    assert (done.failures, done.exit_status, len(list(done.flows))) == ([], HELD, 40)
    flows = [each.flow for each in done.flows]
    assert [flow.number for flow in flows] == list(range(1, 41))
    assert sum(later.started_ns < earlier.ended_ns for earlier, later in pairwise(flows)) > 10
    assert {each.label for each in done.flows} == {"web", "ping", "scan"}
    assert all(flow.started_ns <= flow.frames[0].time_ns for flow in flows)


def test_the_same_seed_gives_the_same_frames_and_another_seed_others() -> None:
    def frames(seed: int) -> list[tuple[int, int, bytes]]:
        capture = busy(seed).cluster.capture
        assert capture is not None
        return [(each.time_ns, each.flow, each.data) for each in capture.frames()]

    first = frames(3)
    assert first == frames(3)
    assert first != frames(4)


def test_a_flow_of_traffic_is_as_it_is_alone() -> None:
    one = "- traffic: {flows: 1, rate: 1, mix: [{tcp: {from: default/client, to: 'svc/web:80', send: hello}}]}\n"
    alone = '- tcp: {from: default/client, to: "svc/web:80", send: hello}\n'
    flows = [next(iter(busy(0, steps).flows)).flow for steps in (one, alone)]
    assert [(each.time_ns, each.data) for each in flows[0].frames] == [
        (each.time_ns, each.data) for each in flows[1].frames
    ]
    assert flows[0].received == b"hello"


@pytest.mark.parametrize(
    ("text", "mean", "middle"),
    [
        ("{constant: 2}", 2, 2),
        ("{uniform: {from: 1, to: 3}}", 2, 2),
        ("{exponential: {mean: 4}}", 4, 4 * log(2)),
        ("{lognormal: {median: 3, sigma: 0.5}}", 3 * 2.718281828 ** (0.25 / 2), 3),
        ("{pareto: {least: 2, alpha: 3}}", 3, 2 * 2 ** (1 / 3)),
    ],
)
def test_a_distribution_has_its_mean_and_median(text: str, mean: float, middle: float) -> None:
    spread = msgspec.yaml.decode(text, type=Spread)
    draws = Draws(1, "test")
    values = [spread.draw(draws, timed=False) for _ in range(20_000)]
    assert fmean(values) == pytest.approx(mean, rel=0.05)
    assert median(values) == pytest.approx(middle, rel=0.05)


def test_times_are_durations_and_most_is_a_bound() -> None:
    spread = msgspec.yaml.decode("{pareto: {least: 20ms, alpha: 1}, most: 1s}", type=Spread)
    draws = Draws(1, "test")
    values = [spread.draw(draws, timed=True) for _ in range(1000)]
    assert min(values) >= 20_000_000
    assert max(values) == SECOND


@pytest.mark.parametrize(
    ("part", "place", "what"),
    [
        (f"flows: 2, mix: [{PING}]", "", "traffic without a rate (expected rate or arrivals)"),
        (f"flows: 2, rate: 1, arrivals: {{constant: 1s}}, mix: [{PING}]", "", "traffic with rate and arrivals"),
        ("flows: 2, rate: 1, mix: []", ".mix", "the mix is empty"),
        ("flows: 2, rate: 1, mix: [{label: x}]", ".mix[0]", "an entry without a flow (expected exactly one of tcp, udp, ping)"),
        (f"flows: 2, rate: 1, think: {{}}, mix: [{PING}]", ".think", "a spread without a distribution"),
        (f"flows: 2, rate: 1, think: {{constant: soon}}, mix: [{PING}]", ".think", '"soon" is not a duration'),
        (f"flows: 2, rate: 1, requests: {{constant: 2s}}, mix: [{PING}]", ".requests", "'2s' is not a number"),
        (f"flows: 2, rate: 1, think: {{expnential: {{mean: 1}}}}, mix: [{PING}]", ".think", 'unknown key "expnential" (expected "exponential"?)'),
        ("flows: 2, rate: 1, mix: [{ping: {from: default/client, to: nowhere}}]", ".mix[0].ping.to", '"nowhere" is no endpoint'),
        ("flows: 2, rate: 1, mix: [{ping: {from: default/cleint, to: default/web}}]", ".mix[0].ping.from", "no pod is called 'default/cleint'"),
        ("flows: 2, rate: 1, mix: [{tcp: {from: default/client, to: 'default/web:80', close: false}}]", ".mix[0]", "stays open"),
        ("flows: 2, rate: 1, mix: [{ping: {from: default/client, to: default/web}, expect: {outcome: dropped}}]", ".mix[0].expect", "needs a reason"),
    ],
)  # fmt: skip
def test_mistakes_are_found_before_a_packet(part: str, place: str, what: str) -> None:
    with pytest.raises(InputError) as caught:
        busy(0, f"- traffic: {{{part}}}\n")
    assert str(caught.value).startswith("scenario.yaml:")
    assert f": steps[0].traffic{place}" in str(caught.value)
    assert what in str(caught.value)
