"""The script's fields against what emu knows of each frame, and every filter that the profile's page promises, run and counted."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from emu.capture.captured import Captured
from emu.kernel.net.fib_semantics import Route
from emu.rule import AnyRule
from emu.scenario.gallery import story
from emu.scenario.run import run
from emu.scenario.script import load
from emu.trail import Dropped, Encapsulated, Forbidden, Natted, Policy, Probed, Tracked
from emu.wire.addr import ip4_text
from profiled import profiled
from tshark import Tshark

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "emu" / "wireshark" / "profile" / "README.md"
# DNAT and back; with SNAT on top, on one bridge; hostPort's chains; VXLAN; drops by rules and by routes; real retransmissions
STORIES = (
    "pod-to-service", "hairpin-on", "host-port", "flannel-vxlan", "local-policy-elsewhere", "absent-address", "lossy-link", "pod-to-internet",
    "no-endpoints", "only-nodes-reach-pods", "forbidden",
    "probed",
)  # fmt: skip
FORBIDDEN = """\
apiVersion: emu/v1
kind: Scenario
metadata: {name: forbidden}
cluster: {nodes: 1, policy: kube-router}
steps:
- tcp: {from: default/client, to: "default/web:80"}
---
apiVersion: v1
kind: Pod
metadata: {name: client}
spec: {containers: [{name: c}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}, annotations: {emu/app: http@80}}
spec: {containers: [{name: c, ports: [{containerPort: 80}]}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: closed}
spec: {podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress]}
"""
PROBED = FORBIDDEN.replace("forbidden", "probed").replace(
    "{nodes: 1, policy: kube-router}", "{nodes: 1, network: aws-vpc, aws-vpc: {enableNetworkPolicy: true}}"
)
COUNTED = ("pod-to-service", "flannel-vxlan", "no-endpoints", "only-nodes-reach-pods", "forbidden", "probed")
FIELDS = (
    "flow", "hop", "way", "nat", "nat.before", "nat.after", "route", "verdict", "reason", "place", "policy", "ct", "ct.state", "chain", "rule",
    "table", "tc", "step", "seq", "ack", "sentence", "fact", "retransmission", "tunnel", "bridge", "arp",
)  # fmt: skip
Row = dict[str, list[str]]


@dataclass
class Ran:
    """One story: its frames, its file, and the fields that tshark shows of each frame."""

    name: str
    frames: list[Captured]
    path: Path
    rows: list[Row]
    wireshark: Tshark


@pytest.fixture(scope="module", params=STORIES)
def ran(request: pytest.FixtureRequest, tshark: Tshark, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp(request.param)
    own = {"forbidden": FORBIDDEN, "probed": PROBED}.get(request.param)
    path = folder / f"{request.param}.yaml"
    if own is not None:
        path.write_text(own, encoding="utf-8")
    done = run(load(path if own is not None else story(request.param)), folder)
    capture = done.cluster.capture
    assert capture is not None
    path = folder / request.param / "all.pcapng"
    wireshark = profiled(folder / "home")
    arguments = ["-C", "emu", "-r", path, "-T", "json", *(word for field in FIELDS for word in ("-e", f"emu.{field}"))]
    shown = json.loads(wireshark.run("tshark", *arguments))
    rows = [{field: each["_source"]["layers"].get(f"emu.{field}", []) for field in FIELDS} for each in shown]
    return Ran(request.param, capture.frames(), path, rows, wireshark)


def of(frame: Captured, kind: type) -> list:
    return [entry for entry in frame.trail if isinstance(entry, kind)]


def half(frame: Captured, pair: tuple[int, int]) -> str:
    """An address with its port, where the frame's protocol has ports."""
    ports = " TCP " in frame.line() or " UDP " in frame.line() or " SCTP " in frame.line()
    return f"{ip4_text(pair[0])}:{pair[1]}" if ports and pair[1] else ip4_text(pair[0])


def test_every_frame_has_them(ran: Ran) -> None:
    assert len(ran.rows) == len(ran.frames) > 20
    assert [(row["flow"], row["hop"], row["way"]) for row in ran.rows] == [
        ([str(frame.flow)], [str(frame.hop)], [frame.way]) for frame in ran.frames
    ]


