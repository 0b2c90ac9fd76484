"""A flow's outcome is that of its own packets: not of a redirect beside it, nor of the reset that answers it."""

from __future__ import annotations

import pytest
from scapy.layers.inet import IP, TCP, UDP

from emu.kube.api.loader import load_text
from emu.kube.cluster import Cluster, ClusterConfig
from emu.kube.plan import NodeConfig

PODS = """
{apiVersion: v1, kind: Pod, metadata: {name: client}, spec: {nodeName: node-1, containers: [{name: c}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: web, labels: {app: web}, annotations: {emu/app: sink@9/udp}}, spec: {nodeName: node-1, containers: [{name: c}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {selector: {app: web}, ports: [{port: 9, protocol: UDP}]}}
"""


def cluster(**sysctls: int) -> Cluster:
    config = ClusterConfig(
        nodes=(NodeConfig("node-1"),), sysctls={name.replace("__", "."): each for name, each in sysctls.items()}
    )
    return Cluster(config, load_text(PODS).objects)


def test_a_redirect_that_netfilter_drops_is_not_the_request() -> None:
    """Without br_netfilter the node sends a redirect: the endpoint is on the client's own link. NAT forbids it, and the request arrives."""
    running = cluster(**{"net.bridge.bridge-nf-call-iptables": 0})
    flow = running.udp("default/client", "svc/web:9", b"x", timeout_s=2)
    assert flow.at == "default/web"
    assert flow.outcome.word == "timeout" and flow.losses == []


@pytest.mark.parametrize(
    "packet",
    [
        IP(dst="10.244.1.1") / TCP(sport=8081, dport=4444, flags="S", seq=1),
        IP(dst="10.244.1.1") / TCP(sport=8080, dport=4444, flags="A", seq=1, ack=1),
        IP(dst="10.244.1.1") / UDP(sport=8081, dport=4444) / b"x",
    ],
    ids=["SYN", "ACK", "UDP"],
)
def test_a_packet_to_a_closed_port_ends_there_and_not_where_its_answer_ends(packet: IP) -> None:
    outcome = cluster().send("default/client", packet).outcome
    assert (outcome.word, outcome.detail, outcome.place) == ("dropped", "NO_SOCKET", "node-1/cbr0")


def test_a_loopback_source_behind_a_dnat_names_route_localnet() -> None:
    running = cluster(**{"net.ipv4.conf.all.route_localnet": 0})
    node = running.node("node-1")
    node.net.sysctl["net.ipv4.conf.all.route_localnet"] = 0
    running.iptables(
        "node-1", f"-t nat -I OUTPUT -p tcp --dport 2022 -j DNAT --to-destination {running.pods['default/web'].ip}:22"
    )
    flow = running.tcp("node/node-1", "127.0.0.1:2022", b"x", timeout_s=2)
    assert any("route_localnet is 0" in str(each.by) for each in flow.losses), flow.losses
