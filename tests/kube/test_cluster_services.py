"""Front-ends of Services in a whole cluster: who reaches which endpoint from where, and under whose address.

node-1 and node-2 have an endpoint each, node-3 has none; a client pod on node-1 and on node-3.
"""

from __future__ import annotations

import json

import pytest

from agents_of import proxiers
from emu.kube.api.core import Node, Service
from emu.kube.api.loader import load_text
from emu.kube.api.meta import replace
from emu.kube.cluster import Cluster, ClusterConfig
from emu.kube.flow.flow import Flow
from emu.kube.proxy.config import ProxyConfig
from emu.wire.addr import ip4_text

POD = """
---
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: {app}}}, annotations: {{{annotations}}}}}
spec:
  nodeName: {node}
  containers: [{{name: c, ports: [{{name: web, containerPort: 8080}}, {{containerPort: 53, protocol: UDP}}]}}]
"""
SERVICE = """
---
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec:
  type: LoadBalancer
  selector: {{app: {app}}}
  externalIPs: [198.51.100.{number}]
  ports: [{{name: web, port: 80, targetPort: web, nodePort: 3008{number}}}, {{name: dns, port: 53, protocol: UDP, nodePort: 3005{number}}}]
  {more}
status: {{loadBalancer: {{ingress: [{{ip: 203.0.113.10{number}}}]}}}}
"""


def pod(name: str, node: str, app: str = "web", annotations: str = "") -> str:
    return POD.format(name=name, node=node, app=app, annotations=annotations)


def service(name: str, number: int, more: str = "", app: str = "web") -> str:
    return SERVICE.format(name=name, number=number, more=more, app=app)


PODS = pod("web-1", "node-1") + pod("web-2", "node-2") + pod("client-1", "node-1", "") + pod("client-3", "node-3", "")
SERVICES = (
    service("cluster", 1)
    + service("etp", 2, "externalTrafficPolicy: Local")
    + service("itp", 3, "internalTrafficPolicy: Local")
    + service("none", 4, app="nothing")
)
NUMBERS = {"cluster": 1, "etp": 2, "itp": 3, "none": 4}


@pytest.fixture(scope="module", params=["routed", "switched"])
def cluster(request: pytest.FixtureRequest) -> Cluster:
    return Cluster(ClusterConfig.of(3, underlay=request.param), load_text(PODS + SERVICES).objects)


def front(name: str, kind: str) -> str:
    """A front-end of a Service as a target: its cluster IP, VIP, external IP, or `node-N`'s NodePort."""
    number = NUMBERS[name]
    known = {"ip": f"svc/{name}:80", "vip": f"203.0.113.10{number}:80", "external": f"198.51.100.{number}:80"}
    if kind == "localhost":
        return f"127.0.0.1:3008{number}"
    return known.get(kind) or f"node/{kind}:3008{number}"


# source, Service, front-end, which endpoints (web-N), masqueraded
BOTH, ONE, TWO = {"web-1", "web-2"}, {"web-1"}, {"web-2"}
TABLE: list[tuple[str, str, str, set[str], bool]] = [
    ("default/client-1", "cluster", "ip", BOTH, False),
    ("default/client-3", "cluster", "ip", BOTH, False),
    ("node/node-1", "cluster", "ip", BOTH, True),
    ("node/node-3", "cluster", "ip", BOTH, True),
    ("default/client-1", "cluster", "node-1", BOTH, True),
    ("default/client-1", "cluster", "node-3", BOTH, True),
    ("node/node-1", "cluster", "node-1", BOTH, True),
    ("node/node-1", "cluster", "localhost", BOTH, True),
    ("node/node-3", "cluster", "localhost", BOTH, True),
    ("node/node-3", "cluster", "node-1", BOTH, True),
    ("external", "cluster", "node-1", BOTH, True),
    ("external", "cluster", "node-3", BOTH, True),
    ("external", "cluster", "vip", BOTH, True),
    ("external", "cluster", "external", BOTH, True),
    ("default/client-3", "cluster", "vip", BOTH, True),
    ("node/node-3", "cluster", "external", BOTH, True),
    # externalTrafficPolicy Local: the outside gets local endpoints and keeps its address; pods and nodes are led inside
    ("default/client-1", "etp", "ip", BOTH, False),
    ("external", "etp", "node-1", ONE, False),
    ("external", "etp", "node-2", TWO, False),
    ("external", "etp", "node-3", set(), False),
    ("external", "etp", "vip", ONE, False),
    ("external", "etp", "external", ONE, False),
    ("default/client-3", "etp", "node-3", BOTH, False),
    ("default/client-3", "etp", "vip", BOTH, False),
    ("node/node-3", "etp", "node-3", BOTH, True),
    ("node/node-3", "etp", "vip", BOTH, True),
    ("node/node-3", "etp", "localhost", BOTH, True),
    ("node/node-3", "etp", "node-2", TWO, False),
    # internalTrafficPolicy Local: only the cluster IP is led by it
    ("default/client-1", "itp", "ip", ONE, False),
    ("node/node-1", "itp", "ip", ONE, True),
    ("default/client-3", "itp", "ip", set(), False),
    ("node/node-3", "itp", "ip", set(), False),
    ("default/client-3", "itp", "node-3", BOTH, True),
    ("external", "itp", "node-3", BOTH, True),
]