def test_nat_is_what_was_done(ran: Ran) -> None:
    for row, frame in zip(ran.rows, ran.frames, strict=True):
        nats = of(frame, Natted)
        assert row["nat"] == [each.kind for each in nats], frame
        assert row["nat.before"] == [half(frame, each.before) for each in nats], frame
        assert row["nat.after"] == [half(frame, each.after) for each in nats], frame


def test_routes_drops_and_policies(ran: Ran) -> None:
    for row, frame in zip(ran.rows, ran.frames, strict=True):
        assert {text.partition(" table ")[0] for text in row["route"]} == {each.text() for each in of(frame, Route)}, (
            frame
        )
        drops = of(frame, Dropped)
        assert row["reason"] == [each.reason for each in drops], frame
        assert row["place"] == [each.place for each in drops], frame
        rejected = any(isinstance(each.by, AnyRule) and each.by.rejects for each in drops)
        assert (
            row["verdict"] in ([], ["delivered"])
            if not drops
            else row["verdict"] == ["rejected" if rejected else "dropped"]
        )
        policies = [*of(frame, Policy), *(each.by for each in drops if isinstance(each.by, Policy))]
        assert set(row["policy"]) == {f"{each.table} {each.chain} {each.verdict}" for each in policies}, frame


def test_rules_and_chains_are_some_that_were_walked(ran: Ran) -> None:
    for row, frame in zip(ran.rows, ran.frames, strict=True):
        rules = [*of(frame, AnyRule), *(each.by for each in of(frame, Dropped) if isinstance(each.by, AnyRule))]
        policies = [*of(frame, Policy), *(each.by for each in of(frame, Dropped) if isinstance(each.by, Policy))]
        walked = {name for rule in rules for name in (rule.chain, rule.jump) if name} | {
            each.chain for each in policies
        }
        assert set(row["chain"]) <= walked and bool(row["chain"]) is bool(walked), frame
        assert set(row["table"]) == {each.table for each in (*rules, *policies)}, frame
        numbered = {(rule.chain, str(rule.number)) for rule in rules}
        assert {tuple(text.partition(":")[0].split(" rule ")) for text in row["rule"]} <= numbered, frame


def test_connections(ran: Ran) -> None:
    for row, frame in zip(ran.rows, ran.frames, strict=True):
        names = {each.conn.name for each in (*of(frame, Tracked), *of(frame, Natted)) if each.conn is not None}
        assert set(row["ct"]) == names, frame
        assert ("NEW" in row["ct.state"]) is any(each.new for each in of(frame, Tracked)), frame


def test_the_step_is_the_first_word_and_there_and_back_differ(ran: Ran) -> None:
    for row, frame in zip(ran.rows, ran.frames, strict=True):
        lines = frame.comment().splitlines()
        chapters = {"story (": "", "egress (": "egress "}
        there = [
            word + line.partition(")")[0].removeprefix(start)
            for line in lines
            for start, word in chapters.items()
            if line.startswith(start)
        ]
        back = [
            "back " + line.partition(")")[0].removeprefix("way back (")
            for line in lines
            if line.startswith("way back (")
        ]
        assert row["step"] == there + back, frame
        first = lines[0].partition(") ")[0].removeprefix("(").split(", ") if lines[0].startswith("(") else []
        assert row["step"] == first, frame


def test_numbers_count_from_the_syn(ran: Ran) -> None:
    """As emu's own line has them. A reset for no connection, and what is inside of a tunnel's packet, have no SYN before them."""
    compared = 0
    for row, frame in zip(ran.rows, ran.frames, strict=True):
        shown = re.search(r"(?<!\{)TCP \S+ \[([A-Z]+)\] seq=(\d+)(?: ack=(\d+))?", frame.line())
        if shown is None or "{" in frame.line() or "R" in shown[1]:
            continue
        compared += 1
        assert row["seq"] == [shown[2]], frame
        assert row["ack"] in ([], [shown[3]]), frame
    assert compared or ran.name in ("absent-address", "pod-to-internet", "local-policy-elsewhere"), ran.name


def test_a_segment_that_comes_twice_is_marked_where_it_does(ran: Ran) -> None:
    """As Wireshark's own analysis of each interface alone has it."""
    own = ran.wireshark.analysis(ran.path)
    again = {
        int(line.split(":")[0][1:])
        for interface, lines in own.items()
        for line in lines
        if "(suspected) retransmission" in line and not interface.endswith("/drop")
    }
    marked = {
        number
        for number, row in enumerate(ran.rows, 1)
        if row["retransmission"] and ran.frames[number - 1].direction != "drop"
    }
    assert marked == again
    assert marked or ran.name != "lossy-link"


