"""What CoreDNS's kubernetes plugin answers: a table of questions to one zone of every kind of Service."""

from __future__ import annotations

import pytest

from emu.errors import InputError
from emu.kube.api.core import Service
from emu.kube.api.discovery import EndpointSlice
from emu.kube.api.loader import load_text
from emu.kube.dns.zone import Directory, DnsConfig, Zone, manifests, outside
from emu.kube.store import Store
from emu.wire.dns import Answer, Question, Record

OBJECTS = """
{apiVersion: v1, kind: Namespace, metadata: {name: empty}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  clusterIP: 10.96.1.1
  ports: [{name: http, port: 80}, {name: https, port: 443}, {name: dns, port: 53, protocol: UDP}]
---
{apiVersion: v1, kind: Service, metadata: {name: kube-dns, namespace: kube-system}, spec: {clusterIP: 10.96.0.10, ports: [{name: dns, port: 53, protocol: UDP}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: db, namespace: data}, spec: {clusterIP: None, ports: [{name: sql, port: 5432}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: waiting, namespace: data}, spec: {clusterIP: None, ports: [{port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: portless, namespace: data}, spec: {clusterIP: None}}
---
{apiVersion: v1, kind: Service, metadata: {name: away}, spec: {type: ExternalName, externalName: www.example.com}}
---
{apiVersion: v1, kind: Service, metadata: {name: alias}, spec: {type: ExternalName, externalName: web.default.svc.cluster.local}}
---
{apiVersion: v1, kind: Service, metadata: {name: twice}, spec: {type: ExternalName, externalName: away.default.svc.cluster.local}}
---
{apiVersion: v1, kind: Service, metadata: {name: dangling}, spec: {type: ExternalName, externalName: none.default.svc.cluster.local}}
---
{apiVersion: v1, kind: Service, metadata: {name: one}, spec: {type: ExternalName, externalName: other.default.svc.cluster.local}}
---
{apiVersion: v1, kind: Service, metadata: {name: other}, spec: {type: ExternalName, externalName: one.default.svc.cluster.local}}
---
{apiVersion: v1, kind: Service, metadata: {name: number}, spec: {type: ExternalName, externalName: 10.1.2.3}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
endpoints: [{addresses: [10.244.1.2]}]
ports: [{name: http, port: 8080}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: db-1, namespace: data, labels: {kubernetes.io/service-name: db}}
addressType: IPv4
endpoints:
- {addresses: [10.244.1.5], hostname: db-0, conditions: {ready: true}}
- {addresses: [10.244.2.5], hostname: db-1}
- {addresses: [10.244.2.6]}
- {addresses: [10.244.2.7], hostname: db-2, conditions: {ready: false}}
ports: [{name: sql, port: 5432}, {name: metrics, port: 9187}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: waiting-1, namespace: data, labels: {kubernetes.io/service-name: waiting}}
addressType: IPv4
endpoints: [{addresses: [10.244.2.8], conditions: {ready: false}}]
ports: [{port: 80}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: portless-1, namespace: data, labels: {kubernetes.io/service-name: portless}}
addressType: IPv4
endpoints: [{addresses: [10.244.2.9]}]
"""
SOA = "SOA 30 ns.dns.cluster.local. hostmaster.cluster.local. 7 7200 1800 86400 30"
DB = ("10.244.1.5", "10.244.2.5", "10.244.2.6")
DB_NAMES = ("db-0", "db-1", "10-244-2-6")


@pytest.fixture(scope="module")
def zone() -> Zone:
    objects = load_text(OBJECTS).objects
    services = [each for each in objects if isinstance(each, Service)]
    slices = [each for each in objects if isinstance(each, EndpointSlice)]
    return Zone(services, slices, {each.metadata.namespace for each in services} | {"empty"}, serial=7)


def shown(records: tuple[Record, ...]) -> list[str]:
    return [f"{each.kind} {each.ttl} {each.data}" for each in records]