def case_id(value: object) -> str:
    """The same in every process: a set's own text depends on the hash seed."""
    return ",".join(sorted(value)) or "none" if isinstance(value, set) else str(value)


def ends(flow: Flow) -> str:
    return flow.at.partition("/")[2]


@pytest.mark.parametrize(("source", "name", "kind", "endpoints", "masqueraded"), TABLE, ids=case_id)
def test_front_ends(
    cluster: Cluster, source: str, name: str, kind: str, endpoints: set[str], masqueraded: bool
) -> None:
    reached = set()
    for _ in range(12 if len(endpoints) > 1 else 2):
        flow = cluster.tcp(source, front(name, kind), b"who?", timeout_s=2)
        if not endpoints:
            assert (flow.outcome.word, flow.outcome.detail) == ("dropped", "NETFILTER_DROP")
            assert "no local endpoints" in flow.outcome.by
            continue
        assert flow.delivered, flow.outcome
        assert flow.received == b"who?"
        reached.add(ends(flow))
        assert bool(flow.snat) is masqueraded
    assert reached == endpoints


@pytest.mark.parametrize(
    ("source", "kind", "outcome"),
    [
        ("default/client-1", "ip", "rejected (port-unreachable)"),
        ("node/node-1", "ip", "rejected (port-unreachable)"),
        ("external", "node-1", "rejected (port-unreachable)"),
        ("external", "vip", "rejected (port-unreachable)"),
        ("external", "external", "rejected (port-unreachable)"),
        ("node/node-1", "node-1", "rejected (port-unreachable)"),
    ],
)
def test_without_endpoints_every_front_end_refuses(cluster: Cluster, source: str, kind: str, outcome: str) -> None:
    flow = cluster.tcp(source, front("none", kind), timeout_s=2)
    assert str(flow.outcome).partition(" at ")[0] == outcome


def test_udp_takes_the_same_ways(cluster: Cluster) -> None:
    for source, to in (
        ("default/client-3", "svc/cluster:53"),
        ("external", "node/node-3:30051"),
        ("external", "203.0.113.101:53"),
        ("node/node-2", "198.51.100.1:53"),
    ):
        flow = cluster.udp(source, to, b"question")
        assert flow.delivered, (source, to, flow.outcome)
        assert flow.received == b"question"


@pytest.mark.parametrize(("node", "status", "count"), [("node-1", 200, 1), ("node-2", 200, 1), ("node-3", 503, 0)])
def test_health_check_ports_count_local_endpoints(cluster: Cluster, node: str, status: int, count: int) -> None:
    found = cluster.store.get(Service, "default", "etp")
    assert found is not None
    port = found.spec.health_check_node_port
    flow = cluster.tcp("external", f"node/{node}:{port}", b"GET /healthz HTTP/1.0\r\n\r\n")
    head, _, body = flow.received.partition(b"\r\n\r\n")
    assert head.splitlines()[0].split()[1] == str(status).encode()
    assert f"X-Load-Balancing-Endpoint-Weight: {count}".encode() in head
    assert json.loads(body) == {
        "service": {"namespace": "default", "name": "etp"}, "localEndpoints": count, "serviceProxyHealthy": True
    }  # fmt: skip


def test_a_pod_that_gets_itself_comes_back_under_another_address() -> None:
    """Hairpin: every endpoint may draw itself; then the bridge's address stands for it."""
    made = Cluster(ClusterConfig.of(1, hairpin=True), load_text(pod("web-1", "node-1") + service("web", 1)).objects)
    flow = made.tcp("default/web-1", "svc/web:80", b"me?")
    assert flow.delivered and flow.snat.rpartition("-> ")[2].startswith("10.244.1.1:")


@pytest.mark.parametrize("affinity", ["None", "ClientIP"])
def test_session_affinity_holds_over_front_ends_and_ends_with_its_time(affinity: str) -> None:
    more = f"sessionAffinity: {affinity}\n  sessionAffinityConfig: {{clientIP: {{timeoutSeconds: 60}}}}"
    made = Cluster(3, load_text(PODS + service("cluster", 1, more)).objects, capture=False)

    def reached(times: int) -> set[str]:
        return {ends(made.tcp("default/client-3", front("cluster", kind))) for kind in ("ip", "node-3") * times}

    first = reached(8)
    assert len(first) == (1 if affinity == "ClientIP" else 2)
    if affinity == "ClientIP":
        other = set()
        for _ in range(12):  # every pause is longer than the timeout: the choice is free each time
            made.wait(61)
            other |= reached(1)
        assert other == BOTH


def test_services_without_rules() -> None:
    text = """
---
apiVersion: v1
kind: Service
metadata: {name: headless}
spec: {clusterIP: None, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: elsewhere}
spec: {type: ExternalName, externalName: www.example.org}
"""
    made = Cluster(3, load_text(PODS + text).objects, capture=False)
    for node in made.nodes.values():
        assert "headless" not in node.net.ipv4.tables.save() and "elsewhere" not in node.net.ipv4.tables.save()
        assert not [
            name for name in node.net.ipv4.tables.ruleset.tables["nat"] if name.startswith("KUBE-S") and "-" in name[7:]
        ]