def test_sequence_numbers_and_answers_in_the_column(ran: Ran) -> None:
    info = ran.wireshark.run("tshark", "-2", "-Y", "frame", "-C", "emu", "-r", ran.path)
    assert "Retransmission]" not in info
    numbers = [int(number) for number in re.findall(r"\[SYN\] Seq=(\d+)", info)]
    assert set(numbers) <= {0}
    if ran.name not in ("absent-address", "local-policy-elsewhere", "service-without-endpoints", "probed"):
        assert "(no response found!)" not in info


# every filter of the page: what it must find
PROMISED: dict[str, Callable[[Captured], bool]] = {
    'emu.step == "4"': lambda frame: "\nstory (4)" in frame.comment(),
    "emu.nat": lambda frame: bool(of(frame, Natted)),
    'emu.chain == "KUBE-SERVICES"': lambda frame: "KUBE-SERVICES" in frame.comment(),
    'emu.rule contains "MASQUERADE"': lambda frame: (
        "-j MASQUERADE" in frame.comment() or "rule 1: MASQUERADE" in frame.comment()
    ),
    'emu.networkpolicy contains "ingress of default/web"': lambda frame: any(
        (each.way, each.pod) == ("ingress", "default/web") for each in of(frame, Forbidden)
    ),
    'emu.tc contains "handle_ingress"': lambda frame: any(
        each.program == "handle_ingress"
        for each in (*of(frame, Probed), *(d.by for d in of(frame, Dropped) if isinstance(d.by, Probed)))
    ),
    'emu.networkpolicy.name == "default/closed"': lambda frame: any(
        each.policies == ("NetworkPolicy default/closed",) for each in of(frame, Forbidden)
    ),
    'emu.networkpolicy.rule == "none"': lambda frame: any(not each.rule for each in of(frame, Forbidden)),
    "emu.policy": lambda frame: (
        bool(of(frame, Policy)) or any(isinstance(each.by, Policy) for each in of(frame, Dropped))
    ),
    'emu.route contains "default via"': lambda frame: any(
        each.text().startswith("default via") for each in of(frame, Route)
    ),
    'emu.ct.state == "NEW"': lambda frame: any(each.new for each in of(frame, Tracked)),
    'emu.verdict == "dropped"': lambda frame: any(
        not (isinstance(each.by, AnyRule) and each.by.rejects) for each in of(frame, Dropped)
    ),
    'emu.reason == "NETFILTER_DROP"': lambda frame: any(each.reason == "NETFILTER_DROP" for each in of(frame, Dropped)),
    'emu.bridge contains "flooded"': lambda frame: any(getattr(each, "flooded", 0) for each in frame.trail),
    'emu.arp contains "waited"': lambda frame: any(type(each).__name__ == "Waited" for each in frame.trail),
    "emu.tunnel": lambda frame: any(type(each).__name__ in ("Encapsulated", "Decapsulated") for each in frame.trail),
    'emu.way == "in-other"': lambda frame: frame.way == "in-other",
    "emu.flow == 1 && emu.hop <= 20": lambda frame: frame.flow == 1 and frame.hop <= 20,
    'emu.fact contains "ttl 64 -> 63"': lambda frame: "\nttl 64 -> 63\n" in frame.comment(),
    'emu.step == "back 2"': lambda frame: "\nway back (2)" in frame.comment(),
    'emu.nat == "DNAT"': lambda frame: any(each.kind == "DNAT" for each in of(frame, Natted)),
    'emu.table == "nat"': lambda frame: any(each.table == "nat" for each in of(frame, AnyRule)),
    'emu.rule matches "^KUBE-FORWARD rule 3"': lambda frame: "KUBE-FORWARD rule 3: " in frame.comment(),
    'emu.ct == "node-1#1"': lambda frame: any(
        each.conn is not None and each.conn.name == "node-1#1" for each in (*of(frame, Tracked), *of(frame, Natted))
    ),
    "emu.seq == 0": lambda frame: re.search(r"^[^{]*TCP \S+ \[\S+\] seq=0 ", frame.line()) is not None,
}
# where each finds at least one frame
FOUND_IN = {
    'emu.tc contains "handle_ingress"': "probed",
    'emu.networkpolicy contains "ingress of default/web"': "forbidden",
    'emu.networkpolicy.name == "default/closed"': "forbidden",
    'emu.networkpolicy.rule == "none"': "forbidden",
    'emu.step == "back 2"': "pod-to-service",
    'emu.nat == "DNAT"': "pod-to-service",
    'emu.table == "nat"': "pod-to-service",
    'emu.rule matches "^KUBE-FORWARD rule 3"': "pod-to-service",
    'emu.ct == "node-1#1"': "pod-to-service",
    'emu.step == "4"': "pod-to-service",
    "emu.nat": "pod-to-service",
    'emu.chain == "KUBE-SERVICES"': "pod-to-service",
    'emu.rule contains "MASQUERADE"': "flannel-vxlan",
    "emu.policy": "only-nodes-reach-pods",
    'emu.route contains "default via"': "pod-to-service",
    'emu.ct.state == "NEW"': "pod-to-service",
    'emu.verdict == "dropped"': "only-nodes-reach-pods",
    'emu.reason == "NETFILTER_DROP"': "only-nodes-reach-pods",
    'emu.bridge contains "flooded"': "pod-to-service",
    'emu.arp contains "waited"': "pod-to-service",
    "emu.tunnel": "flannel-vxlan",
    'emu.way == "in-other"': "pod-to-service",
    "emu.flow == 1 && emu.hop <= 20": "pod-to-service",
    'emu.fact contains "ttl 64 -> 63"': "pod-to-service",
    "emu.seq == 0": "pod-to-service",
}
ELSEWHERE = {"emu.retransmission"}  # compared with Wireshark's own analysis, above


