"""Which endpoint a connection gets: over 10,000 of them, each endpoint its share (chi-square), on a whole node."""

from __future__ import annotations

from collections import Counter

import pytest

from emu.kube.api.loader import load_text
from emu.kube.proxy.config import ProxyConfig
from emu.wire.addr import ip4_text
from service_node import ServiceNode

pytestmark = pytest.mark.slow

CONNECTIONS = 10_000
# The 99.9 % quantiles of the chi-square distribution, by degrees of freedom.
CRITICAL = {1: 10.828, 2: 13.816, 4: 18.467, 6: 22.458}


def node(endpoints: list[str], spec: str = "") -> ServiceNode:
    listed = ", ".join(endpoints)
    objects = load_text(f"""
apiVersion: v1
kind: Service
metadata: {{name: web}}
spec: {{type: NodePort, clusterIP: 10.96.0.10, ports: [{{port: 80, nodePort: 30080}}]{spec}}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: web-1, labels: {{kubernetes.io/service-name: web}}}}
addressType: IPv4
endpoints: [{listed}]
ports: [{{name: "", port: 8080}}]
""").objects
    made = ServiceNode(ProxyConfig(node_name="test-node", cluster_cidr="10.0.0.0/8"), ["192.168.0.2"], seed=7)
    made.update(objects)
    return made


def chi_square(got: Counter[str], shares: dict[str, float]) -> float:
    assert set(got) <= set(shares)
    total = sum(got.values())
    return sum((got[each] - total * share) ** 2 / (total * share) for each, share in shares.items())


@pytest.mark.parametrize("count", [2, 3, 5, 7])
def test_every_endpoint_gets_the_same_share(count: int) -> None:
    addresses = [f"10.0.1.{number}" for number in range(1, count + 1)]
    made = node([f"{{addresses: [{each}]}}" for each in addresses])
    got: Counter[str] = Counter()
    for number in range(CONNECTIONS):
        verdict, frame = made.send("10.0.0.9", "10.96.0.10", 80, indev="cbr0", sport=1024 + number)
        assert verdict is None
        got[ip4_text(frame.dst)] += 1
    assert sum(got.values()) == CONNECTIONS
    assert chi_square(got, dict.fromkeys(addresses, 1 / count)) < CRITICAL[count - 1]


def test_a_test_like_this_notices_a_wrong_share() -> None:
    even = Counter({"a": 5000, "b": 5000})
    assert chi_square(even, {"a": 0.5, "b": 0.5}) == 0
    assert chi_square(even, {"a": 0.48, "b": 0.52}) > CRITICAL[1]


def test_only_local_endpoints_share_under_policy_local() -> None:
    """Three on the node, two elsewhere: the outside's connections go to the three."""
    here = ["10.180.2.1", "10.180.2.2", "10.180.2.3"]
    endpoints = [f"{{addresses: [{each}], nodeName: test-node}}" for each in here]
    endpoints += [f"{{addresses: [10.180.3.{number}], nodeName: other}}" for number in (1, 2)]
    made = node(endpoints, ", externalTrafficPolicy: Local")
    got: Counter[str] = Counter()
    for number in range(CONNECTIONS):
        verdict, frame = made.send("203.0.113.9", "192.168.0.2", 30080, sport=1024 + number)
        assert verdict is None
        assert ip4_text(frame.src) == "203.0.113.9"
        got[ip4_text(frame.dst)] += 1
    assert chi_square(got, dict.fromkeys(here, 1 / 3)) < CRITICAL[2]


def test_clients_spread_though_each_keeps_its_endpoint() -> None:
    """Session affinity: every client has one endpoint, and the endpoints have equal shares of the clients."""
    addresses = ["10.0.1.1", "10.0.1.2", "10.0.1.3"]
    made = node([f"{{addresses: [{each}]}}" for each in addresses], ", sessionAffinity: ClientIP")
    got: Counter[str] = Counter()
    for number in range(90):  # xt_recent keeps 100 addresses a list
        client = f"10.0.0.{number + 10}"
        reached = {made.send(client, "10.96.0.10", 80, indev="cbr0")[1].dst for _ in range(5)}
        assert len(reached) == 1
        got[ip4_text(reached.pop())] += 1
    assert chi_square(got, dict.fromkeys(addresses, 1 / 3)) < CRITICAL[2]
