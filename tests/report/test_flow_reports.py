"""Reports of flows and runs: the golden walk of a flow, the ladder, traces with chances, the run's table."""

from __future__ import annotations

import re
from functools import cache

import pytest

from emu.kube.api.loader import load_text as manifests
from emu.kube.cluster import Cluster
from emu.report.flows import flows
from emu.report.ladder import ladder
from emu.report.table import summary, table
from emu.report.trace import trace
from emu.report.walk import golden, walk
from emu.scenario.run import Run, run
from emu.scenario.script import load_text

SCENARIO = """\
apiVersion: emu/v1
kind: Scenario
metadata: {name: reports}
cluster: {nodes: 1}
steps:
- name: next door
  ping: {from: default/client, to: default/web-0}
  expect: {outcome: delivered}
- wait: 1s
---
{apiVersion: v1, kind: Pod, metadata: {name: client}, spec: {containers: [{name: c}]}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: web}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, ports: [{containerPort: 8080}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: 10.96.0.10, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
"""
MANIFESTS = SCENARIO.partition("---\n")[2]

WALK = """\
1/1 default/client/eth0 out      [client>bcast] ARP who-has 10.244.0.3 tell 10.244.0.2 (client)
1/2 node-1/vethA        in       [client>bcast] ARP who-has 10.244.0.3 tell 10.244.0.2 (client)
1/3 node-1/vethB        out      [client>bcast] ARP who-has 10.244.0.3 tell 10.244.0.2 (client)
1/4 node-1/cbr0         in       [client>bcast] ARP who-has 10.244.0.3 tell 10.244.0.2 (client)
1/5 default/web-0/eth0  in       [client>bcast] ARP who-has 10.244.0.3 tell 10.244.0.2 (client)
1/6 default/web-0/eth0  out      [web-0>client] ARP 10.244.0.3 is-at web-0 -> 10.244.0.2
1/7 node-1/vethB        in-other [web-0>client] ARP 10.244.0.3 is-at web-0 -> 10.244.0.2
1/8 node-1/vethA        out      [web-0>client] ARP 10.244.0.3 is-at web-0 -> 10.244.0.2
1/9 default/client/eth0 in       [web-0>client] ARP 10.244.0.3 is-at web-0 -> 10.244.0.2
1/10 default/client/eth0 out      [client>web-0] 10.244.0.2>10.244.0.3 ttl64 DF ICMP echo-request id=N seq=1 len=56
1/11 node-1/vethA        in-other [client>web-0] 10.244.0.2>10.244.0.3 ttl64 DF ICMP echo-request id=N seq=1 len=56
1/12 node-1/vethB        out      [client>web-0] 10.244.0.2>10.244.0.3 ttl64 DF ICMP echo-request id=N seq=1 len=56
1/13 default/web-0/eth0  in       [client>web-0] 10.244.0.2>10.244.0.3 ttl64 DF ICMP echo-request id=N seq=1 len=56
1/14 default/web-0/eth0  out      [web-0>client] 10.244.0.3>10.244.0.2 ttl64 ICMP echo-reply id=N seq=1 len=56
1/15 node-1/vethB        in-other [web-0>client] 10.244.0.3>10.244.0.2 ttl64 ICMP echo-reply id=N seq=1 len=56
1/16 node-1/vethA        out      [web-0>client] 10.244.0.3>10.244.0.2 ttl64 ICMP echo-reply id=N seq=1 len=56
1/17 default/client/eth0 in       [web-0>client] 10.244.0.3>10.244.0.2 ttl64 ICMP echo-reply id=N seq=1 len=56"""


@cache
def done() -> Run:
    return run(load_text(SCENARIO))


def named(text: str) -> str:
    """The text with names that are drawn made short, and runs of blanks made one."""
    for number, veth in enumerate(dict.fromkeys(re.findall(r"veth[0-9a-f]{8}", text))):
        text = text.replace(veth, f"veth{'AB'[number]}")
    return re.sub(r" +", " ", re.sub(r"id=\d+", "id=N", text))


