"""Expectations and invariants against flows of a real small cluster, and against frames that were tampered with."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from emu.invariants import Evidence, judge
from emu.invariants.requirements import talks
from emu.kube.flow.flow import Flow
from emu.scenario.asked import REQUIREMENTS
from emu.scenario.build import build
from emu.scenario.expectations import check
from emu.scenario.files import LIST
from emu.scenario.kinds import Expect
from emu.scenario.run import Run, run
from emu.scenario.script import load_text
from emu.wire.addr import ip4
from small import scenario

STEPS = """\
- tcp: {from: default/client, to: "svc/web:80", send: hello}
- ping: {from: default/client, to: default/web}
- ping: {from: node/node-1, to: default/web}
- tcp: {from: default/client, to: "default/web:81"}
- udp: {from: default/client, to: "10.96.0.11:53", send: x}
"""
ALONE = """\
---
apiVersion: v1
kind: Service
metadata: {name: alone}
spec: {clusterIP: 10.96.0.11, selector: {app: none}, ports: [{port: 53, protocol: UDP}]}
"""
SCENARIO = scenario("small", STEPS) + ALONE


@cache
def small() -> Run:
    return run(load_text(SCENARIO))


def flow(number: int) -> Flow:
    return [each.flow for each in small().flows][number]


@pytest.mark.parametrize(
    ("number", "expect", "checks", "failures"),
    [
        (0, Expect(), 1, []),
        (0, Expect(at="default/web*", dnat="10.244.2.*:8080", snat="none", received="hello"), 5, []),
        (0, Expect(dnat="10.244.2.*"), 2, []),
        (0, Expect(dnat="none"), 2, ["dnat: there was DNAT 10.96.0.10:80 -> 10.244.2.2:8080, expected none"]),
        (0, Expect(dnat="10.244.1.*"), 2, ['dnat is 10.244.2.2:8080, expected "10.244.1.*"']),
        (0, Expect(snat="*"), 2, ['snat is none, expected "*"']),
        (0, Expect(at="default/db-*"), 2, ['at is default/web, expected "default/db-*"']),
        (0, Expect(received="bye"), 2, ["received is hello, expected bye"]),
        (0, Expect(outcome="timeout"), 1, ["outcome is delivered, expected timeout"]),
        (3, Expect(outcome="refused"), 1, []),
        (4, Expect(outcome="rejected", code="port-unreachable", by="has no endpoints"), 3, []),
        (
            4,
            Expect(outcome="rejected", code="host-unreachable"),
            2,
            ["code is port-unreachable, expected host-unreachable"],
        ),
    ],
)
def test_what_differs_is_put_into_words(number: int, expect: Expect, checks: int, failures: list[str]) -> None:
    found = check(flow(number), expect)
    assert (found.checks, list(found.failures)) == (checks, failures)


def test_a_failed_outcome_shows_why() -> None:
    (failure,) = check(flow(4), Expect()).failures
    assert failure.startswith("outcome is rejected, expected delivered (port-unreachable, at node-1/")


def test_nat_is_shown_once_each() -> None:
    assert list(map(str, flow(0).translations)) == ["DNAT 10.96.0.10:80 -> 10.244.2.2:8080"]
    assert not flow(1).translations


def test_the_invariants_speak_of_flows_inside_the_cluster_and_not_of_services() -> None:
    assert {verdict.states: verdict.judged for verdict in small().invariants} == {
        "pods reach pods without NAT": 2,
        "nodes reach pods without NAT": 1,
        "a pod's own address is what others see": 3,
    }
    assert all(verdict.held for verdict in small().invariants)
    assert [talk.flow.number for talk in talks(Evidence(small().cluster))] == [2, 3, 4]


class Tampered:
    """A flow whose captured packets show another source behind the first node."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow

    def __getattr__(self, name: str) -> Any:
        return getattr(self.flow, name)

    @property
    def frames(self) -> list[Any]:
        wrong = ip4("10.244.1.1").to_bytes(4, "big")
        return [
            Seen(f, f.data[:26] + wrong + f.data[30:]) if f.place.owner == "default/web" else f
            for f in self.flow.frames
        ]


