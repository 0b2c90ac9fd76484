"""DNS in a whole cluster: CoreDNS behind kube-dns, names as targets, what a look-up leaves in a flow, and tshark's word."""

from __future__ import annotations

from pathlib import Path

import pytest

from emu.cli.inputs import qualified
from emu.clock import SECOND
from emu.errors import InputError
from emu.kube.api.core import Service
from emu.kube.api.loader import load_text
from emu.kube.cluster import Cluster, ClusterConfig
from emu.kube.dns.zone import DnsConfig
from emu.kube.flow.ends import by_name
from emu.report.flows import flow_data
from emu.report.trace import trace
from emu.scenario.run import Run, run
from emu.scenario.script import load
from emu.scenario.script import load_text as load_scenario
from tshark import Tshark

SCENARIO = Path(__file__).parents[2] / "data" / "dns.yaml"
CLIENT = "{apiVersion: v1, kind: Pod, metadata: {name: client}, spec: {nodeName: node-1, containers: [{name: c}]}}\n"
WEB = """\
{apiVersion: v1, kind: Pod, metadata: {name: web, labels: {app: web}}, spec: {nodeName: node-2, containers: [{name: c, ports: [{containerPort: 80}]}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {selector: {app: web}, ports: [{port: 80}]}}
"""
OWN_COREDNS = """\
apiVersion: v1
kind: Pod
metadata: {name: names, namespace: kube-system, labels: {app: names}, annotations: {emu/app: "dns@5353/udp, dns@5353"}}
spec: {nodeName: node-2, containers: [{name: c}]}
---
apiVersion: v1
kind: Service
metadata: {name: kube-dns, namespace: kube-system}
spec: {clusterIP: 10.96.0.53, selector: {app: names}, ports: [{name: u, port: 53, protocol: UDP, targetPort: 5353}, {name: t, port: 53, targetPort: 5353}]}
"""


def cluster(*texts: str, dns: DnsConfig | None = None, **rest: object) -> Cluster:
    objects = load_text("---\n".join((CLIENT, *texts))).objects
    return Cluster(ClusterConfig.of(2, dns=dns, **rest), objects)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run(load(SCENARIO), tmp_path_factory.mktemp("captures"))


def test_the_scenario_holds(story: Run) -> None:
    assert story.failures == []
    assert story.invariants[0].judged == 2  # the StatefulSet's pods were reached without NAT


def test_a_look_up_belongs_to_the_flow(story: Run) -> None:
    flow = story.steps[1].flows[0].flow
    assert flow.resolved is not None
    assert [str(each) for each in flow.resolved.asked] == [
        "A web.default.default.svc.cluster.local. @10.96.0.10: NXDOMAIN",
        "AAAA web.default.default.svc.cluster.local. @10.96.0.10: NXDOMAIN",
        f"A web.default.svc.cluster.local. @10.96.0.10: {flow.resolved.addresses[0]}",
        "AAAA web.default.svc.cluster.local. @10.96.0.10: NODATA",
    ]
    assert str(flow.target) == f"{flow.resolved.addresses[0]}:80"
    assert flow.target.name == "http://web.default:80"
    assert 0 < flow.look_up_frames < len(flow.frames)
    own = [frame for frame in flow.frames if frame.hop > flow.look_up_frames]
    assert not any(frame.packet().haslayer("DNS") for frame in own)
    assert flow.dnat.startswith(f"{flow.resolved.addresses[0]}:80 -> 10.244.")


def test_what_tshark_reads(story: Run, tshark: Tshark) -> None:
    """A look-up of eight questions, on the client's own interface."""
    assert story.folder is not None
    path = story.folder / "07-a-name-of-the-outside.client.pcapng"
    names = [f"www.example.com.{each}" for each in ("default.svc.cluster.local", "svc.cluster.local", "cluster.local")]
    fields = (
        "dns.flags.response",
        "dns.qry.name",
        "dns.qry.type",
        "dns.flags.rcode",
        "dns.a",
        "dns.flags.authoritative",
    )
    seen = [tuple((frame[field] or ("",))[0] for field in fields) for frame in tshark.read(path, *fields, where="dns")]
    rows = []
    for name in names:
        rows += [("0", name, kind, "", "", "") for kind in ("1", "28")]
        rows += [("1", name, kind, "3", "", "1") for kind in ("1", "28")]
    name = "www.example.com"
    rows += [("0", name, kind, "", "", "") for kind in ("1", "28")]
    rows += [("1", name, "1", "0", "203.0.113.10", "0"), ("1", name, "28", "0", "", "0")]
    assert sorted(seen) == sorted(tuple({"True": "1", "False": "0"}.get(value, value) for value in row) for row in rows)
    ports = {name: set[str]() for name in (*names, name)}
    for frame in tshark.read(path, "dns.qry.name", "udp.srcport", where="dns.flags.response == 0"):
        ports[frame["dns.qry.name"][0]].add(frame["udp.srcport"][0])
    assert [len(each) for each in ports.values()] == [1] * 4  # A and AAAA by one port
    assert len(set.union(*ports.values())) == 4  # and a port for each name