def ask(zone: Zone, name: str, kind: str) -> Answer:
    answer = zone.answer(Question(name, kind))
    assert answer is not None
    return answer


FOUND: dict[tuple[str, str], list[str]] = {
    ("web.default.svc.cluster.local.", "A"): ["A 30 10.96.1.1"],
    ("WEB.Default.svc.cluster.LOCAL.", "A"): ["A 30 10.96.1.1"],
    ("_http._tcp.web.default.svc.cluster.local.", "A"): ["A 30 10.96.1.1"],
    ("10-244-1-2.web.default.svc.cluster.local.", "A"): ["A 30 10.244.1.2"],
    ("db.data.svc.cluster.local.", "A"): [f"A 30 {ip}" for ip in DB],
    ("db-0.db.data.svc.cluster.local.", "A"): ["A 30 10.244.1.5"],
    ("10-244-2-6.db.data.svc.cluster.local.", "A"): ["A 30 10.244.2.6"],
    ("portless.data.svc.cluster.local.", "A"): ["A 30 10.244.2.9"],
    ("10-1-2-3.default.pod.cluster.local.", "A"): ["A 30 10.1.2.3"],
    ("--1.default.pod.cluster.local.", "AAAA"): ["AAAA 30 ::1"],
    ("ns.dns.cluster.local.", "A"): ["A 30 10.96.0.10"],
    # a port of a Service, every port, and of a headless one each endpoint by each port
    ("_http._tcp.web.default.svc.cluster.local.", "SRV"): ["SRV 30 0 100 80 web.default.svc.cluster.local."],
    ("http.tcp.web.default.svc.cluster.local.", "SRV"): ["SRV 30 0 100 80 web.default.svc.cluster.local."],
    ("web.default.svc.cluster.local.", "SRV"): [
        f"SRV 30 0 33 {port} web.default.svc.cluster.local." for port in (80, 443, 53)
    ],
    ("_sql._tcp.db.data.svc.cluster.local.", "SRV"): [
        f"SRV 30 0 33 5432 {host}.db.data.svc.cluster.local." for host in DB_NAMES
    ],
    ("db.data.svc.cluster.local.", "SRV"): [
        f"SRV 30 0 16 {port} {host}.db.data.svc.cluster.local." for host in DB_NAMES for port in (5432, 9187)
    ],
    ("1.1.96.10.in-addr.arpa.", "PTR"): ["PTR 30 web.default.svc.cluster.local."],
    ("5.1.244.10.in-addr.arpa.", "PTR"): ["PTR 30 db-0.db.data.svc.cluster.local."],
    ("2.1.244.10.in-addr.arpa.", "PTR"): ["PTR 30 10-244-1-2.web.default.svc.cluster.local."],
    ("away.default.svc.cluster.local.", "CNAME"): ["CNAME 30 www.example.com."],
    ("alias.default.svc.cluster.local.", "A"): ["CNAME 30 web.default.svc.cluster.local.", "A 30 10.96.1.1"],
    ("dns-version.cluster.local.", "TXT"): ["TXT 28800 1.1.0"],
    ("cluster.local.", "SOA"): [SOA],
    ("cluster.local.", "NS"): ["NS 30 kube-dns.kube-system.svc.cluster.local."],
}
NO_DATA = (
    ("web.default.svc.cluster.local.", "AAAA"),
    ("web.default.svc.cluster.local.", "TXT"),
    ("web.default.svc.cluster.local.", "CNAME"),
    ("web.default.svc.cluster.local.", "PTR"),
    ("db.data.svc.cluster.local.", "AAAA"),
    ("portless.data.svc.cluster.local.", "SRV"),
    ("away.default.svc.cluster.local.", "SRV"),
    ("dangling.default.svc.cluster.local.", "A"),
    ("one.default.svc.cluster.local.", "A"),
    ("alias.default.svc.cluster.local.", "AAAA"),
    ("default.svc.cluster.local.", "A"),
    ("empty.svc.cluster.local.", "A"),
    ("default.pod.cluster.local.", "A"),
    ("svc.cluster.local.", "A"),
    ("pod.cluster.local.", "SRV"),
    ("cluster.local.", "A"),
    ("10-1-2-3.default.pod.cluster.local.", "AAAA"),
)
NO_NAME = (
    ("nope.default.svc.cluster.local.", "A"),
    ("nope.default.svc.cluster.local.", "TXT"),
    ("web.nowhere.svc.cluster.local.", "A"),
    ("nowhere.svc.cluster.local.", "A"),
    ("web.default.cluster.local.", "A"),
    ("default.cluster.local.", "A"),
    ("nope.cluster.local.", "AAAA"),
    ("waiting.data.svc.cluster.local.", "A"),
    ("db-2.db.data.svc.cluster.local.", "A"),
    ("web.db.data.svc.cluster.local.", "A"),
    ("_ftp._tcp.web.default.svc.cluster.local.", "SRV"),
    ("_http._udp.web.default.svc.cluster.local.", "SRV"),
    ("a._http._tcp.web.default.svc.cluster.local.", "SRV"),
    ("x.away.default.svc.cluster.local.", "A"),
    ("number.default.svc.cluster.local.", "A"),
    ("web-1.default.pod.cluster.local.", "A"),
    ("10-1-2-3.nowhere.pod.cluster.local.", "A"),
    ("dns-version.cluster.local.", "A"),
)
OTHERS = (
    ("www.example.com.", "A"),
    ("notcluster.local.", "A"),
    ("local.", "SOA"),
    ("7.2.244.10.in-addr.arpa.", "PTR"),  # an endpoint that is not ready
    ("1.1.1.1.in-addr.arpa.", "PTR"),
    ("10.in-addr.arpa.", "PTR"),
    ("1.1.96.10.in-addr.arpa.", "A"),
)