def test_the_walk_of_a_ping_next_door() -> None:
    (result,) = done().steps[0].flows
    text = golden(result.flow.frames).text.replace("10.244.1.", "10.244.0.")
    assert named(text) == re.sub(r" +", " ", WALK)


def test_a_walk_shows_what_was_decided() -> None:
    (result,) = done().steps[0].flows
    report = walk(result.flow.frames)
    assert [each["hop"] for each in report.data] == list(range(1, len(result.flow.frames) + 1))
    assert all(each["sentence"] for each in report.data)
    assert not any("flow/hop" in fact for each in report.data for fact in each["facts"])
    hops = [line for line in report.text.splitlines() if not line.startswith("    ")]
    assert len(hops) == len(report.data)
    assert "    bridge cbr0: flooded" in report.text


def test_the_ladder_begins_at_zero_and_never_goes_back() -> None:
    (result,) = done().steps[0].flows
    lines = ladder(result.flow.frames).text.splitlines()
    times = [float(line.split()[0]) for line in lines]
    assert times[0] == 0
    assert times == sorted(times)
    assert lines[0].split()[1] == "default/client:eth0"
    assert (
        len({line.index("[") for line in lines}) == 1
    )  # whatever the names of interfaces, the packets are in one column


def test_the_table_of_a_run() -> None:
    report = table(done())
    _heading, ping, wait = report.text.splitlines()
    assert ping.split() == ["1", "next", "door", "delivered", "default/web-0", "-", "17", "-"]
    assert wait.split()[:3] == ["2", "waited", "1s"]
    assert summary(done()) == "reports: 1 flow, 3 checks, all held"
    assert report.data["steps"][1]["change"] == "waited 1s"
    assert flows(done().flows).data == report.data["steps"][0]["flows"]


@pytest.mark.parametrize("replicas", [1, 2, 3, 7])
@pytest.mark.parametrize("source", ["default/client", "node/node-1"])
def test_every_endpoint_has_the_same_chance(replicas: int, source: str) -> None:
    cluster = Cluster(2, manifests(MANIFESTS.replace("replicas: 1", f"replicas: {replicas}")).objects)
    traced = trace(cluster, source, "svc/web:80")
    endpoints = traced.report.data["endpoints"]
    assert len({each["to"] for each in endpoints}) == replicas
    assert all(each["probability"] == pytest.approx(1 / replicas, abs=1e-6) for each in endpoints)
    assert any(str(each["to"]).startswith("10.244.") and each["to"] in traced.flow.dnat for each in endpoints)
    assert all(each["chains"][-1].startswith("KUBE-SEP-") for each in endpoints)


def test_a_trace_without_an_answer_and_one_that_is_refused() -> None:
    cluster = Cluster(1, manifests(MANIFESTS).objects)
    refused = trace(cluster, "default/client", "default/web-0:81").report
    assert refused.text.splitlines()[-1] == "outcome: refused (RST) at default/web-0"
    assert "[RA]" in refused.data["back"][0]["packet"]
    lost = trace(cluster, "default/client", "10.244.1.77:80").report.data
    assert (lost["outcome"], lost["detail"]) == ("rejected", "host-unreachable")
    assert lost["there"][-1]["way"] == "drop"
    assert all("who-has 10.244.1.77" in each["packet"] for each in lost["there"][:-1])
    assert ["host unreachable" in each["packet"] for each in lost["back"]] == [True]


def test_a_trace_over_localhost() -> None:
    cluster = Cluster(1, manifests(MANIFESTS).objects)
    data = trace(cluster, "default/web-0", "127.0.0.1:8080").report.data
    assert (data["outcome"], data["endpoints"]) == ("delivered", [])
    assert ["[S]" in data["there"][0]["packet"], "[SA]" in data["back"][0]["packet"]] == [True, True]
