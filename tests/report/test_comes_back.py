"""A pod that is deleted and comes back under its name: every view shows its second life as it shows the first."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from emu.capture.capture import Captured
from emu.report.ladder import ladder
from emu.report.table import table
from emu.report.trace import trace
from emu.report.walk import golden, walk
from emu.scenario.run import Run, run
from emu.scenario.script import load_text
from emu.testing import invariants

SCENARIO = """\
apiVersion: emu/v1
kind: Scenario
metadata: {name: comes-back}
cluster: {nodes: 2}
steps:
- name: first
  ping: {from: default/client, to: default/web-0}
  story: [{at: default/web-0/eth0, way: in, says: It is here.}]
- name: itself
  tcp: {from: default/web-0, to: "127.0.0.1:80", send: hi}
- delete: pod/web-0
- wait: 40s
- name: second
  ping: {from: default/client, to: default/web-0}
  story: [{at: default/web-0/eth0, way: in, says: It is here.}]
- name: itself again
  tcp: {from: default/web-0, to: "127.0.0.1:80", send: hi}
- name: it asks
  ping: {from: default/web-0, to: default/client}
---
{apiVersion: v1, kind: Pod, metadata: {name: client}, spec: {nodeName: node-1, containers: [{name: app}]}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: web}
spec:
  serviceName: web
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {nodeName: node-2, containers: [{name: web, ports: [{containerPort: 80}]}]}
"""
FIRST, ITSELF, SECOND, ITSELF_AGAIN, ASKS = 1, 2, 3, 4, 5


@cache
def done() -> Run:
    return run(load_text(SCENARIO))


def frames(flow: int) -> list[Captured]:
    """The frames of a flow that the pod saw, but ARP's, which depend on what neighbours know already."""
    seen = done().cluster.flows[flow].frames
    return [each for each in seen if each.place.owner == "default/web-0" and each.data[12:14] == b"\x08\x00"]


def of_any_life(text: str) -> str:
    """A text without what differs between two lives: addresses, ids, ports, numbers, names that are random."""
    text = text.replace("web-0#2", "web-0").replace("eth0#2", "eth0").replace("lo#2", "lo")
    text = re.sub(r"veth[0-9a-f]+", "veth", re.sub(r"10\.244\.2\.\d+", "10.244.2.N", text))
    text = re.sub(r"\bid=\d+|(?<=127\.0\.0\.1[>:])\d+|\b\d{5}\b", "N", text)
    return re.sub(r"^ *\d+/\d+ +| +[\d.]+ms|TSval.*$", "", text, flags=re.M)


def test_it_has_another_interface_by_the_same_name() -> None:
    capture = done().cluster.capture
    assert capture is not None
    capture.mark()
    mine = [each for each in capture.interfaces if each.owner == "default/web-0"]
    assert [(each.device_name, each.incarnation) for each in mine] == [
        ("lo", 1), ("drop", 1), ("eth0", 1), ("lo", 2), ("drop", 2), ("eth0", 2),
    ]  # fmt: skip
    assert mine[-1].name == "default/web-0/eth0#2" and mine[-1].path == "default/web-0/eth0"
    assert mine[2].mac is not None and mine[5].mac is not None
    assert (capture.role(mine[2].mac), capture.role(mine[5].mac)) == ("web-0", "web-0#2")


@pytest.mark.parametrize(("one", "other"), [(FIRST, SECOND), (ITSELF, ITSELF_AGAIN)])
@pytest.mark.parametrize(
    "view",
    [
        lambda frames: golden(frames).text,
        lambda frames: walk(frames).text,
        lambda frames: re.sub(r"^ +[\d.]+ ", "", ladder(frames).text, flags=re.M),
        lambda frames: "\n".join(frame.comment() for frame in frames),
    ],
    ids=["golden", "walk", "ladder", "comments"],
)
def test_both_lives_read_alike(view: Any, one: int, other: int) -> None:
    first, second = (re.sub(r" +", " ", of_any_life(view(frames(flow)))) for flow in (one, other))
    first = re.sub(r"flow/hop \S+|now #\d+|ct \S+#\d+", "", first)
    assert re.sub(r"flow/hop \S+|now #\d+|ct \S+#\d+", "", second) == first


def test_the_ladder_shows_its_device() -> None:
    shown = {line.split()[1] for line in ladder(frames(SECOND)).text.splitlines()}
    assert "default/web-0:eth0" in shown and not any("#" in place for place in shown)


def test_the_story_is_found() -> None:
    """Lines are chosen by the interface, whichever incarnation."""
    for flow in (FIRST, SECOND):
        assert [f.place.path for f in frames(flow) if "It is here." in f.comment()] == ["default/web-0/eth0"]


def test_its_packets_are_those_of_its_own_interface() -> None:
    flow = done().cluster.flows[ASKS]
    assert [packet["ICMP"].type for packet in flow.packets if packet.haslayer("ICMP")] == [8, 0]


def test_the_clients_file_is_written(tmp_path: Path) -> None:
    again = run(load_text(SCENARIO), tmp_path)
    names = {path.name for result in again.flows for path in result.files}
    assert {"07-it-asks.client.pcapng", "06-itself-again.client.pcapng"} <= names


@pytest.mark.parametrize("life", [1, 2])
def test_a_trace_to_itself_goes_there_and_back(life: int) -> None:
    cluster = run(load_text(SCENARIO.replace("- delete: pod/web-0\n", "") if life == 1 else SCENARIO)).cluster
    data = trace(cluster, "default/web-0", "127.0.0.1:80").report.data
    assert [each["interface"].partition("#")[0] for each in data["there"] + data["back"]] == ["default/web-0/lo"] * 2
    assert data["outcome"] == "delivered"


def test_the_invariants_look_at_it() -> None:
    counted = {verdict.states: verdict.judged for verdict in done().invariants}
    assert counted["pods reach pods without NAT"] == 3
    assert all(verdict.held for verdict in done().invariants)
    invariants.hold(done().cluster, "ttl_falls", "endpoint_kept", "checksums_hold", "tuples_unique")
    for flow in (ITSELF, ITSELF_AGAIN):  # what goes by lo answers no question
        invariants.reply_source(done().cluster.flows[flow])


def test_the_table_shows_where() -> None:
    flows = [flow for step in table(done()).data["steps"] for flow in step["flows"]]
    assert [each["at"] for each in flows] == ["default/web-0"] * 4 + ["default/client"]
