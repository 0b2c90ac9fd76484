"""Comments that are filled in are what the words state about each frame by itself."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, note
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether

from emu.capture.capture import Capture
from emu.capture.comment import Comments, words
from emu.capture.interface import Interface
from emu.capture.stretch import SHAPE
from emu.capture.tap import OUT
from emu.kube.api.loader import load_text as manifests
from emu.kube.cluster import Cluster
from emu.kube.networks.network import networks
from emu.kube.plan import ClusterConfig
from emu.scenario.run import run
from emu.scenario.script import load_text
from emu.testing.scenarios import SmallScenario, small_scenarios
from emu.testing.strategies import examples
from emu.trail import Born, Natted, Tracked
from emu.wire.addr import ip4, ip4_text
from emu.wire.frame import AF_INET


def differing(capture: Capture) -> list[tuple[str, str]]:
    """What is written about frames, where it differs from the words about them alone. Each is asked for twice, from afresh."""
    found = []
    comments = Comments(capture.names, capture.interfaces)
    for _ in range(2):
        for frame in capture.frames():
            plain = words(comments.view(frame.code & SHAPE, frame.data, list(frame.trail)))
            made = comments.body(frame.code, frame.data, list(frame.trail)).decode()
            if made != plain:
                found.append((made, plain))
    return found


@examples(60)
@given(small_scenarios(wide=True))
def test_a_drawn_scenario(drawn: SmallScenario) -> None:
    note(drawn.text)
    capture = run(load_text(drawn.text)).cluster.capture
    assert capture is not None
    assert differing(capture) == []


PODS = """\
{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {replicas: 5, selector: {matchLabels: {app: web}}, template: {
  metadata: {labels: {app: web}}, spec: {containers: [{name: c, ports: [{containerPort: 8080}, {containerPort: 53, protocol: UDP}]}]}}}}
---
{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {type: NodePort, selector: {app: web}, ports: [
  {name: web, port: 80, targetPort: 8080, nodePort: 30080}, {name: dns, port: 53, protocol: UDP}]}}
---
{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: web}, spec: {podSelector: {}, ingress: [{ports: [{port: 8080}]}]}}
"""


@pytest.mark.parametrize("network", sorted(networks))
def test_many_flows_in_every_network(network: str) -> None:
    """From all to all: hairpins, Services, node ports, the world outside, and a policy where the network enforces one."""
    cluster = Cluster(ClusterConfig.of(2, network=network), manifests(PODS).objects)
    pods = sorted(cluster.pods)
    for source in pods:
        for target in ("svc/web:80", f"{pods[0]}:8080", "node/node-1:30080", "10.244.77.7:80"):
            cluster.tcp(source, target, b"x")
        cluster.udp(source, "svc/web:53", b"x")
    cluster.tcp("external", "node/node-2:30080", b"x")
    assert cluster.capture is not None
    assert differing(cluster.capture) == []


ADDRESSES = [0, *map(ip4, ("10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"))]
PORTS = [0, 1, 80, 8080]


class Conn:
    def __init__(self, number: int) -> None:
        self.name = f"node-1#{number}"


CONNS = [None, *map(Conn, range(3))]
BORN = Born("a socket sends 100% of it")
PLACE = st.integers(0, 3)
HALVES = st.tuples(PLACE, PLACE)
KINDS = st.sampled_from(("DNAT", "SNAT", "un-DNAT", "un-SNAT"))
ENTRIES = st.one_of(
    st.just((BORN,)),
    st.tuples(st.just(Natted), KINDS, HALVES, HALVES, st.integers(1, 3)),
    st.tuples(st.just(Tracked), st.integers(0, 3), st.sampled_from(("NEW", "ESTABLISHED")), st.booleans()),
)
# which address, port and connection stands at each place
ADDRESSED = st.lists(st.sampled_from(ADDRESSES), min_size=4, max_size=4)
PORTED = st.lists(st.sampled_from(PORTS), min_size=4, max_size=4)
CONNECTED = st.lists(st.sampled_from(CONNS[1:]), min_size=3, max_size=3).map(lambda conns: [None, *conns])
ORDINARY = ADDRESSES[1:], PORTS[1:] + PORTS[:1], CONNS
VALUES = st.one_of(
    st.tuples(ADDRESSED, PORTED, CONNECTED),
    *(
        st.tuples(*(each if at == moved else st.just(usual) for at, usual in enumerate(ORDINARY)))
        for moved, each in enumerate((ADDRESSED, PORTED, CONNECTED))
    ),
)


def entry(drawn: tuple[Any, ...], addresses: list[int], ports: list[int], conns: list[Any]) -> Any:
    if drawn[0] is Natted:
        _, kind, before, after, conn = drawn
        old, new = ((addresses[at], ports[port]) for at, port in (before, after))
        return Natted(kind, old, new, conns[conn])
    return Tracked(conns[drawn[1]], *drawn[2:]) if drawn[0] is Tracked else drawn[0]


@examples(300)
@given(
    st.sampled_from(("S", "A", "")), st.lists(ENTRIES, min_size=1, max_size=3), st.lists(VALUES, min_size=2, max_size=8)
)
def test_one_trail_with_other_values(flags: str, trail: list[tuple[Any, ...]], values: list[Any]) -> None:
    """Addresses with names and without, the owner's own, ports of 0 and recurring ones, and connections that are one or two."""
    names = {(AF_INET, ip4("10.0.0.1")): ["node-1"], (AF_INET, ip4("10.0.0.2")): ["svc/web"]}
    comments = Comments(names, [Interface(0, "node-1", "eth0", None)])
    for addresses, ports, conns in values:
        layer = TCP(sport=ports[0], dport=ports[1], flags=flags) if flags else UDP(sport=ports[0], dport=ports[1])
        ends = IP(src=ip4_text(addresses[0]), dst=ip4_text(addresses[1]))
        data = bytes(Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / ends / layer)
        entries = [entry(each, addresses, ports, conns) for each in trail]
        assert comments.body(OUT, data, entries).decode() == words(comments.view(OUT, data, entries))