@pytest.mark.parametrize(("mode", "led"), [("VIP", True), ("Proxy", False)])
def test_a_balancer_that_is_a_proxy_has_no_rules_and_no_route(mode: str, led: bool) -> None:
    text = service("cluster", 1).replace("203.0.113.101", f"203.0.113.101, ipMode: {mode}")
    made = Cluster(3, load_text(PODS + text).objects, capture=False)
    assert ("203.0.113.101" in made.nodes["node-1"].net.ipv4.tables.save()) is led
    flow = made.tcp("external", "203.0.113.101:80", timeout_s=5)
    assert flow.delivered is led


def test_source_ranges_of_a_balancer() -> None:
    text = service("cluster", 1, "loadBalancerSourceRanges: [203.0.113.64/26]")
    made = Cluster(3, load_text(PODS + text).objects)
    flow = made.tcp("external", "203.0.113.101:80", timeout_s=2)
    assert (flow.outcome.word, "KUBE-FW" in flow.outcome.by) == ("dropped", True)
    assert made.tcp("external", "node/node-1:30081").delivered
    assert made.tcp("default/client-1", "svc/cluster:80").delivered


def test_the_outside_follows_the_health_check() -> None:
    """The VIP of a Service with policy Local is led to the first node with a ready endpoint, and moves with it."""
    made = Cluster(3, load_text(PODS + service("etp", 2, "externalTrafficPolicy: Local")).objects, capture=False)
    assert made.tcp("external", "203.0.113.102:80").at == "default/web-1"
    made.delete("pod", "default", "web-1")
    assert made.tcp("external", "203.0.113.102:80").at == "default/web-2"
    assert (
        made.tcp("external", "198.51.100.2:80", timeout_s=1).outcome.word == "dropped"
    )  # external IPs: the first node
    made.delete("service", "default", "etp")
    assert made.underlay.advertised == {}


def test_addresses_that_are_not_ready_may_be_published() -> None:
    sick = pod("sick", "node-2", "sick", '"emu/ready": "false"')
    more = "publishNotReadyAddresses: true"
    text = PODS + sick + service("cluster", 1, more, app="sick") + service("etp", 2, app="sick")
    made = Cluster(3, load_text(text).objects, capture=False)
    assert made.tcp("default/client-1", "svc/cluster:80").at == "default/sick"
    assert made.tcp("default/client-1", "svc/etp:80", timeout_s=1).outcome.word == "rejected"
    found = made.store.get("pod", "default", "sick")
    assert found is not None
    made.apply(replace(found, metadata=replace(found.metadata, annotations={})))
    assert made.tcp("default/client-1", "svc/etp:80").at == "default/sick"


def test_named_target_ports_are_looked_up_pod_by_pod() -> None:
    other = pod("web-3", "node-3").replace("containerPort: 8080", "containerPort: 9090")
    made = Cluster(
        3, load_text(pod("web-1", "node-1") + other + pod("client", "node-2", "") + service("cluster", 1)).objects
    )
    got = {made.tcp("default/client", "svc/cluster:web").dnat.rpartition(":")[2] for _ in range(12)}
    assert got == {"8080", "9090"}


@pytest.mark.parametrize(
    ("addresses", "node_1", "localhost"),
    [
        (("192.168.0.0/16",), True, False),
        (("10.0.0.0/8",), False, False),
        (("127.0.0.0/8",), False, True),
        ((), True, True),
    ],
)
def test_node_port_addresses(addresses: tuple[str, ...], node_1: bool, localhost: bool) -> None:
    config = ClusterConfig.of(2, proxy=ProxyConfig(node_port_addresses=addresses))
    made = Cluster(config, load_text(pod("web-1", "node-1") + service("cluster", 1)).objects, capture=False)
    assert made.tcp("external", "node/node-1:30081", timeout_s=1).delivered is node_1
    assert made.tcp("node/node-2", "127.0.0.1:30081", timeout_s=1).delivered is localhost
    assert made.nodes["node-1"].net.sysctl.number("net.ipv4.conf.all.route_localnet") == int(localhost)


def test_a_node_in_another_zone_syncs_fully() -> None:
    made = Cluster(2, load_text(PODS.replace("node-3", "node-1") + SERVICES).objects, capture=False)
    found = made.store.get(Node, "", "node-1")
    assert found is not None
    labels = {**found.metadata.labels, "topology.kubernetes.io/zone": "b"}
    made.apply(replace(found, metadata=replace(found.metadata, labels=labels)))
    assert [p.full_syncs for p in proxiers(made)] == [2, 1]


def test_outer_addresses_have_the_services_name(cluster: Cluster) -> None:
    known = {ip4_text(address): each for (_family, address), each in cluster.names().items()}
    assert known["203.0.113.101"] == known["198.51.100.1"] == ["svc/cluster.default"]
    assert known["203.0.113.10"] == ["external"]
