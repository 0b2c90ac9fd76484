"""Ports as manifests declare them, or do not: several names for one, native sidecars, targetPorts and probes that no container declares,
and external IPs that a host has as its own."""

from __future__ import annotations

import pytest

from emu.kube.api.core import Pod
from emu.kube.api.loader import load_text
from emu.kube.cluster import Cluster
from emu.scenario.lint import without_endpoints

CLIENT = (
    "{apiVersion: v1, kind: Pod, metadata: {name: client}, spec: {nodeName: node-1, containers: [{name: c}]}}\n---\n"
)


def pod(spec: str) -> str:
    return f"{{apiVersion: v1, kind: Pod, metadata: {{name: web, labels: {{app: web}}}}, spec: {{nodeName: node-2, {spec}}}}}\n---\n"


def service(ports: str, more: str = "") -> str:
    return f"{{apiVersion: v1, kind: Service, metadata: {{name: web}}, spec: {{selector: {{app: web}}, ports: [{ports}]{more}}}}}"


def cluster(*texts: str, nodes: int = 2) -> Cluster:
    return Cluster(nodes, load_text(CLIENT + "".join(texts)).objects)


def test_two_names_for_one_port_are_one_socket() -> None:
    named = "{name: http, containerPort: 80}, {name: https, containerPort: 80}, {name: udp, containerPort: 80, protocol: UDP}"
    ports = "{name: a, port: 80, targetPort: http}, {name: b, port: 443, targetPort: https}"
    running = cluster(pod(f"containers: [{{name: c, ports: [{named}]}}]"), service(ports))
    assert running.warnings == []
    for port in (80, 443):
        assert running.tcp("default/client", f"svc/web:{port}").outcome.word == "delivered"
    assert running.udp("default/client", "default/web:80").outcome.word == "delivered"


def test_two_containers_with_one_port_still_collide() -> None:
    """They share the pod's namespace, and each is taken to listen."""
    two = "{name: a, ports: [{containerPort: 80}]}, {name: b, ports: [{containerPort: 80}]}"
    [warning] = cluster(pod(f"containers: [{two}]")).warnings
    assert warning == "pod default/web: container 'b' cannot listen on 80/TCP: EADDRINUSE"


@pytest.mark.parametrize(("restart", "word"), [("restartPolicy: Always, ", "delivered"), ("", "refused")])
def test_a_native_sidecar_listens_and_an_init_container_has_ended(restart: str, word: str) -> None:
    spec = (
        f"initContainers: [{{name: proxy, {restart}ports: [{{name: stats, containerPort: 15090}}]}}], "
        "containers: [{name: web, ports: [{containerPort: 8080}]}]"
    )
    running = cluster(pod(spec))
    assert running.tcp("default/client", "default/web:15090").outcome.word == word
    assert running.tcp("default/client", "default/web:8080").outcome.word == "delivered"
    assert [each.name for each in running.pod("default/web").containers] == (["proxy", "web"] if restart else ["web"])


def test_a_service_finds_a_sidecars_port_by_its_name() -> None:
    sidecar = "{name: proxy, restartPolicy: Always, ports: [{name: stats, containerPort: 15090}]}"
    running = cluster(
        pod(f"initContainers: [{sidecar}], containers: [{{name: web}}]"), service("{port: 90, targetPort: stats}")
    )
    assert running.tcp("default/client", "svc/web:90").outcome.word == "delivered"


def test_an_app_of_a_sidecar() -> None:
    """The annotation chooses the app of a declared port, wherever it is declared."""
    text = pod(
        "initContainers: [{name: p, restartPolicy: Always, ports: [{containerPort: 81}]}], containers: [{name: web}]"
    )
    running = cluster(text.replace("labels:", 'annotations: {emu/app: "http@81,echo@9"}, labels:'))
    assert {each.name: len(each.apps) for each in running.pod("default/web").containers} == {"p": 1, "web": 1}
    assert running.tcp("default/client", "default/web:81", b"GET / HTTP/1.0\r\n\r\n").received.startswith(b"HTTP/1.")
    assert running.tcp("default/client", "default/web:9", b"hello").received == b"hello"


@pytest.mark.parametrize("address", ["203.0.113.10", "10.244.1.2", "192.168.52.12", "192.168.51.1"])
def test_an_external_ip_that_a_host_has_is_not_routed_elsewhere(address: str) -> None:
    """Nodes and pods are caught by kube-proxy's rules, the way of all others stays."""
    web = pod("containers: [{name: c, ports: [{containerPort: 80}]}]")
    running = cluster(web, service("{port: 80}", f", externalIPs: [{address}, 203.0.113.53]"))
    plain = cluster(web)
    routes, before = ({each.text() for each in each.underlay.router.ipv4.fib.main} for each in (running, plain))
    assert routes - before == {"203.0.113.53 via 192.168.51.11 dev port1"}
    assert running.ping("default/client", "external").outcome.word == "delivered"
    assert {netns for netns, _ in running.tcp("node/node-1", f"{address}:80").arrivals} >= {"default/web"}