def test_tshark_finds_nothing_wrong(story: Run, tshark: Tshark) -> None:
    assert story.folder is not None
    assert tshark.problems(story.folder / "all.pcapng") == []


def test_the_same_seed_asks_the_same_questions(story: Run, tmp_path: Path) -> None:
    again = run(load(SCENARIO), tmp_path)
    assert story.folder is not None and again.folder is not None
    assert (again.folder / "all.pcapng").read_bytes() == (story.folder / "all.pcapng").read_bytes()


def test_reports_show_what_was_looked_up(story: Run) -> None:
    data = [flow_data(each) for each in story.flows]
    assert data[4]["resolved"]["error"] == "NXDOMAIN"
    assert data[5]["resolved"]["canonical"] == "www.example.com."
    assert data[5]["resolved"]["addresses"] == ["203.0.113.10"]


def test_a_trace_begins_after_the_look_up(story: Run) -> None:
    traced = trace(story.cluster, "pod/client", "http://web", detail="minimal")
    assert traced.report.data["resolved"]["asked"] == [
        f"A web.default.svc.cluster.local. @10.96.0.10: {traced.report.data['resolved']['addresses'][0]}",
        "AAAA web.default.svc.cluster.local. @10.96.0.10: NODATA",
    ]
    there = traced.report.text.partition("there:\n")[2].partition("back:")[0].splitlines()
    assert "default/client/eth0" in there[0] and "TCP" in there[0]
    lost = trace(story.cluster, "pod/client", "name:wob", detail="minimal")
    assert (lost.report.data["protocol"], lost.flow.outcome.detail) == ("icmp", "NXDOMAIN")
    assert "nothing was sent" in lost.report.text


@pytest.mark.parametrize("text", ["http://web", "name:web:80"])
def test_names_need_no_namespace_of_the_command_line(text: str) -> None:
    assert qualified(text, "shop") == text


# -- clusters --------------------------------------------------------------------------------------


def test_a_cluster_without_dns_is_as_it_was() -> None:
    made = cluster(WEB)
    assert not any("dns" in name for name in made.pods)
    assert made.udp("pod/client", "external:53", b"ping").received == b"ping"


def test_without_dns_a_name_takes_its_time_and_fails() -> None:
    """No Service has the kubelets' 10.96.0.10: the first router answers with errors, up to its rate limit."""
    flow = cluster(WEB).tcp("pod/client", "http://web")
    assert str(flow.outcome) == "error (ETIMEDOUT) at underlay/port1"
    assert 10 <= (flow.ended_ns - flow.started_ns) / SECOND <= 20


def test_coredns_is_kubeadms() -> None:
    made = cluster(dns=DnsConfig(), service_subnet="10.112.0.0/16")
    service = made.store.get(Service, "kube-system", "kube-dns")
    assert service is not None and service.spec.cluster_ip == "10.112.0.10"
    assert sum(name.startswith("kube-system/coredns-") for name in made.pods) == 2
    assert made.warnings == []
    assert made.resolve_name("pod/client", "kube-dns.kube-system").resolved is not None
    assert made.udp("pod/client", "svc/kube-dns.kube-system:53", b"who?", timeout_s=1).outcome.word == "timeout"


def test_a_users_own_coredns() -> None:
    made = cluster(WEB, OWN_COREDNS)
    assert made.dns.resolv_conf("default/client").nameservers == ("10.96.0.53",)
    assert made.tcp("pod/client", "http://web", b"hello").at == "default/web"
    flow = made.resolve_name("pod/client", "www.example.com.")
    assert flow.outcome.detail == "REFUSED"  # it has no upstream


def test_a_users_kube_dns_beside_the_built_in_one() -> None:
    made = cluster(WEB, OWN_COREDNS, dns=DnsConfig())
    assert made.dns.cluster_dns == "10.96.0.53"
    assert made.resolve_name("pod/client", "web").delivered


