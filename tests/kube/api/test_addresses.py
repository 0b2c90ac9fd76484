"""Addresses of old objects, with leading zeros: read as decimal everywhere, and written without them."""

from __future__ import annotations

import pytest

from emu.errors import InputError
from emu.kernel.netfilter.save import save
from emu.kube.api.addresses import plain
from emu.kube.api.core import Endpoints, Service
from emu.kube.api.discovery import EndpointSlice
from emu.scenario.run import run
from emu.scenario.script import load_text
from small import scenario

SERVICE = """\
apiVersion: v1
kind: Service
metadata: {name: old}
spec:
  type: LoadBalancer
  clusterIP: 10.96.0.010
  clusterIPs: [10.096.0.10]
  externalIPs: [192.0.2.009]
  loadBalancerIP: 198.051.100.7
  loadBalancerSourceRanges: [192.168.050.0/24]
  ports: [{port: 80, targetPort: 8080, nodePort: 30080}]
status: {loadBalancer: {ingress: [{ip: 198.51.100.007}]}}
"""
SLICE = """\
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: old-1, labels: {kubernetes.io/service-name: old}}
addressType: IPv4
endpoints: [{addresses: [10.244.002.2]}]
ports: [{port: 8080}]
"""
ENDPOINTS = """\
---
apiVersion: v1
kind: Endpoints
metadata: {name: other}
subsets: [{addresses: [{ip: 010.244.2.2}], notReadyAddresses: [{ip: 10.244.2.03}], ports: [{port: 80}]}]
"""


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("10.96.0.010", "10.96.0.10"),
        ("010.000.000.09", "10.0.0.9"),
        ("10.0.0.0", "10.0.0.0"),
        ("010.0.0.0/08", "10.0.0.0/08"),
        ("10.0.0.01/32", "10.0.0.1/32"),
        ("None", "None"),
        ("", ""),
        ("fd00::01", "fd00::01"),
        ("10.0.01", "10.0.01"),
        ("10.0.0.0x1", "10.0.0.0x1"),
        ("10.0.0.0999", "10.0.0.999"),  # which is no address
    ],
)
def test_octets_are_decimal(text: str, read: str) -> None:
    assert plain(text) == read


def objects(text: str) -> list[object]:
    return list(load_text(scenario("old", "- wait: 1s\n") + "---\n" + text).objects)


def test_every_address_of_a_stored_object_is_read_so() -> None:
    found = objects(SERVICE + SLICE + ENDPOINTS)
    (service,) = [each for each in found if isinstance(each, Service) and each.metadata.name == "old"]
    spec = service.spec
    assert (spec.cluster_ip, spec.cluster_ips, spec.external_ips) == ("10.96.0.10", ("10.96.0.10",), ("192.0.2.9",))
    assert (spec.load_balancer_ip, spec.load_balancer_source_ranges) == ("198.51.100.7", ("192.168.50.0/24",))
    assert service.status.load_balancer.ingress[0].ip == "198.51.100.7"
    assert [each.endpoints[0].addresses for each in found if isinstance(each, EndpointSlice)] == [("10.244.2.2",)]
    (old,) = [each for each in found if isinstance(each, Endpoints)]
    assert [each.ip for each in (*old.subsets[0].addresses, *old.subsets[0].not_ready_addresses)] == [
        "10.244.2.2",
        "10.244.2.3",
    ]


@pytest.mark.parametrize("text", ["10.96.0.0256", "10.96.010", "1O.96.0.010"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="is not an IP address"):
        objects(
            SERVICE.replace("clusterIP: 10.96.0.010", f"clusterIP: {text}").replace("  clusterIPs: [10.096.0.10]\n", "")
        )


def test_the_service_of_an_old_object_is_reached() -> None:
    steps = '- tcp: {from: default/client, to: "10.96.0.77:80", send: hi}\n'
    old = SERVICE.replace("10.96.0.010", "10.96.0.077").replace("10.096.0.10", "10.96.0.077")
    done = run(load_text(scenario("old", steps) + "---\n" + old + SLICE))
    (flow,) = [each.flow for each in done.flows]
    assert flow.outcome.word == "delivered"
    rules = save(done.cluster.nodes["node-1"].net.ipv4.tables.ruleset)
    for address in ("10.96.0.77/32", "192.0.2.9/32", "198.51.100.7/32", "192.168.50.0/24", "10.244.2.2:8080"):
        assert address in rules
