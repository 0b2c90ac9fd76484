"""What becomes of a flow does not depend on a capture: the same scenarios with one and without."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, note

from emu.kube.api.loader import load_text as manifests
from emu.kube.cluster import Cluster
from emu.kube.flow.flow import Flow
from emu.kube.flow.outcome import decided_by
from emu.scenario import build
from emu.scenario.run import run
from emu.scenario.script import Scenario, load_text
from emu.testing.scenarios import SmallScenario, small_scenarios
from emu.testing.strategies import examples

SHOWN = ("outcome", "received", "nat", "dnat", "snat", "at", "rtt_ns", "started_ns", "ended_ns", "arrivals")
PODS = """\
{apiVersion: v1, kind: Pod, metadata: {name: client}, spec: {nodeName: node-1, containers: [{name: c}]}}
---
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec: {nodeName: node-2, containers: [{name: c, ports: [{containerPort: 80}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: none}
spec: {selector: {app: none}, ports: [{port: 80}]}
"""


def result(flow: Flow) -> dict[str, Any]:
    """All that a flow shows but its frames."""
    losses = [(each.reason, each.place, decided_by(each)) for each in flow.losses]
    return {"losses": losses, **{name: getattr(flow, name) for name in SHOWN}}


def results(script: Scenario, *, capture: bool) -> list[dict[str, Any]]:
    """What became of each flow of a scenario."""

    def made(scenario: Scenario) -> Cluster:
        spec = scenario.spec
        config = build.config(spec.cluster, scenario.conflist)
        return Cluster(config, scenario.objects, seed=spec.seed, capture=capture)

    ran = run(script, build=made)
    assert (ran.cluster.capture is not None) is capture
    return [result(each.flow) for each in ran.flows]


@examples(60)
@given(small_scenarios())
def test_a_drawn_scenario(drawn: SmallScenario) -> None:
    note(drawn.text)
    script = load_text(drawn.text)
    assert results(script, capture=False) == results(script, capture=True)


@pytest.mark.parametrize("capture", [True, False])
def test_an_outcome_names_what_decided(capture: bool) -> None:
    cluster = Cluster(2, manifests(PODS).objects, capture=capture)
    rule = "-A FORWARD -d 10.244.2.200/32 -j DROP"
    cluster.nodes["node-1"].net.ipv4.tables.restore(f"*filter\n{rule}\nCOMMIT\n", noflush=True)
    dropped = cluster.udp("default/client", "10.244.2.200:9").outcome
    assert (dropped.word, dropped.detail, dropped.place, dropped.by) == (
        "dropped",
        "NETFILTER_DROP",
        "node-1/cbr0",
        rule,
    )
    nowhere = cluster.udp("default/client", "10.244.2.222:9").outcome
    assert (nowhere.detail, nowhere.place, nowhere.by) == (
        "host-unreachable",
        "node-2/cbr0",
        "10.244.2.222 dev cbr0 FAILED",
    )
    assert "has no endpoints" in cluster.tcp("default/client", "svc/none:80").outcome.by


@pytest.mark.parametrize("capture", [True, False])
def test_nat_is_known(capture: bool) -> None:
    cluster = Cluster(2, manifests(PODS).objects, capture=capture)
    web = "10.244.2.2:80" if cluster.pods["default/web"].ip & 255 == 2 else "10.244.2.3:80"
    made = cluster.tcp("default/client", "svc/web:80", b"hi", close=False)
    assert made.dnat.endswith(f"-> {web}") and made.nat == f"DNAT {made.dnat}" and not made.snat
    again = cluster.more(made, b"again")  # the connection is there: no rule is walked, and packets are rewritten
    assert (again.received, again.nat) == (b"again", made.nat)
    ping = cluster.ping("default/client", "external")
    assert ping.nat.startswith("SNAT 10.244.1.") and ping.snat.rpartition("-> ")[2].startswith("192.168.51.11")
    assert cluster.tcp("default/client", f"{web}", b"hi").nat == ""


@pytest.mark.parametrize("capture", [True, False])
def test_two_flows_of_one_connection_have_one_nat(capture: bool) -> None:
    """conntrack knows the second flow's ports already: no rule is walked again."""
    cluster = Cluster(2, manifests(PODS.replace("{port: 80}", "{port: 80, protocol: UDP}")).objects, capture=capture)
    first, second = (cluster.udp("default/client", "svc/web:80", port=40000, timeout_s=1) for _ in range(2))
    assert first.nat.startswith("DNAT ") and second.nat == first.nat