@pytest.mark.parametrize(("name", "kind"), FOUND)
def test_what_is_there(zone: Zone, name: str, kind: str) -> None:
    answer = ask(zone, name, kind)
    assert (answer.rcode, shown(answer.answers), answer.chase) == ("NOERROR", FOUND[name, kind], "")
    assert answer.answers[0].name == name  # in the question's own letters


@pytest.mark.parametrize(("name", "kind"), NO_DATA)
def test_names_without_such_records(zone: Zone, name: str, kind: str) -> None:
    answer = ask(zone, name, kind)
    assert (answer.rcode, answer.answers, shown(answer.authorities)) == ("NOERROR", (), [SOA])


@pytest.mark.parametrize(("name", "kind"), NO_NAME)
def test_names_that_do_not_exist(zone: Zone, name: str, kind: str) -> None:
    answer = ask(zone, name, kind)
    assert (answer.rcode, answer.answers, shown(answer.authorities)) == ("NXDOMAIN", (), [SOA])


@pytest.mark.parametrize(("name", "kind"), OTHERS)
def test_what_is_for_others_to_answer(zone: Zone, name: str, kind: str) -> None:
    assert zone.answer(Question(name, kind)) is None


@pytest.mark.parametrize("kind", ["A", "AAAA"])
@pytest.mark.parametrize(
    ("name", "steps"),
    [("away", ["www.example.com."]), ("twice", ["away.default.svc.cluster.local.", "www.example.com."])],
)
def test_an_external_name_is_completed_by_others(zone: Zone, name: str, steps: list[str], kind: str) -> None:
    answer = ask(zone, f"{name}.default.svc.cluster.local.", kind)
    assert [each.data for each in answer.answers] == steps
    assert (answer.chase, answer.authorities) == ("www.example.com.", ())


def test_targets_of_srv_bring_their_addresses(zone: Zone) -> None:
    answer = ask(zone, "_sql._tcp.db.data.svc.cluster.local.", "SRV")
    assert answer.extras == tuple(
        Record(f"{host}.db.data.svc.cluster.local.", "A", 30, ip) for host, ip in zip(DB_NAMES, DB, strict=True)
    )


