"""EndpointSlices: which pods, which ports, which conditions, how many slices; and the mirror of Endpoints."""

from __future__ import annotations

import pytest

from control_plane import Plane
from emu.kube.api.core import Pod, Service
from emu.kube.api.discovery import MANAGED_BY, EndpointSlice
from emu.kube.api.meta import Key, replace
from emu.kube.controllers import scale


def service(spec: str, name: str = "web", more: str = "") -> str:
    return f"---\n{{apiVersion: v1, kind: Service, metadata: {{name: {name}{more}}}, spec: {{{spec}}}}}\n"


def pod(name: str, ports: str = "", spec: str = "", app: str = "web") -> str:
    return (
        f"---\n{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, labels: {{app: {app}}}}}, "
        f"spec: {{containers: [{{name: c, ports: [{ports}]}}]{spec}}}}}\n"
    )


def slices(plane: Plane, name: str = "web") -> list[EndpointSlice]:
    return [s for s in plane.store.list(EndpointSlice) if s.service_name == name]


def names(found: EndpointSlice) -> list[str]:
    return [e.target_ref.name for e in found.endpoints if e.target_ref is not None]


WEB = "selector: {app: web}, ports: [{port: 80}]"


def test_one_slice(plane: Plane) -> None:
    plane.apply(service(WEB, more=", labels: {team: a}") + pod("a") + pod("b") + pod("other", app="other"))
    [found] = slices(plane)
    assert names(found) == ["a", "b"]
    assert [(p.name, p.protocol, p.port) for p in found.ports] == [("", "TCP", 80)]
    assert found.metadata.labels == {
        "team": "a",
        "kubernetes.io/service-name": "web",
        MANAGED_BY: "endpointslice-controller.k8s.io",
    }
    first = found.endpoints[0]
    a = plane.store.get(Pod, "default", "a")
    assert a is not None
    assert (first.addresses, first.node_name, first.zone, first.hostname) == ((a.status.pod_ip,), "n1", "z1", None)
    assert (first.conditions.ready, first.conditions.serving, first.conditions.terminating) == (True, True, False)


def test_conditions(plane: Plane) -> None:
    plane.held = {"unready", "leaving-unready"}
    plane.apply(service(WEB) + service(WEB + ", publishNotReadyAddresses: true", name="all"))
    plane.apply(pod("ready") + pod("unready") + pod("leaving") + pod("leaving-unready") + pod("done") + pod("nowhere"))
    for p in plane.pods("leaving"):
        plane.store.put(replace(p, metadata=replace(p.metadata, deletion_timestamp="2025-01-01T00:00:00Z")))
    [done] = plane.pods("done")
    plane.store.put(replace(done, status=replace(done.status, phase="Succeeded")))
    [nowhere] = plane.pods("nowhere")
    plane.store.put(replace(nowhere, spec=replace(nowhere.spec, node_name="unknown")))
    plane.settle()

    def table(name: str) -> dict[str, tuple[bool | None, ...]]:
        [found] = slices(plane, name)
        conditions = [e.conditions for e in found.endpoints]
        return {n: (c.ready, c.serving, c.terminating) for n, c in zip(names(found), conditions, strict=True)}

    expected = {
        "ready": (True, True, False),
        "unready": (False, False, False),
        "leaving": (False, True, True),
        "leaving-unready": (False, False, True),
    }
    assert table("web") == expected
    published = {name: (True, *rest) for name, (_, *rest) in expected.items()}
    assert table("all") == published | {"nowhere": (True, True, False)}


def test_named_target_ports_differ_by_pod(plane: Plane) -> None:
    ports = "ports: [{name: http, port: 80, targetPort: web}, {name: dns, port: 53, protocol: UDP, targetPort: dns}]"
    plane.apply(service("selector: {app: web}, " + ports))
    plane.apply(pod("a", "{name: web, containerPort: 8080}, {name: dns, containerPort: 53, protocol: UDP}"))
    plane.apply(
        pod("b", "{name: web, containerPort: 9090}, {name: dns, containerPort: 53}")
    )  # dns over TCP: another port
    plane.apply(pod("c"))
    found = {tuple(names(s)): [(p.name, p.protocol, p.port) for p in s.ports] for s in slices(plane)}
    assert found == {
        ("a",): [("http", "TCP", 8080), ("dns", "UDP", 53)],
        ("b",): [("http", "TCP", 9090)],
        ("c",): [],
    }


def test_sidecars_have_named_ports_too(plane: Plane) -> None:
    sidecar = ", initContainers: [{name: s, restartPolicy: Always, ports: [{name: web, containerPort: 7}]}]"
    plane.apply(service("selector: {app: web}, ports: [{port: 80, targetPort: web}]") + pod("a", spec=sidecar))
    assert [p.port for p in slices(plane)[0].ports] == [7]


