"""Timed expectations of frames: what holds, what a failure shows, and what is refused before a cluster is built."""

from __future__ import annotations

import textwrap

import pytest

from emu.errors import InputError
from emu.scenario.run import FAILED, HELD, Run, run
from emu.scenario.script import load_text
from small import scenario

GET = '- name: get\n  tcp: {from: default/client, to: "svc/web:80", send: hello}\n'


def ran(*entries: str, step: str = GET) -> Run:
    listed = "".join(f"    - {entry}\n" for entry in entries)
    return run(load_text(scenario("timed", f"{step}  expect:\n    seen:\n{listed}")))


@pytest.mark.parametrize(
    "entries",
    [
        ["{at: default/web/eth0, way: in, frame: {tcp: {flags: S, seq: 0, mss: 1460}, ip: {ttl: 61, flags: DF}}}"],
        ["{at: default/client/eth0, way: in, within: 5ms, frame: {tcp: {flags: AS}, ip: {src: 10.96.0.10}}}"],
        [
            "{name: syn, at: node-1/cbr0, frame: {tcp: {flags: S}}}",
            "{after: syn, at: default/web/eth0, within: 1ms, frame: {tcp: {flags: S}}}",
            "{after: syn, notBefore: 1ms, frame: {payload: hel*, tcp: {len: 5}}}",
            "{after: syn, within: 1ms, noFrame: {payload: hello}}",
        ],
        ["{at: node-2/*, noFrame: {ip: {dst: 10.96.*}}}", "{noFrame: {tcp: {flags: R}}}"],
        ["{frame: {arp: {op: who-has, pdst: 10.244.2.2}, eth: {dst: 'ff:ff:*'}}}", "{noFrame: {udp: {}}}"],
    ],
)
def test_what_is_seen(entries: list[str]) -> None:
    result = ran(*entries)
    assert result.failures == []
    assert (result.exit_status, result.steps[0].flows[0].checked.checks) == (HELD, 1 + len(entries))


@pytest.mark.parametrize(
    ("entry", "shown"),
    [
        (
            "{at: node-2/eth0, way: in, within: 1ms, frame: {ip: {ttl: 64}, tcp: {flags: S}}}",
            """\
            step 1, get (default/client -> svc/web:80): scenario.yaml:10: steps[0].expect.seen[0]: \
no frame like this was seen at node-2/eth0 in, from 0 ms to 1 ms after start
                  field     expected     actual
                > ip.ttl    64           62
                  tcp.flags S            S
                  time      0 ms to 1 ms 0.009 ms
            """,
        ),
        (
            "{at: default/web/eth0, way: in, notBefore: 1ms, frame: {tcp: {flags: S}}}",
            """\
            step 1, get (default/client -> svc/web:80): scenario.yaml:10: steps[0].expect.seen[0]: \
no frame like this was seen at default/web/eth0 in, from 1 ms after start on
                  field     expected      actual
                  tcp.flags S             S
                > time      1 ms or later 0.012 ms
            """,
        ),
        (
            "{at: default/web/eth0, noFrame: {tcp: {flags: S}}}",
            """\
            step 1, get (default/client -> svc/web:80): scenario.yaml:10: steps[0].expect.seen[0]: \
a frame that must not be there was seen at default/web/eth0, after start
                  field     not expected  actual
                  tcp.flags S             S
                  time      0 ms or later 0.012 ms
            """,
        ),
        (
            "{at: node-7/*, frame: {icmp: {}}}",
            """\
            step 1, get (default/client -> svc/web:80): scenario.yaml:10: steps[0].expect.seen[0]: \
no frame like this was seen at node-7/*, after start
                no frame passed there; the nearest is at default/client/eth0 out
                  field expected      actual
                > icmp  there         -
                  time  0 ms or later 0 ms
            """,
        ),
    ],
)
def test_a_failure_shows_both_sides_and_the_line(entry: str, shown: str) -> None:
    result = ran(entry)
    (failure,) = result.failures
    table, road = failure.split("    its road")
    assert table == textwrap.dedent(shown)
    assert road.startswith(" (1/")
    assert result.exit_status == FAILED


