"""The names of addresses follow what changes, and are what a look at everything would give."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from emu.kube.api.core import Service
from emu.kube.api.loader import load_text
from emu.kube.api.meta import replace
from emu.kube.cluster import Cluster, ClusterConfig
from emu.kube.front_ends import outer_addresses
from emu.wire.addr import ip4
from emu.wire.frame import AF_INET

OBJECTS = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 4
  selector: {matchLabels: {app: web}}
  template: {metadata: {labels: {app: web}}, spec: {containers: [{name: c}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: on-host}, spec: {hostNetwork: true, containers: [{name: c}]}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: LoadBalancer, selector: {app: web}, externalIPs: [198.51.100.1], ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: same, namespace: prod}
spec: {selector: {app: web}, externalIPs: [198.51.100.1, 192.168.51.11], ports: [{port: 81}]}
---
{apiVersion: v1, kind: Service, metadata: {name: headless}, spec: {clusterIP: None, selector: {app: web}}}
"""


def everything(cluster: Cluster) -> Iterator[tuple[int, str]]:
    """Every address and a name of it, by a look at all of the cluster."""
    services = [(each, f"svc/{each.metadata.name}.{each.metadata.namespace}") for each in cluster.store.list(Service)]
    yield from (
        (ip4(each.spec.cluster_ip), name) for each, name in services if each.spec.cluster_ip not in ("", "None")
    )
    for node in cluster.nodes.values():
        for address in node.net.ipv4.addresses:
            if address.device.name != "lo":
                yield address.addr, node.name if address.addr == node.ip else f"{node.name}/{address.device.name}"
    yield from ((pod.ip, pod.name) for pod in cluster.pods.values() if not pod.host_network)
    for name, net in cluster.underlay.namespaces.items():
        for address in net.ipv4.addresses:
            if address.device.name != "lo":
                yield address.addr, name if name == "external" else f"{name}/{address.device.name}"
    for service, name in services:
        yield from ((ip4(text), name) for text in outer_addresses(service))


def looked_over(cluster: Cluster) -> dict[tuple[int, int], list[str]]:
    found: dict[tuple[int, int], list[str]] = {}
    for addr, name in everything(cluster):
        found.setdefault((AF_INET, addr), []).append(name)
    return found


@pytest.mark.parametrize("underlay", ["routed", "switched"])
def test_the_names_are_those_of_what_is_there(underlay: str) -> None:
    cluster = Cluster(ClusterConfig.of(3, underlay=underlay), load_text(OBJECTS).objects)
    assert cluster.capture is not None
    shown = cluster.capture.names
    assert shown == cluster.names() == looked_over(cluster) and list(shown) == list(looked_over(cluster))
    assert shown[AF_INET, ip4("192.168.51.11" if underlay == "routed" else "192.168.50.11")][0] == "node-1"

    def changed() -> None:
        """What is there has its names; what has gone keeps the last."""
        now = looked_over(cluster)
        assert cluster.names() == now
        assert {addr: shown[addr] for addr in now} == now

    before = dict(shown)
    cluster.scale("Deployment", "default", "web", 7)
    changed()
    cluster.scale("Deployment", "default", "web", 1)
    changed()
    assert set(before) <= set(shown) and len(shown) == len(before) + 3
    web = cluster.store.get(Service, "default", "web")
    assert web is not None
    cluster.apply(replace(web, spec=replace(web.spec, external_ips=("198.51.100.7",))))
    changed()
    assert shown[AF_INET, ip4("198.51.100.1")] == ["svc/same.prod"] and shown[AF_INET, ip4("198.51.100.7")] == [
        "svc/web.default"
    ]
    cluster.delete("Service", "prod", "same")
    changed()
    assert shown[AF_INET, ip4("198.51.100.1")] == ["svc/same.prod"], "it keeps the last name"
    cluster.nodes["node-2"].net.ipv4.add_address(cluster.nodes["node-2"].net.device("eth0"), ip4("10.9.9.9"), 32)
    cluster.settle()
    changed()
    assert shown[AF_INET, ip4("10.9.9.9")] == ["node-2/eth0"]