def test_host_network_and_headless_hostname(plane: Plane) -> None:
    plane.apply(service(WEB + ", clusterIP: None") + pod("a", spec=", hostNetwork: true, nodeName: n2"))
    plane.apply(pod("b", spec=", hostname: first, subdomain: web") + pod("c", spec=", hostname: x, subdomain: y"))
    [found] = slices(plane)
    assert found.endpoints[0].addresses == ("192.168.1.2",)
    assert [e.hostname for e in found.endpoints] == [None, "first", None]
    assert found.metadata.labels["service.kubernetes.io/headless"] == ""


def test_an_empty_service_keeps_one_placeholder(plane: Plane) -> None:
    plane.apply(service(WEB))
    [found] = slices(plane)
    assert (found.endpoints, found.ports) == ((), ())
    plane.apply(pod("a"))
    [found] = slices(plane)
    assert names(found) == ["a"]
    plane.store.delete(Key("pod", "default", "a"))
    plane.settle()
    assert [s.endpoints for s in slices(plane)] == [()]
    plane.store.delete(Key("service", "default", "web"))
    plane.settle()
    assert slices(plane) == []


def test_at_most_a_hundred_and_endpoints_stay_in_their_slice(plane: Plane) -> None:
    plane.apply(service(WEB))
    plane.apply(
        "{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {replicas: 250, selector: {matchLabels: "
        "{app: web}}, template: {metadata: {labels: {app: web}}, spec: {containers: [{name: c}]}}}}"
    )
    assert [len(s.endpoints) for s in slices(plane)] == [100, 100, 50]
    first, second, third = slices(plane)
    gone = first.endpoints[7].target_ref
    assert gone is not None
    plane.store.delete(Key("pod", "default", gone.name))
    plane.settle()
    assert [s.name for s in slices(plane)] == [first.name, second.name, third.name]
    assert slices(plane)[1:] == [second, third]
    assert slices(plane)[0].endpoints[:7] == first.endpoints[:7]
    assert slices(plane)[0].endpoints[7:99] == first.endpoints[8:]
    scale(plane.store, Key("deployment", "default", "web"), 40)
    plane.settle()
    assert sum(len(s.endpoints) for s in slices(plane)) == 40


@pytest.mark.parametrize("spec", ["ports: [{port: 80}]", "type: ExternalName, externalName: a.example"])
def test_no_slices_without_a_selector(plane: Plane, spec: str) -> None:
    plane.apply(service(spec) + pod("a"))
    assert slices(plane) == []


def test_becoming_an_external_name_takes_the_slices(plane: Plane) -> None:
    plane.apply(service(WEB) + pod("a"))
    plane.apply(service("type: ExternalName, externalName: a.example, selector: {app: web}"))
    assert slices(plane) == []


ENDPOINTS = """\
apiVersion: v1
kind: Endpoints
metadata: {name: web, labels: {team: a}}
subsets:
- addresses: [{ip: 192.0.2.1}, {ip: 192.0.2.2, nodeName: n1}]
  notReadyAddresses: [{ip: 192.0.2.3}]
  ports: [{port: 8080}]
- addresses: [{ip: "2001:db8::1"}]
  ports: [{port: 8080}]
"""


def test_endpoints_are_mirrored(plane: Plane) -> None:
    plane.apply(service("ports: [{port: 80}]") + "---\n" + ENDPOINTS)
    four, six = slices(plane)
    assert [(e.addresses[0], e.conditions.ready, e.node_name) for e in four.endpoints] == [
        ("192.0.2.1", True, None),
        ("192.0.2.2", True, "n1"),
        ("192.0.2.3", False, None),
    ]
    assert [(p.name, p.port) for p in four.ports] == [("", 8080)]
    assert (four.address_type, six.address_type) == ("IPv4", "IPv6")
    assert four.metadata.labels[MANAGED_BY] == "endpointslicemirroring-controller.k8s.io"
    assert four.metadata.labels["team"] == "a"
    plane.store.delete(Key("endpoints", "default", "web"))
    plane.settle()
    assert slices(plane) == []


@pytest.mark.parametrize(
    "text",
    [
        ENDPOINTS,
        service("selector: {app: x}, ports: [{port: 80}]", name="web") + "---\n" + ENDPOINTS,
        service("ports: [{port: 80}]")
        + "---\n"
        + ENDPOINTS.replace("team: a", 'endpointslice.kubernetes.io/skip-mirror: "true"'),
    ],
)
def test_endpoints_that_are_not_mirrored(plane: Plane, text: str) -> None:
    plane.apply(text)
    assert [e for s in slices(plane) for e in s.endpoints] == []


def test_a_users_own_slice_is_left_alone(plane: Plane) -> None:
    mine = (
        "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4, metadata: {name: mine, labels: "
        "{kubernetes.io/service-name: web}}, endpoints: [{addresses: [192.0.2.1]}], ports: [{port: 80}]}"
    )
    plane.apply(service("ports: [{port: 80}]") + "---\n" + mine)
    assert [s.name for s in slices(plane)] == ["mine"]
    assert plane.store.list(Service)[0].spec.cluster_ip