# The ports of a container, those of a Service, and the answer at its port 80
UNDECLARED = {
    "no port at all": ("", "{port: 80, targetPort: 3000}", "delivered"),
    "no port of the protocol": ("{containerPort: 80, protocol: UDP}", "{port: 80, targetPort: 3000}", "delivered"),
    "the number twice": ("{containerPort: 16686}", "{port: 80, targetPort: 80}", "delivered"),
    "beside a port that is declared": ("{containerPort: 8080}", "{name: a, port: 80}, {name: b, port: 81, targetPort: 8080}", "delivered"),
    "beside a name that is declared": ("{containerPort: 8080, name: web}", "{name: a, port: 80}, {name: b, port: 81, targetPort: web}", "delivered"),
    "another number beside a port that is declared": (
        "{containerPort: 8080}", "{name: a, port: 80, targetPort: 8081}, {name: b, port: 81, targetPort: 8080}", "refused",
    ),
    "another number": ("{containerPort: 8080}", "{port: 80, targetPort: 8081}", "refused"),
    "targetPort forgotten": ("{containerPort: 8080}", "{port: 80}", "refused"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNDECLARED)
def test_a_target_port_that_is_not_declared_listens_unless_it_looks_like_a_mistake(name: str) -> None:
    ports, mapped, word = UNDECLARED[name]
    loaded = load_text(CLIENT + pod(f"containers: [{{name: c, ports: [{ports}]}}]") + service(mapped))
    running = Cluster(2, loaded.objects)
    assert running.tcp("default/client", "svc/web:80").outcome.word == word
    [note] = without_endpoints(loaded)
    assert str(note).endswith("it is taken to listen" if word == "delivered" else "it will refuse")


def test_the_port_of_a_probe_listens() -> None:
    probes = "readinessProbe: {httpGet: {port: 8086}}, livenessProbe: {tcpSocket: {port: admin}}, ports: [{name: admin, containerPort: 9901}]"
    running = cluster(pod(f"containers: [{{name: c, {probes}}}]"))
    words = {port: running.tcp("default/client", f"default/web:{port}").outcome.word for port in (8086, 9901, 8087)}
    assert words == {8086: "delivered", 9901: "delivered", 8087: "refused"}
    assert running.warnings == []


def test_a_service_that_comes_later_opens_its_target_port() -> None:
    running = cluster(pod("containers: [{name: c}]"))
    assert running.tcp("default/client", "default/web:3000").outcome.word == "refused"
    running.apply(load_text(service("{port: 80, targetPort: 3000}")).objects)
    running.wait(5)
    assert running.tcp("default/client", "svc/web:80").outcome.word == "delivered"


def test_what_an_annotation_states_of_a_port_counts_more() -> None:
    text = pod("containers: [{name: c}]").replace("labels:", 'annotations: {emu/app: "http@3000"}, labels:')
    loaded = load_text(CLIENT + text + service("{port: 80, targetPort: 3000}"))
    assert without_endpoints(loaded) == []
    running = Cluster(2, loaded.objects)
    assert running.tcp("default/client", "svc/web:80", b"GET / HTTP/1.0\r\n\r\n").received.startswith(b"HTTP/1.")


def test_two_pods_of_the_nodes_network_with_one_probed_port_stay_ready() -> None:
    one = "{apiVersion: v1, kind: Pod, metadata: {name: %s}, spec: {nodeName: node-2, hostNetwork: true, containers: [{name: c, livenessProbe: {tcpSocket: {port: 9099}}}]}}\n---\n"
    running = cluster(one % "a", one % "b")
    assert running.warnings == []
    assert all(each.ready for each in running.store.list(Pod))


def test_the_pods_of_kube_dns_answer_as_coredns_where_one_brings_them_along() -> None:
    dns = (
        "{apiVersion: v1, kind: Pod, metadata: {name: names, namespace: kube-system, labels: {app: names}}, spec: "
        "{containers: [{name: c, ports: [{name: dns, containerPort: 8053, protocol: UDP}, {name: dns-tcp, containerPort: 8053}]}]}}\n---\n"
        "{apiVersion: v1, kind: Service, metadata: {name: kube-dns, namespace: kube-system}, spec: {clusterIP: 10.96.0.10, selector: {app: names}, "
        "ports: [{name: dns, port: 53, protocol: UDP, targetPort: dns}, {name: dns-tcp, port: 53, targetPort: dns-tcp}]}}\n---\n"
    )
    running = cluster(dns, pod("containers: [{name: c, ports: [{containerPort: 80}]}]"), service("{port: 80}"))
    assert running.tcp("default/client", "name:web:80").outcome.word == "delivered"