def test_a_failure_shows_the_road_of_the_packet_through_nat_and_bridges() -> None:
    (failure,) = ran("{at: default/web/eth0, frame: {tcp: {flags: S}, ip: {ttl: 9}}}").failures
    road = [line.split()[1:3] for line in failure.split("its road")[1].splitlines()[1:]]
    assert road[0] == ["default/client:eth0", "out"]
    assert ["node-1:eth0", "out"] in road
    assert road[-1] == ["default/web:eth0", "in"]


def test_the_road_of_a_drop_ends_with_its_reason() -> None:
    step = '- iptables: {node: node-2, rules: "-I FORWARD -p udp -j DROP"}\n'
    step += '- udp: {from: default/client, to: "default/web:53", send: hello}\n'
    result = ran("{at: default/web/eth0, frame: {udp: {dport: 53}}}", step=step)
    assert "nearest is at default/client/eth0 out" in result.failures[-1]
    assert result.failures[-1].splitlines()[-1].strip().startswith("node-2/eth0 drops ")


def test_a_moment_that_did_not_come() -> None:
    failures = ran("{name: rst, frame: {tcp: {flags: R}}}", "{after: rst, frame: {tcp: {flags: S}}}").failures
    assert failures[1].endswith('steps[0].expect.seen[1]: its moment "rst" did not come')


def test_a_step_of_its_own_sees_frames_of_no_flow_and_waits() -> None:
    steps = (
        GET + "- seen:\n  - {after: get, within: 40s, frame: {arp: {op: who-has}}}\n  - {frame: {arp: {hwdst: '*'}}}\n"
    )
    result = run(load_text(scenario("timed", steps)))
    assert (result.failures, result.checks) == ([], 2)
    assert result.cluster.clock.now >= 40_000_000_000
    failed = run(load_text(scenario("timed", f"{GET}- seen: [{{after: get, noFrame: {{tcp: {{}}}}}}]\n")))
    assert failed.failures[0].startswith("step 2, seen: scenario.yaml:8: steps[1].seen[0]: a frame that must not")


@pytest.mark.parametrize(
    ("entry", "what"),
    [
        ("{frme: {}}", 'unknown key "frme" (expected "frame"?)'),
        ("{frame: {tcp: {flag: S}}}", 'unknown key "flag" (expected "flags"?)'),
        ("{frame: {tcp: {flags: SX}}}", '"X" is not a TCP flag (expected letters of FSRPAUEC)'),
        ("{frame: {ip: {flags: XF}}}", '"XF" is not an IP flag (expected DF, MF or DF+MF)'),
        ("{at: '*'}", "an entry without a frame (expected frame: {...} or noFrame: {...})"),
        ("{frame: {}, noFrame: {}}", "frame and noFrame in one entry (expected frame: {...} or noFrame: {...})"),
        ("{after: gt, frame: {tcp: {}}}", '"gt" is no moment (expected one of end, start)'),
        ("{name: end, frame: {tcp: {}}}", 'a moment is called "end" already (expected another name)'),
        (
            "{notBefore: 2ms, within: 1ms, frame: {tcp: {}}}",
            "the window ends before it begins (expected at least notBefore)",
        ),
        ("{within: soon, frame: {tcp: {}}}", '"soon" is not a duration'),
        ("{frame: {ip: {ttl: 300}}}", "300 is out of range"),
        ("{at: 'node-[1', frame: {tcp: {}}}", 'the glob "node-[1" has a [ without its ]'),
    ],
)
def test_what_cannot_be_expected(entry: str, what: str) -> None:
    with pytest.raises(InputError) as caught:
        ran(entry)
    assert what in str(caught.value)
    assert str(caught.value).startswith("scenario.yaml:10: steps[0].expect.seen[0]")