def promised() -> set[str]:
    """The filters in the first column of the profile's page, and every comparison of a field in it, in README and in the index."""
    first = re.findall(r"^\| `([^`]+)` \|", PAGE.read_text(encoding="utf-8"), re.M)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    index = (ROOT / "captures" / "README.md").read_text(encoding="utf-8")
    texts = re.findall(r"`(emu\.[^`]*(?:==|contains|matches)[^`]*)`", PAGE.read_text(encoding="utf-8") + readme + index)
    return {*first, *texts}


def test_the_page_promises_what_is_counted() -> None:
    assert promised() == set(PROMISED) | ELSEWHERE
    assert FOUND_IN.keys() == PROMISED.keys() and set(FOUND_IN.values()) <= set(COUNTED)


@pytest.mark.slow
def test_each_filter_finds_what_emu_knows(ran: Ran) -> None:
    if ran.name not in COUNTED:
        return

    def typed(where: str) -> list[int]:
        """By a tshark of its own, as a person asks."""
        shown = ran.wireshark.run(
            "tshark", "-C", "emu", "-r", ran.path, "-Y", where, "-T", "fields", "-e", "frame.number"
        )
        return [int(number) for number in shown.split()]

    # of the packets inside of a tunnel's, emu's line has other numbers
    filters = [where for where in PROMISED if where != "emu.seq == 0" or ran.name != "flannel-vxlan"]
    shown = ran.wireshark.found(ran.path, filters, "-C", "emu")
    for where in filters:
        wanted = PROMISED[where]
        assert shown[where] == [number for number, frame in enumerate(ran.frames, 1) if wanted(frame)], where
    own = [where for where, name in FOUND_IN.items() if name == ran.name]
    assert [where for where in own if not shown[where]] == []
    assert {where: typed(where) for where in own} == {where: shown[where] for where in own}


def test_each_button_is_a_filter_that_finds_frames(tshark: Tshark, tmp_path: Path) -> None:
    done = run(load(story("local-policy-elsewhere")), tmp_path)
    capture = done.cluster.capture
    assert capture is not None
    wireshark = profiled(tmp_path / "home")
    lines = (PAGE.parent / "dfilter_buttons").read_text().splitlines()
    buttons = [json.loads("[" + line.replace("\\x22", '\\"') + "]") for line in lines if line.startswith('"')]
    for _, label, where, _ in buttons:
        shown = wireshark.run(
            "tshark", "-C", "emu", "-r", tmp_path / "local-policy-elsewhere" / "all.pcapng", "-Y", where
        )
        assert shown or label == "Story", label
    assert len(buttons) > 4


def test_a_frame_that_is_wrapped_names_its_tunnel(ran: Ran) -> None:
    for row, frame in zip(ran.rows, ran.frames, strict=True):
        assert bool(row["tunnel"]) >= bool(of(frame, Encapsulated)), frame