def test_an_address_of_several_services_has_several_names() -> None:
    slices = [
        each
        for name in ("a", "b", "a")
        for each in load_text(
            f"{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4, ports: [{{port: 1}}],"
            f" metadata: {{name: {name}, labels: {{kubernetes.io/service-name: {name}}}}}, endpoints: [{{addresses: [10.0.0.1]}}]}}"
        ).objects
        if isinstance(each, EndpointSlice)
    ]
    answer = ask(Zone((), slices, ()), "1.0.0.10.in-addr.arpa.", "PTR")
    assert [each.data for each in answer.answers] == [f"10-0-0-1.{name}.default.svc.cluster.local." for name in "ab"]


def test_another_domain_and_ttl() -> None:
    found = [each for each in load_text(OBJECTS).objects if isinstance(each, Service)]
    zone = Zone(found, (), ("default",), domain="k8s.example", ttl_s=5)
    assert shown(ask(zone, "web.default.svc.k8s.example.", "A").answers) == ["A 5 10.96.1.1"]
    assert shown(ask(zone, "x.svc.k8s.example.", "A").authorities)[0].startswith("SOA 5 ns.dns.k8s.example.")
    assert zone.answer(Question("web.default.svc.cluster.local.", "A")) is None


def test_the_directory_follows_its_store() -> None:
    store = Store()
    directory = Directory(store, DnsConfig())
    asked = Question("web.default.svc.cluster.local.", "A")
    before = directory.answer(asked)
    assert before is not None and before.rcode == "NXDOMAIN"
    for each in load_text(OBJECTS).objects:
        store.apply(each)
    after = directory.answer(asked)
    assert after is not None and shown(after.answers) == ["A 30 10.96.1.1"]
    assert directory.zone() is directory.zone()


def test_the_manifests_are_kubeadms() -> None:
    service, deployment = manifests("10.112.0.10")
    assert isinstance(service, Service)
    assert (str(service.key), service.spec.cluster_ip) == ("service/kube-system/kube-dns", "10.112.0.10")
    assert [(p.name, p.port, p.protocol) for p in service.spec.ports] == [
        ("dns", 53, "UDP"), ("dns-tcp", 53, "TCP"), ("metrics", 9153, "TCP"),
    ]  # fmt: skip
    assert str(deployment.key) == "deployment/kube-system/coredns"


UPSTREAM: dict[str, str | tuple[str, ...]] = {
    "www.example.com": "web.example.net",
    "web.example.net": ("203.0.113.10", "203.0.113.11"),
    "loop.example": "loop.example",
}


@pytest.mark.parametrize(
    ("name", "kind", "rcode", "records"),
    [
        ("web.example.net.", "A", "NOERROR", ["A 30 203.0.113.10", "A 30 203.0.113.11"]),
        ("WWW.example.com.", "A", "NOERROR", ["CNAME 30 web.example.net.", "A 30 203.0.113.10", "A 30 203.0.113.11"]),
        ("www.example.com.", "CNAME", "NOERROR", ["CNAME 30 web.example.net."]),
        ("web.example.net.", "AAAA", "NOERROR", []),
        ("example.net.", "A", "NXDOMAIN", []),
    ],
)
def test_the_outside_knows_a_table(name: str, kind: str, rcode: str, records: list[str]) -> None:
    answer = outside(DnsConfig(upstream=UPSTREAM))(Question(name, kind))
    assert answer is not None
    assert (answer.rcode, shown(answer.answers), answer.authoritative) == (rcode, records, False)


def test_a_loop_outside_ends() -> None:
    answer = outside(DnsConfig(upstream=UPSTREAM))(Question("loop.example.", "A"))
    assert answer is not None and {each.kind for each in answer.answers} == {"CNAME"}


@pytest.mark.parametrize("wrong", ["10.0.0.300", "", ("one.example", "two.example")])
def test_a_wrong_table(wrong: str | tuple[str, ...]) -> None:
    with pytest.raises(InputError):
        outside(DnsConfig(upstream={"x.example": wrong}))
