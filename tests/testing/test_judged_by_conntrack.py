"""Runs that are right and look wrong: node ports, hairpins, spoofed sources and answers that a user sends are judged by conntrack's entries."""

from __future__ import annotations

import pytest

import emu
from emu.invariants import judge
from emu.kube.api.loader import load_text
from emu.kube.cluster import Cluster
from emu.scenario.run import run
from emu.scenario.script import load_text as scenario_text
from emu.testing import invariants

MANIFESTS = """\
{apiVersion: v1, kind: Pod, metadata: {name: client}, spec: {nodeName: node-1, containers: [{name: c}]}}
---
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec: {nodeName: node-2, containers: [{name: c, ports: [{containerPort: 8080}, {containerPort: 8080, protocol: UDP}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: NodePort
  clusterIP: 10.96.0.10
  selector: {app: web}
  ports:
  - {name: tcp, port: 80, targetPort: 8080, nodePort: 30080}
  - {name: udp, port: 80, targetPort: 8080, nodePort: 30080, protocol: UDP}
"""
LIBERAL = "{nodes: 2, sysctls: {net.netfilter.nf_conntrack_tcp_be_liberal: 1}}"
STRAY = """\
- name: open
  tcp: {from: default/client, to: "svc/web:80", port: 45000, send: hello, close: false}
- name: stray from the server
  send: {from: default/web, scapy: "IP(dst='10.244.1.2')/TCP(sport=8080, dport=45000, flags='A', seq=1, ack=1)"}
"""


def cluster(hairpin: bool = False, **sysctls: int) -> Cluster:
    given = {name.replace("__", "."): value for name, value in sysctls.items()}
    config = emu.ClusterConfig.of(2, hairpin=hairpin, sysctls=given)
    return Cluster(config, load_text(MANIFESTS).objects)


@pytest.mark.parametrize("source", ["default/client", "default/web", "node/node-1", "node/node-2", "external"])
@pytest.mark.parametrize("to", ["node/node-1:30080", "node/node-2:30080", "svc/web:80"])
@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_node_ports_and_services_from_everywhere(source: str, to: str, kind: str) -> None:
    running = cluster()
    flow = running.tcp(source, to, b"x") if kind == "tcp" else running.udp(source, to)
    running.wait(4)
    invariants.hold(running)
    if source not in ("default/web", "external"):
        assert flow.delivered


@pytest.mark.parametrize("hairpin", [False, True])
@pytest.mark.parametrize("to", ["svc/web:80", "node/node-2:30080", "node/node-1:30080", "default/web:8080"])
def test_hairpins(hairpin: bool, to: str) -> None:
    running = cluster(hairpin)
    running.tcp("default/web", to, b"x", timeout_s=3)
    running.udp("default/web", to, timeout_s=3)
    running.wait(4)
    invariants.hold(running)


@pytest.mark.parametrize("network", ["bridge", "flannel", "kindnet", "calico"])
@pytest.mark.parametrize("source", ["1.2.3.4", "10.244.1.9", "192.168.51.11"])
@pytest.mark.parametrize("to", ["10.244.2.2", "10.96.0.10"])
def test_spoofed_packets(network: str, source: str, to: str) -> None:
    running = Cluster(emu.ClusterConfig.of(2, network=network), load_text(MANIFESTS).objects)
    running.send("default/client", f"IP(src='{source}', dst='{to}')/UDP(sport=5, dport=8080)/'x'")
    running.send("default/client", f"IP(src='{source}', dst='{to}')/TCP(sport=5, dport=80, flags='S')")
    running.wait(4)
    invariants.hold(running)


def test_an_answer_that_a_user_sends_is_judged_by_its_connection() -> None:
    """It is un-NATed on its way: the flow that sent it did not open the connection."""
    text = f"apiVersion: emu/v1\nkind: Scenario\ncluster: {LIBERAL}\ninvariants: all\nsteps:\n{STRAY}---\n{MANIFESTS}"
    done = run(scenario_text(text))
    stray = [each.flow for each in done.flows][1]
    assert stray.delivered
    assert [verdict.failures for verdict in done.invariants if not verdict.held] == []
    assert len(done.invariants) == len(invariants.INVARIANTS)


def test_wrong_checksums_of_a_user_are_no_fault_of_the_network() -> None:
    running = cluster()
    running.send("default/client", "IP(dst='10.244.2.2')/UDP(sport=5, dport=8080, chksum=7)/'x'")
    running.send("default/client", "IP(dst='10.244.2.2', chksum=7)/UDP(sport=5, dport=8080)/'x'")
    running.wait(4)
    invariants.hold(running)


def test_a_link_that_was_pulled_out_accounts_for_silence() -> None:
    running = cluster()
    running.link("default/web", down=True)
    running.ping("node/node-2", "default/web", timeout_s=4)
    running.link("default/web", down=False)
    running.ping("node/node-2", "default/web", timeout_s=4)
    running.wait(4)
    invariants.hold(running)


def test_a_named_invariant_without_a_capture_is_an_error() -> None:
    running = Cluster(2, load_text(MANIFESTS).objects, capture=False)
    running.tcp("default/client", "svc/web:80", b"x")
    invariants.hold(running)
    assert {verdict.name for verdict in judge(running)} == {"one_outcome", "tuples_unique"}
    with pytest.raises(ValueError, match="capture=True"):
        invariants.hold(running, "ttl_falls")
    with pytest.raises(emu.InputError, match="no invariant is called 'ttl_fall'"):
        invariants.hold(running, "ttl_fall")