def test_long_answers_go_over_tcp_to_the_service() -> None:
    many = """\
{apiVersion: apps/v1, kind: Deployment, metadata: {name: many}, spec: {replicas: 40, selector: {matchLabels: {app: many}}, template: {metadata: {labels: {app: many}}, spec: {containers: [{name: c}]}}}}
---
{apiVersion: v1, kind: Service, metadata: {name: many}, spec: {clusterIP: None, selector: {app: many}, ports: [{port: 80}]}}
"""
    flow = cluster(many, dns=DnsConfig()).resolve_name("pod/client", "many")
    assert flow.resolved is not None and len(set(flow.resolved.addresses)) == 40
    assert "TC" in [each.result for each in flow.resolved.asked]
    assert any(packet.haslayer("TCP") for packet in flow.packets)


def test_changes_are_known_at_once() -> None:
    made = cluster(dns=DnsConfig())
    assert made.resolve_name("pod/client", "web").outcome.detail == "NXDOMAIN"
    for each in load_text(WEB).objects:
        made.apply(each)
    assert made.resolve_name("pod/client", "web").delivered
    made.delete("service", "default", "web")
    assert made.resolve_name("pod/client", "web").outcome.detail == "NXDOMAIN"


def test_another_domain() -> None:
    made = cluster(WEB, dns=DnsConfig(domain="k8s.example"))
    flow = made.resolve_name("pod/client", "web")
    assert flow.resolved is not None and flow.resolved.canonical == "web.default.svc.k8s.example."


@pytest.mark.parametrize(
    ("source", "name", "address"),
    [
        ("pod/client", "localhost", "127.0.0.1"),
        ("pod/client", "client", "10.244.1."),
        ("node/node-1", "localhost", "127.0.0.1"),
    ],
)
def test_the_hosts_file_comes_first(source: str, name: str, address: str) -> None:
    flow = cluster(dns=DnsConfig()).resolve_name(source, name)
    assert flow.resolved is not None and flow.resolved.addresses[0].startswith(address)
    assert flow.resolved.asked == () and flow.frames == []


def test_any_type() -> None:
    flow = cluster(dns=DnsConfig()).resolve_name(
        "pod/client", "_dns._udp.kube-dns.kube-system.svc.cluster.local", "SRV"
    )
    assert flow.resolved is not None
    assert flow.resolved.records[0].data == "0 100 53 kube-dns.kube-system.svc.cluster.local."


def test_a_drop_on_the_way_to_dns_is_reported() -> None:
    made = cluster(dns=DnsConfig())
    made.ping("pod/client", "external")  # the gateway's MAC is known
    made.link("default/client", loss=1)
    flow = made.tcp("pod/client", "http://web")
    assert str(flow.outcome) == "error (ETIMEDOUT) at default/client/eth0"
    assert (flow.ended_ns - flow.started_ns) // SECOND == 20


# -- names of targets ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("http://web.default:8080", "web.default", 8080),
        ("http://web", "web", 80),
        ("http://web/", "web", 80),
        ("https://web.", "web.", 443),
        ("name:web:53", "web", 53),
        ("name:web", "web", 0),
    ],
)
def test_names(text: str, host: str, port: int) -> None:
    found = by_name(text)
    assert found is not None and (found.host, found.port, found.addr, found.name) == (host, port, 0, text)


def test_an_address_needs_no_look_up() -> None:
    found = by_name("http://10.0.0.1:81")
    assert found is not None and (str(found), found.host) == ("10.0.0.1:81", "")


@pytest.mark.parametrize("text", ["svc/web:80", "default/web:80", "external", "10.0.0.1:80"])
def test_other_forms_are_no_names(text: str) -> None:
    assert by_name(text) is None


@pytest.mark.parametrize(
    "text",
    ["http://", "ftp://web", "http://web:0", "http://web:x", "http://a..b", "http://web/path", "name:" + "x" * 64, "name:a*b:1", "http://10.0.0.300"],
)  # fmt: skip
def test_wrong_names(text: str) -> None:
    with pytest.raises(InputError):
        by_name(text)


@pytest.mark.parametrize(
    ("head", "step", "message"),
    [
        ("", 'tcp: {from: default/client, to: "name:web"}', "has no port (expected name:web:PORT)"),
        ("", 'tcp: {from: default/client, to: "http://a..b"}', "has no DNS name"),
        ("", 'tcp: {from: "name:web", to: "http://web"}', "steps[0].tcp.from"),
        ("cluster: {dns: yess}\n", "wait: 1", "cluster.dns"),
        ("cluster: {dns: {upstream: {a.b: 10.0.0.300}}}\n", "wait: 1", "10.0.0.300"),
    ],
)
def test_mistakes_in_scenarios(head: str, step: str, message: str) -> None:
    with pytest.raises(InputError) as wrong:
        run(load_scenario(f"apiVersion: emu/v1\nkind: Scenario\n{head}steps:\n- {step}\n---\n{CLIENT}"))
    assert message in str(wrong.value) and str(wrong.value).startswith("scenario.yaml:")
