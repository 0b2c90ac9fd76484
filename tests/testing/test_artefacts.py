"""What a failed test leaves: which clusters it is about, the walk without ARP, and the smallest scenario that fails so."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

import emu
from emu.scenario.run import run
from emu.scenario.script import load_text
from emu.scenario.smallest import TRIES, how, smallest
from emu.testing.artefacts import benches, leave, manifests, scene, walked, without_arp
from emu.testing.explained import CHOICE, without_tracing

OBJECTS = """
apiVersion: v1
kind: Pod
metadata: {name: client}
spec: {nodeName: node-1, containers: [{name: a}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web}
spec: {nodeName: node-2, containers: [{name: a, ports: [{containerPort: 80}]}]}
"""


def error_of(call: Any) -> Exception:
    with pytest.raises(Exception) as failure:
        call()
    return failure.value


class Machine:
    def __init__(self) -> None:
        self.cluster = emu.Cluster(1)

    def step(self) -> None:
        raise ValueError


def test_a_failure_is_about_what_its_frames_hold() -> None:
    cluster, lab, other = emu.Cluster(1), emu.Lab(), emu.Cluster(1)

    def with_a_flow() -> None:
        flow = cluster.ping("node/node-1", "external")
        assert flow.refused

    def with_a_lab() -> None:
        here = lab
        assert here.namespaces

    def in_a_group() -> None:
        raise ExceptionGroup("two", [error_of(with_a_flow), error_of(with_a_lab)])

    machine = Machine()
    assert cluster in benches(error_of(with_a_flow)) and other in benches(error_of(with_a_flow), [other])
    assert lab in benches(error_of(with_a_lab))
    found = benches(error_of(in_a_group))
    assert [each for each in found if each in (cluster, lab)] == [cluster, lab] and len(found) == len({*map(id, found)})
    assert machine.cluster in benches(error_of(machine.step))


def test_the_walk_has_what_was_not_delivered_and_arp_where_it_matters() -> None:
    cluster = emu.Cluster(2, OBJECTS)
    cluster.ping("default/client", "default/web")
    assert "ICMP" in walked(cluster) and "who-has" not in walked(cluster)
    cluster.tcp("default/client", "default/web:81")
    assert "TCP" in walked(cluster) and "ICMP 1" not in walked(cluster)
    assert "ICMP" in walked(cluster, [1]) and ">81" not in walked(cluster, [1])
    cluster.udp("node/node-1", "10.244.2.200:9", timeout_s=4)
    assert "NEIGH_FAILED" in walked(cluster, [3]) and "who-has" in walked(cluster, [3]), "no host answered"
    arp = [each for each in cluster.flows[1].frames if each.data[12:14] == b"\x08\x06"]
    assert without_arp(arp) == arp, "there is nothing else"
    assert walked(emu.Cluster(1, capture=False)) == ""
    lab = emu.Lab()
    lab.cable(lab.host("one"), "10.0.0.1/24", lab.host("other"), "10.0.0.2/24")
    lab.namespaces["one"].sockets.ping().send("10.0.0.2")
    assert "ICMP" in walked(lab), "without a flow: all that was captured"


def test_artefacts_are_written_and_replaced(tmp_path: Path) -> None:
    cluster = emu.Cluster(2, OBJECTS, seed=7)
    cluster.ping("default/client", "default/web")
    for _ in range(2):
        (left,) = leave(tmp_path / "left", "test_it.py::test[a/b c]", [cluster], "python -m pytest x")
        (folder,) = (path for path in (tmp_path / "left").iterdir() if path.is_dir())
        assert folder.name.startswith("test_it.py--test-a-b-c-") and "seed 7; again: python -m pytest x" in left.text
        assert {path.name for path in folder.iterdir()} == {"manifests.yaml", "all.pcapng", "walk.txt", "page.html"}
        assert f"{folder}/page.html#flow=1&step=1\n" in left.text
    assert [each.name for each in emu.objects(folder / "manifests.yaml")] == ["client", "web"]
    assert manifests(cluster.given) == (folder / "manifests.yaml").read_text()
    other = leave(tmp_path / "left", "test_it.py::test[a b/c]", [cluster, emu.Lab()], "")
    assert len(other) == 2 and len([path for path in (tmp_path / "left").iterdir() if path.is_dir()]) == 2


def test_the_page_opens_where_the_packet_is_lost(tmp_path: Path) -> None:
    cluster = emu.Cluster(2, OBJECTS)
    assert cluster.ping("default/client", "default/web").delivered
    cluster.iptables("node-2", "-I FORWARD -p icmp -j DROP")
    flow = cluster.ping("default/client", "default/web")
    lost = next(each.hop for each in flow.frames if each.direction == "drop")
    (left,) = leave(tmp_path, "test", [cluster], "")
    assert f"/page.html#flow=1&step={lost}\n" in left.text
    shown = scene(cluster)
    assert [each["flow"] for each in shown.flows] == [flow.number]
    assert shown.notes == ["1 of 2 flows are left out"]


def test_without_jinja2_the_report_names_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = emu.Cluster(2, OBJECTS)
    cluster.ping("default/client", "default/web")
    monkeypatch.setitem(sys.modules, "jinja2", None)
    (left,) = leave(tmp_path, "test", [cluster], "")
    assert "no page: a page needs jinja2 (expected pip install 'kubemu[report]')" in left.text
    assert not [*tmp_path.rglob("page.html")] and [*tmp_path.rglob("all.pcapng")]


def test_a_folder_that_cannot_be_made_is_a_line_of_the_report(tmp_path: Path) -> None:
    (tmp_path / "left").write_text("a file")
    lab = emu.Lab()
    lab.cable(lab.host("one"), "10.0.0.1/24", lab.host("other"), "10.0.0.2/24")
    lab.namespaces["one"].sockets.ping(1).send("10.0.0.2")
    (left,) = leave(tmp_path / "left", "test", [lab], "")
    assert left.text.startswith("nothing could be left in ") and left.walk


# -- the smallest scenario -----------------------------------------------------------------------------

HEAD = "apiVersion: emu/v1\nkind: Scenario\nmetadata: {name: x}\n"
PODS = "".join(
    f"---\n{{apiVersion: v1, kind: Pod, metadata: {{name: p{number}}}, spec: {{nodeName: node-1, containers: [{{name: a, ports: [{{containerPort: 80}}]}}]}}}}\n"
    for number in range(12)
)


def step(text: str, outcome: str) -> str:
    return f"- {{{text}, expect: {{outcome: {outcome}}}}}\n"


TALKS = "".join(step(f"tcp: {{from: default/p{n}, to: 'default/p{n + 1}:80'}}", "delivered") for n in range(8))
BAD = step("tcp: {from: default/p3, to: 'default/p9:80', send: x}", "refused")
DEPENDENT = "- {name: open, tcp: {from: default/p3, to: 'default/p9:80', close: false}}\n" + step(
    "more: {of: open, send: x}", "refused"
)
RULE = "- iptables: {node: node-1, rules: ['-A INPUT -p icmp -j DROP']}\n"
PINGED = step("ping: {from: default/p1, to: node/node-1}", "delivered")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("steps", "kept", "pods"),
    [
        (TALKS + BAD + TALKS, ["tcp"], ["p3", "p9"]),
        (TALKS + DEPENDENT, ["tcp", "more"], ["p3", "p9"]),
        (RULE + TALKS + PINGED, ["iptables", "ping"], ["p1"]),
    ],
    ids=["one step", "a step that needs another", "a change that causes it"],
)
def test_what_does_not_matter_is_left_out(steps: str, kept: list[str], pods: list[str]) -> None:
    failed = run(load_text(f"{HEAD}cluster: {{nodes: 2}}\nsteps:\n{steps}{PODS}"))
    assert failed.exit_status == 1
    found = smallest(failed)
    again = run(load_text(found.text))
    assert how(again) == how(failed) == how(found.run) != ()
    assert [each.action for each in again.scenario.steps] == kept
    assert sorted(each.name for each in again.scenario.objects) == pods


def test_manifests_of_other_files_come_into_the_text(tmp_path: Path) -> None:
    (tmp_path / "pods.yaml").write_text(PODS)
    (tmp_path / "x.yaml").write_text(f"{HEAD}manifests: [pods.yaml]\nsteps:\n{TALKS}{BAD}")
    found = smallest(run(tmp_path / "x.yaml"))
    assert "manifests:" not in found.text and [each.name for each in load_text(found.text).objects] == ["p3", "p9"]


@pytest.mark.slow
def test_the_search_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """However large the scenario is; and one that holds has no way to fail."""
    many = "".join(PODS.replace("name: p", f"name: x{n}-p") for n in range(6))
    failed = run(load_text(f"{HEAD}cluster: {{nodes: 2}}\nsteps:\n{TALKS}{BAD}{PODS}{many}"))
    runs = 0
    plain = run

    def counted(*given: Any) -> Any:
        nonlocal runs
        runs += 1
        return plain(*given)

    monkeypatch.setattr("emu.scenario.smallest.run", counted)
    assert how(smallest(failed).run) == how(failed)
    assert runs <= TRIES
    held = run(load_text(f"{HEAD}steps:\n{TALKS}{PODS}"))
    assert how(held) == () and smallest(held).run is held


# -- Hypothesis ----------------------------------------------------------------------------------------


def test_properties_are_not_traced_unless_they_ask_for_it() -> None:
    @given(st.integers())
    def plain(number: int) -> None: ...

    @settings(max_examples=3)
    @given(st.integers())
    def counted(number: int) -> None: ...

    @settings(phases=(Phase.generate, Phase.explain))
    @given(st.integers())
    def chosen(number: int) -> None: ...

    for test in (plain, counted, chosen):
        without_tracing(test)
    assert Phase.explain not in getattr(plain, CHOICE).phases and Phase.shrink in getattr(plain, CHOICE).phases
    assert Phase.explain not in getattr(counted, CHOICE).phases and getattr(counted, CHOICE).max_examples == 3
    assert getattr(chosen, CHOICE).phases == (Phase.generate, Phase.explain)

    class Empty(RuleBasedStateMachine):
        @rule()
        def nothing(self) -> None: ...

    case = Empty.TestCase
    without_tracing(case.runTest, case)
    assert Phase.explain not in case.settings.phases and Phase.shrink in case.settings.phases

    class Tests:
        @given(st.integers())
        def method(self, number: int) -> None: ...

    without_tracing(Tests().method, Tests)
    assert Phase.explain not in getattr(Tests.method, CHOICE).phases
