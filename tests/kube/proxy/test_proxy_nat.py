"""kube-proxy's rules with real connection tracking and NAT: a Service's connection there and back."""

from __future__ import annotations

from collections import Counter

import pytest

from emu.clock import Clock
from emu.kernel.boot import address, namespace, netfilter, veth
from emu.kernel.net.netns import Netns
from emu.kernel.netfilter.hooks import FORWARD, POST_ROUTING, PRE_ROUTING
from emu.kernel.netfilter.ruleset import Rule
from emu.kube.api.core import Service
from emu.kube.api.discovery import EndpointSlice
from emu.kube.api.loader import load_text
from emu.kube.proxy.iptables import compile as iptables
from emu.wire.addr import ip4, ip4_text
from emu.wire.frame import Frame
from rules import packet

OBJECTS = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: 10.96.0.10, ports: [{port: 80, targetPort: 8080}], sessionAffinity: AFFINITY}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
endpoints: [{addresses: [10.244.1.5]}, {addresses: [10.244.1.6]}, {addresses: [10.244.2.7]}]
ports: [{name: "", port: 8080}]
"""


def node(affinity: str = "None") -> Netns:
    clock = Clock(seed=1)
    net = namespace(clock, "node-1")
    veth(net, "eth0", namespace(clock, "wire"), "port", "02:00:00:00:00:01", "02:00:00:00:00:02")
    address(net, "eth0", "10.244.1.1/24")
    netfilter(net)
    objects = load_text(OBJECTS.replace("AFFINITY", affinity)).objects
    services = [each for each in objects if isinstance(each, Service)]
    slices = [each for each in objects if isinstance(each, EndpointSlice)]
    config = iptables.ProxyConfig(node_name="node-1", cluster_cidr="10.244.0.0/16")
    net.ipv4.tables.replace(iptables.compile(services, slices, config))
    return net


def through(net: Netns, frame: Frame) -> Frame:
    """Forwarded: in at eth0, out at eth0."""
    device = net.devices["eth0"]
    frame.indev = device
    for hook in (PRE_ROUTING, FORWARD, POST_ROUTING):
        if hook == FORWARD:
            frame.outdev = device
        if hook == POST_ROUTING:
            frame.indev = None
        assert net.ipv4.hooks.run(hook, frame) is None
    return frame


def spoken(frame: Frame) -> str:
    return f"{ip4_text(frame.src)}:{frame.sport} > {ip4_text(frame.dst)}:{frame.dport}"


def test_there_and_back_again() -> None:
    net = node()
    frame = through(net, packet("10.244.1.9", "10.96.0.10", dport=80))
    endpoint = ip4_text(frame.dst)
    assert spoken(frame) == f"10.244.1.9:40000 > {endpoint}:8080"
    chains = [each.chain for each in frame.trail or [] if isinstance(each, Rule) and each.table == "nat"]
    assert chains[:2] == ["PREROUTING", "KUBE-SERVICES"]
    assert chains[2].startswith("KUBE-SVC-")
    assert chains[3].startswith("KUBE-SEP-")
    back = through(net, packet(endpoint, "10.244.1.9", sport=8080, dport=40000, flags=0x12))
    assert spoken(back) == "10.96.0.10:80 > 10.244.1.9:40000"
    assert not [each for each in back.trail or [] if isinstance(each, Rule) and each.table == "nat"]


def test_every_endpoint_gets_its_share() -> None:
    net = node()
    got = Counter(
        ip4_text(through(net, packet("10.244.1.9", "10.96.0.10", sport=port, dport=80)).dst)
        for port in range(2000, 3500)
    )
    assert set(got) == {"10.244.1.5", "10.244.1.6", "10.244.2.7"}
    assert all(430 < count < 570 for count in got.values())


def test_a_pod_that_gets_itself_is_masqueraded_and_no_other_pod_is() -> None:
    net = node()
    for port in range(2000, 2060):
        frame = through(net, packet("10.244.1.5", "10.96.0.10", sport=port, dport=80))
        itself = frame.dst == ip4("10.244.1.5")
        assert frame.src == (ip4("10.244.1.1") if itself else ip4("10.244.1.5"))
        assert frame.mark == 0


@pytest.mark.parametrize("affinity", ["ClientIP", "None"])
def test_session_affinity_keeps_a_client_at_its_endpoint(affinity: str) -> None:
    net = node(affinity)
    got = {through(net, packet("10.244.1.9", "10.96.0.10", sport=port, dport=80)).dst for port in range(2000, 2040)}
    assert len(got) == (1 if affinity == "ClientIP" else 3)