class Seen:
    """A captured frame with other bytes."""

    def __init__(self, frame: Any, data: bytes) -> None:
        self.frame, self.data = frame, data

    def __getattr__(self, name: str) -> Any:
        return getattr(self.frame, name)


def test_masquerade_between_pods_breaks_the_invariants() -> None:
    verdicts = judge(Evidence(small().cluster, [Tampered(flow(1))]), REQUIREMENTS)  # type: ignore[list-item]  # it quacks
    assert [len(verdict.failures) for verdict in verdicts] == [1, 0, 1]
    assert "default/client is 10.244.1.2, but default/web sees 10.244.1.1" in verdicts[2].failures[0]
    assert list(REQUIREMENTS) == [verdict.name for verdict in verdicts]


def test_a_run_without_checks_fails_nothing() -> None:
    empty = run(load_text(SCENARIO.split("steps:", maxsplit=1)[0] + "steps:\n- wait: 1s\n"))
    assert (empty.checks, empty.failures, empty.exit_status) == (0, [], 0)


def test_a_failure_and_an_undecided_flow_have_their_own_status() -> None:
    done = small()
    assert done.exit_status == 0
    first = next(iter(done.flows))
    failed = replace(first, checked=check(first.flow, Expect(outcome="timeout")))
    other = Run(done.scenario, done.cluster, [replace(done.steps[0], flows=[failed])])
    assert other.failures == ["step 1, tcp default/client -> svc/web:80: outcome is delivered, expected timeout"]
    assert other.exit_status == 1


def test_a_run_can_write_its_files(tmp_path: Path) -> None:
    done = run(load_text(SCENARIO), tmp_path)
    assert done.folder == tmp_path / "small"
    assert done.files == sorted(path for path in done.folder.iterdir() if path.name != LIST)


NODE_PORT = """\
---
apiVersion: v1
kind: Service
metadata: {name: np}
spec: {type: NodePort, clusterIP: 10.96.0.78, selector: {app: web}, ports: [{port: 80, targetPort: 8080, nodePort: 31000}]}
"""


@pytest.mark.parametrize(
    ("steps", "judged"),
    [
        # the packet reaches the node as it was sent; what the node then makes of it is the Service's doing
        ('- tcp: {from: default/client, to: "node/node-1:31000", send: hi}\n', 1),
        ('- tcp: {from: default/client, to: "node/node-2:31000", send: hi}\n', 1),
        # a source of its own is what the user wrote
        (
            "- send: {from: default/client, scapy: \"IP(src='10.244.1.9', dst='10.244.2.2')/UDP(sport=4, dport=53)\"}\n",
            0,
        ),
        ("- send: {from: default/client, scapy: \"IP(dst='10.244.2.2')/UDP(sport=4, dport=53)\"}\n", 1),
    ],
)
def test_an_address_that_a_service_or_the_user_changed_is_no_failure(steps: str, judged: int) -> None:
    done = run(load_text(scenario("own", steps) + NODE_PORT))
    assert [verdict.failures for verdict in done.invariants] == [(), (), ()]
    assert done.invariants[2].judged == judged
    assert done.exit_status == 0


@pytest.mark.parametrize("node", ["node-1", "node-2"])
@pytest.mark.parametrize("kind", ["tcp", "ping"])
def test_a_pod_that_is_masqueraded_on_the_way_to_a_pod_is_found(node: str, kind: str) -> None:
    cluster = build(load_text(SCENARIO))
    rule = "-A POSTROUTING -s 10.244.1.2 -d 10.244.2.2 -j MASQUERADE"
    cluster.nodes[node].net.ipv4.tables.restore(f"*nat\n{rule}\nCOMMIT\n", noflush=True)
    sent = (
        cluster.ping("default/client", "default/web")
        if kind == "ping"
        else cluster.tcp("default/client", "default/web:8080", b"x")
    )
    failures = judge(Evidence(cluster, [sent]), REQUIREMENTS)[2].failures
    assert len(failures) == 1
    assert failures[0].startswith(("tcp", "ping"))
    assert "default/client is 10.244.1.2, but default/web sees " in failures[0]
