"""A node's dump takes over: what is read, what is joined, what stays, and where the words of a difference come from."""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from emu.cli.commands import app
from emu.errors import InputError
from emu.kernel.net import link_change
from emu.kube.cluster import Cluster, ClusterConfig
from emu.kube.dumped import IDS
from emu.pasted.fdb_text import FdbLine, fdb
from emu.pasted.node_texts import FILES, NodeTexts, Text, by_node, node_texts
from emu.pasted.sysctl_text import sysctls
from emu.report import views
from emu.scenario.run import run
from emu.scenario.script import load
from emu.wire.addr import ip4, mac
from exports import Shape, export
from node_dumps_made import dump_of, write

PODS = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template: {metadata: {labels: {app: web}}, spec: {containers: [{name: web, ports: [{containerPort: 80}]}]}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Pod
metadata: {name: client}
spec: {containers: [{name: c}]}
"""


def texts(made: Mapping[str, str], source: str = "dump") -> NodeTexts:
    return NodeTexts(source, {name: Text(f"{source}/{name}", text) for name, text in made.items()})


def with_dump(made: Mapping[str, str], network: str = "flannel") -> Cluster:
    return Cluster(ClusterConfig(network=network, dumps={"node-1": texts(made)}), PODS, capture=False)


# -- reading ----------------------------------------------------------------------------------------------


def test_a_folder_and_a_tar_are_read_alike(tmp_path: Path) -> None:
    folder = write(
        {"sysctl": "net.ipv4.ip_forward = 1\n", "ip-rule.txt": "0:\tfrom all lookup local\n", "README": "x"},
        tmp_path / "a",
    )
    with tarfile.open(tmp_path / "a.tgz", "w:gz") as tar:
        tar.add(folder, "node-1")
    one, other = node_texts(folder), node_texts(tmp_path / "a.tgz")
    assert {*one.texts} == {*other.texts} == {"sysctl", "ip-rule"}
    assert one.text("sysctl") == other.text("sysctl") and one.unread == other.unread == ()
    assert other.file("sysctl").endswith("a.tgz:node-1/sysctl")


def test_what_is_no_dump_is_refused(tmp_path: Path) -> None:
    (tmp_path / "iptables_save").write_text("")
    (tmp_path / "no.tar").write_text("no tar")
    both = write({"sysctl": "", "sysctl.txt": ""}, tmp_path / "both")
    cases = [
        (tmp_path, "no file of a node's dump is in it"), (tmp_path / "no.tar", "is no tar"), (tmp_path / "gone", "no such file"),
        (both, "sysctl is there twice"),
    ]  # fmt: skip
    for path, what in cases:
        with pytest.raises(InputError, match=what):
            node_texts(path)
    for words, what in ((["node-1"], "names no node's dump"), (["a=b"], "no such file")):
        with pytest.raises(InputError, match=what):
            by_node(words)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("iptables-save", "*nat\n-A PREROUTING -s 1.2.3.4.5 -j ACCEPT\nCOMMIT\n"),
        ("ipset-save", "create a\n"),
        ("ip-addr", "what?\n"),
        ("ip-route", "10.0.0.0/8 nonsense\n"),
        ("ip-rule", "from all\n"),
        ("ip-neigh", "10.0.0.1\n"),
        ("bridge-fdb", "not a mac dev eth0\n"),
        ("conntrack", "tcp ?\n"),
        ("sysctl", "net.ipv4.ip_forward 1\n"),
    ],
)
def test_a_text_that_is_none_is_refused_with_its_file(name: str, text: str) -> None:
    with pytest.raises(InputError) as error:
        with_dump({name: text})
    assert error.value.file == f"dump/{name}"


def test_a_node_that_is_not_there_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match="there is no node 'node1' to take a dump for") as error:
        Cluster(ClusterConfig(dumps={"node1": texts({"sysctl": ""})}), PODS)
    assert error.value.expected == "node-1"


def test_fdb_lines_as_text_and_as_json() -> None:
    text = "33:33:00:00:00:01 dev eth0 self permanent\n5e:11:22:33:00:00 dev flannel.1 dst 10.0.1.11 self permanent\n02:00:00:00:00:01 dev veth1 master cni0\n"
    values = [
        {"mac": "33:33:00:00:00:01", "ifname": "eth0", "flags": ["self"], "state": "permanent"},
        {
            "mac": "5e:11:22:33:00:00",
            "ifname": "flannel.1",
            "dst": "10.0.1.11",
            "flags": ["self"],
            "state": "permanent",
        },
        {"mac": "02:00:00:00:00:01", "ifname": "veth1", "flags": [], "master": "cni0", "state": ""},
    ]
    wanted = [
        FdbLine(mac("5e:11:22:33:00:00"), "flannel.1", ip4("10.0.1.11"), "", "permanent"),
        FdbLine(mac("02:00:00:00:00:01"), "veth1", 0, "cni0"),
    ]
    assert [each._replace(line=0) for each in fdb(text)] == fdb(json.dumps(values)) == wanted
    assert [each.line for each in fdb(text)] == [2, 3]


def test_sysctl_lines() -> None:
    found = sysctls("# a comment\nsysctl: permission denied\nnet.ipv4.tcp_rmem = 4096\t131072\t6291456\nkernel.x =\n")
    assert {name: each.value for name, each in found.items()} == {
        "net.ipv4.tcp_rmem": "4096\t131072\t6291456",
        "kernel.x": "",
    }


# -- taking over --------------------------------------------------------------------------------------------


def test_every_file_alone_changes_nothing_on_a_healthy_node() -> None:
    """Any subset is taken: here each file by itself, with foreign names where the file shows them."""
    made = dump_of(Cluster(ClusterConfig(network="flannel"), PODS, capture=False), "node-1")
    assert {*made} == {*FILES}
    for name, text in made.items():
        cluster = with_dump({name: text})
        assert cluster.differences == [], name
        assert cluster.tcp("default/client", "svc/web:80", b"?").delivered, name


JSON = {
    "ip-link": "interfaces",
    "ip-addr": "interfaces",
    "ip-route": "routes",
    "ip-rule": "ip-rules",
    "ip-neigh": "neigh",
}


@pytest.mark.parametrize("network", ["flannel", "calico", "aws-vpc", "kindnet"])
def test_json_is_read_as_text_is(network: str) -> None:
    healthy = Cluster(ClusterConfig(network=network), PODS, capture=False)
    made = dump_of(healthy, "node-1")
    net = healthy.node("node-1").net
    in_json = {file: json.dumps(views[view](net).data) for file, view in JSON.items()}
    assert with_dump(made, network).differences == with_dump({**made, **in_json}, network).differences == []
    broken = dict(in_json)
    broken["ip-route"] = json.dumps([each for each in json.loads(in_json["ip-route"]) if each.get("dst") != "default"])
    assert [each.kind for each in with_dump({**made, **broken}, network).differences] == ["route-missing"]


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_an_edited_dump_is_read_or_refused(data: st.DataObject) -> None:
    """Lines that are gone, cut or twice: a dump is taken, or an InputError names its file; a flow never raises."""
    file = data.draw(st.sampled_from(sorted(FILES)))
    lines = HEALTHY[file].splitlines(keepends=True)
    place = data.draw(st.integers(0, max(len(lines) - 1, 0)))
    cut = data.draw(st.integers(0, 40))
    for line in lines[place : place + data.draw(st.integers(0, 3))]:
        lines[place : place + 1] = data.draw(st.sampled_from([[], [line, line], [line[:cut] + "\n"]]))
    try:
        cluster = with_dump({**HEALTHY, file: "".join(lines)})
    except InputError as refusal:
        where = refusal.file or ""
    else:
        where = "dump/"
        assert cluster.tcp("default/client", "svc/web:80", b"?", timeout_s=2).outcome.word
        assert all(each.id in IDS and each.place.startswith("dump/") for each in cluster.differences)
    assert where.startswith("dump/")


HEALTHY = dump_of(Cluster(ClusterConfig(network="flannel"), PODS, capture=False), "node-1")


def test_what_is_dumped_stays_when_objects_change() -> None:
    made = dump_of(Cluster(ClusterConfig(network="flannel"), PODS, capture=False), "node-1")
    cluster = with_dump({"iptables-save": made["iptables-save"]})
    before = [cluster.node(name).net.ipv4.tables.save() for name in ("node-1", "node-2")]
    cluster.scale("Deployment", "default", "web", 1)
    cluster.wait(3600)
    after = [cluster.node(name).net.ipv4.tables.save() for name in ("node-1", "node-2")]
    assert before[0] == after[0] and before[1] != after[1]
    cluster.iptables("node-1", "-I FORWARD -j DROP")  # an administrator may change it
    assert "-A FORWARD -j DROP" in cluster.node("node-1").net.ipv4.tables.save()


def test_a_fork_of_a_cluster_with_dumps_is_one_of_its_own() -> None:
    made = dump_of(Cluster(ClusterConfig(network="flannel"), PODS, capture=False), "node-1")
    made["ip-neigh"] += "192.168.51.1 dev eth0 FAILED\n"
    copy = with_dump(made).fork()
    assert copy.tcp("default/client", "svc/web:80", b"?").outcome.word in ("delivered", "dropped", "timeout", "error")


def test_interfaces_of_a_foreign_dump_bear_its_names_also_in_captures() -> None:
    healthy = Cluster(ClusterConfig(network="flannel"), PODS, capture=False)
    made = dump_of(healthy, "node-1", foreign=True)
    cluster = Cluster(ClusterConfig(network="flannel", dumps={"node-1": texts(made)}), PODS)
    names = [*cluster.node("node-1").net.devices]
    assert "ens192" in names and "eth0" not in names and cluster.differences == []
    assert cluster.capture is not None
    shown = {each.device_name for each in cluster.capture.interfaces if each.owner == "node-1"}
    assert {*names} <= shown | {"lo"} and "eth0" not in shown
    cluster.iptables("node-1", "-I FORWARD -i ens192 -j DROP")
    assert not cluster.tcp("node/node-2", f"{cluster.pods['default/client'].ip}:80", b"?", timeout_s=2).delivered


def test_an_interface_that_no_object_shows_is_a_dummy_with_a_note() -> None:
    made = dump_of(Cluster(ClusterConfig(network="flannel"), PODS, capture=False), "node-1")
    made["ip-addr"] += (
        "9: docker0: <NO-CARRIER,BROADCAST,MULTICAST,UP> mtu 1500 qdisc noqueue state DOWN group default\n"
        "    link/ether 02:42:0a:00:00:01 brd ff:ff:ff:ff:ff:ff\n    inet 172.17.0.1/16 brd 172.17.255.255 scope global docker0\n"
    )
    made["ip-route"] += "172.17.0.0/16 dev docker0 proto kernel scope link src 172.17.0.1 linkdown\n"
    made["iptables-save"] = made["iptables-save"].replace(
        "-A FORWARD", "-A FORWARD -i docker0 ! -o docker0 -j ACCEPT\n-A FORWARD", 1
    )
    cluster = with_dump(made)
    assert cluster.differences == []
    assert cluster.node("node-1").net.devices["docker0"].kind == "dummy"
    assert any("docker0 is no interface that the export shows" in each for each in cluster.warnings)


def test_routes_by_a_tunnel_that_emu_has_not_stay_emus() -> None:
    """Calico in mode IPIP: emu's calico has VXLAN, and routes of the underlay where no tunnel is needed."""
    made = dump_of(Cluster(ClusterConfig(network="calico"), PODS, capture=False), "node-1")
    made["ip-route"] = re.sub(
        r"(?m)^(192\.168\.\S+|10\.244\.\S+) via (\S+) dev \S+ .*$",
        r"\1 via \2 dev tunl0 proto bird onlink",
        made["ip-route"],
    )
    assert "tunl0" in made["ip-route"]
    made["ip-addr"] += (
        "9: tunl0@NONE: <NOARP,UP,LOWER_UP> mtu 1480 qdisc noqueue state UNKNOWN\n    link/ipip 0.0.0.0 brd 0.0.0.0\n    inet 10.244.0.1/32 scope global tunl0\n"
    )
    cluster = with_dump(made, "calico")
    assert cluster.differences == []
    assert len([each for each in cluster.warnings if "tunl0 is a tunnel that emu's network does not have" in each]) == 1
    assert "tunl0" not in cluster.node("node-1").net.devices
    assert all(cluster.tcp(source, "svc/web:80", b"?").delivered for source in ("default/client", "node/node-1"))


def test_variables_that_are_not_read_are_one_note() -> None:
    many = "".join(f"kernel.thing_{number} = 1\nnet.ipv6.conf.eth0.thing_{number} = 1\n" for number in range(400))
    cluster = with_dump({"sysctl": many + "net.ipv4.ip_default_ttl = 50\n"})
    found = [each for each in cluster.warnings if each.startswith("dump/sysctl")]
    assert found == ["dump/sysctl: 800 of 801 variables are not read: they change no packet here, or are not known"]
    assert cluster.node("node-1").net.sysctl["net.ipv4.ip_default_ttl"] == 50


def test_many_differences_of_one_kind_are_counted() -> None:
    made = dump_of(Cluster(ClusterConfig(network="flannel"), PODS, capture=False), "node-1")
    rules = "".join(f"-A INPUT -s 198.51.100.{number}/32 -j DROP\n" for number in range(25))
    made["iptables-save"] = made["iptables-save"].replace("COMMIT\n*nat", f"{rules}COMMIT\n*nat", 1)
    cluster = with_dump(made)
    assert len(cluster.differences) == 25
    assert [each for each in cluster.warnings if each.endswith("more [node-foreign-drop]")] == [
        "node/node-1: 20 more [node-foreign-drop]"
    ]


def test_a_difference_states_both_sides_and_its_place() -> None:
    made = dump_of(Cluster(ClusterConfig(network="flannel"), PODS, capture=False), "node-1")
    made["iptables-save"] = made["iptables-save"].replace(":FORWARD ACCEPT", ":FORWARD DROP")
    made["ip-route"] = made["ip-route"].replace("default via", "default via", 1)
    [found, *_] = [each for each in with_dump(made).differences if "filter" in each.what]
    assert (found.id, found.severity, found.node) == ("node-chain-policy", "warning", "node-1")
    assert str(found).startswith("dump/iptables-save:") and str(found).endswith(
        "[node-chain-policy]; expected: :FORWARD ACCEPT; found: :FORWARD DROP"
    )


def test_the_policy_of_a_chain_is_placed_in_its_table() -> None:
    """Each table has its own chain FORWARD."""
    made = dump_of(Cluster(ClusterConfig(network="flannel"), PODS, capture=False), "node-1")
    made["iptables-save"] = made["iptables-save"].replace(":FORWARD ACCEPT", ":FORWARD DROP")
    found = [each for each in with_dump(made).differences if each.id == "node-chain-policy"]
    lines = made["iptables-save"].splitlines()
    assert len(found) == len({each.place for each in found}) >= 2
    for each in found:
        number = int(each.place.rpartition(":")[2])
        table = next(line for line in reversed(lines[:number]) if line.startswith("*"))
        assert f"in the {table[1:]} table" in each.what and lines[number - 1].startswith(":FORWARD DROP")


def test_the_page_has_every_id() -> None:
    page = (Path(__file__).parents[3] / "emu" / "kube" / "dumped" / "README.md").read_text(encoding="utf-8")
    assert [each for each in IDS if f"`{each}`" not in page] == []
    assert [each for each in FILES if f"`{each}`" not in page] == []


def test_a_node_of_mode_ipvs_leaves_services_undecided() -> None:
    made = dump_of(Cluster(ClusterConfig(network="flannel"), PODS, capture=False), "node-1")
    lines = [
        each
        for each in made["iptables-save"].splitlines()
        if not re.search(r"KUBE-(SVC|SEP|EXT)-|-A KUBE-SERVICES", each)
    ]
    made["iptables-save"] = "\n".join(lines) + "\n"
    made["ip-addr"] += (
        "9: kube-ipvs0: <BROADCAST,NOARP> mtu 1500 qdisc noop state DOWN group default\n"
        "    link/ether 02:42:0a:00:00:01 brd ff:ff:ff:ff:ff:ff\n    inet 10.96.0.1/32 scope global kube-ipvs0\n"
    )
    cluster = with_dump(made)
    assert cluster.differences == []
    assert any("mode is ipvs here" in each for each in cluster.warnings)
    client = f"node/{cluster.pods['default/client'].node.name}"
    for source in ("default/client", client):
        inside = client == "node/node-1"
        assert cluster.tcp(source, "svc/web:80", b"?").outcome.word == ("undecided" if inside else "delivered")
    assert cluster.tcp("node/node-1", "svc/web:80", b"?").outcome.word == "undecided"
    web = next(pod.ip for name, pod in cluster.pods.items() if "web" in name)
    assert cluster.tcp("node/node-1", f"{web}:80", b"?").delivered


@pytest.mark.parametrize(
    "name",
    [
        "kind",
        "aws-vpc-cni",
        "calico",
        "docker",
        "istio-sidecar",
        "azure-npm",
        "azure-npm-v2",
        "calico-felix",
        "clamp",
        "moby-nat-icc",
    ],
)
def test_real_dumps_are_read_and_known_for_another_clusters(name: str) -> None:
    text = (Path(__file__).parents[2] / "data" / "iptables-dumps" / f"{name}.rules").read_text()
    cluster = with_dump({"iptables-save": text})
    about = [each for each in cluster.differences if each.kind.startswith("proxy")]
    assert [(each.kind, each.chain) for each in about] == [("proxy-rules-missing", "KUBE-SERVICES")]
    assert cluster.tcp("node/node-1", "svc/web:80", b"?").outcome.word != "delivered"


def test_a_node_of_cilium_keeps_emus_rules() -> None:
    made = dump_of(Cluster(ClusterConfig(network="flannel"), PODS, capture=False), "node-1")
    made["iptables-save"] = "*filter\n:INPUT ACCEPT [0:0]\n:CILIUM_INPUT - [0:0]\n-A INPUT -j CILIUM_INPUT\nCOMMIT\n"
    made["ip-addr"] += (
        "9: cilium_host@cilium_net: <BROADCAST,NOARP,UP,LOWER_UP> mtu 1500 qdisc noqueue state UP\n    link/ether 02:42:0a:00:00:01 brd ff:ff:ff:ff:ff:ff\n"
    )
    cluster = with_dump(made)
    assert cluster.differences == [] and any(
        "eBPF programs take kube-proxy's place" in each for each in cluster.warnings
    )
    assert cluster.tcp("default/client", "svc/web:80", b"?").delivered


# -- renaming -----------------------------------------------------------------------------------------------


def test_a_renamed_interface_keeps_its_place_its_sysctls_and_its_routes() -> None:
    cluster = Cluster(1, PODS, capture=False)
    net = cluster.node("node-1").net
    order = [*net.devices]
    net.sysctl["net.ipv4.conf.eth0.rp_filter"] = 2
    link_change.rename(net, net.devices["eth0"], "ens5")
    assert [*net.devices] == ["ens5" if each == "eth0" else each for each in order]
    assert net.sysctl["net.ipv4.conf.ens5.rp_filter"] == 2 and "net.ipv4.conf.eth0.rp_filter" not in net.sysctl
    assert any("dev ens5" in each.text() for each in net.ipv4.fib.main)
    for name, what in (("lo", "file exists"), ("a/b", "is not a device's name")):
        with pytest.raises(InputError, match=what):
            link_change.rename(net, net.devices["ens5"], name)


# -- where people meet it ---------------------------------------------------------------------------------------


def test_a_scenario_takes_a_dump_beside_its_file(tmp_path: Path) -> None:
    made = dump_of(Cluster(ClusterConfig(network="flannel"), PODS, capture=False), "node-1")
    made["iptables-save"] = made["iptables-save"].replace("-A KUBE-SERVICES", "-A KUBE-FORWARD -m comment --comment", 0)
    made["iptables-save"] = (
        "\n".join(each for each in made["iptables-save"].splitlines() if not each.startswith("-A KUBE-SERVICES")) + "\n"
    )
    write(made, tmp_path / "one")
    (tmp_path / "pods.yaml").write_text(PODS)
    scenario = {
        "apiVersion": "emu/v1", "kind": "Scenario", "cluster": {"network": "flannel", "nodes": [{"name": "node-1", "dump": "one"}, {"name": "node-2"}]},
        "manifests": ["pods.yaml"], "steps": [{"tcp": {"from": "default/client", "to": "svc/web:80"}}],
    }  # fmt: skip
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(scenario))
    done = run(load(tmp_path / "a.yaml"))
    assert [each.id for each in done.cluster.differences] == ["node-proxy-rules-missing"]
    assert not done.steps[0].flows[0].flow.delivered
    scenario["cluster"]["nodes"][0]["dump"] = "two"  # type: ignore[index]
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(scenario))
    with pytest.raises(InputError) as error:
        load(tmp_path / "a.yaml")
    assert (error.value.path, error.value.line is not None) == ("cluster.nodes[0].dump", True)


def test_why_trace_and_show_take_it_on_the_command_line(tmp_path: Path) -> None:
    text = json.dumps(export(Shape("kubeadm", 3)))
    (tmp_path / "dump.json").write_text(text)
    healthy = Cluster.live(json.loads(text), capture=False)
    node = healthy.pods["default/tools"].node.name
    made = dump_of(healthy, node, foreign=True)
    lines = made["iptables-save"].splitlines()
    made["iptables-save"] = "\n".join(each for each in lines if not each.startswith("-A KUBE-SERVICES")) + "\n"
    folder = write(made, tmp_path / "node")
    ends = [
        "-S",
        "default/tools",
        "-D",
        "svc/web.shop:80",
        "-f",
        str(tmp_path / "dump.json"),
        "--node",
        f"{node}={folder}",
    ]
    why = CliRunner().invoke(app, ["why", *ends])
    assert "[node-proxy-rules-missing]; expected: " in why.stderr and "cause: node/" in why.stdout.splitlines()[1]
    trace = CliRunner().invoke(app, ["trace", *ends])
    assert trace.stdout.splitlines()[1] == why.stdout.splitlines()[1] and f"{node}/ens192" in trace.stdout
    show = CliRunner().invoke(
        app, ["show", "rules", node, "-f", str(tmp_path / "dump.json"), "--node", f"{node}={folder}"]
    )
    assert "-A KUBE-SERVICES" not in show.stdout and "KUBE-SVC-" in show.stdout
    matrix = CliRunner().invoke(
        app, ["matrix", *ends[4:], "-D", "shop/local", "-S", "default/tools", "-j", "1", "-o", "csv"]
    )
    assert "proxy-rules-missing" in matrix.stdout and "every pair has a flow of its own" in matrix.stderr, matrix.stderr
    wrong = CliRunner().invoke(app, ["why", *ends[:-1], "nowhere"])
    assert isinstance(wrong.exception, InputError) and wrong.exception.expected == "--node NAME=FOLDER, or a tar"


def test_an_export_takes_dumps_in_python(tmp_path: Path) -> None:
    objects = export(Shape("kind", 3))
    name = Cluster.live(objects, capture=False).pods["default/tools"].node.name
    made = dump_of(Cluster.live(objects, capture=False), name)
    made["sysctl"] = made["sysctl"].replace("ip_forward = 1", "ip_forward = 0")
    cluster = Cluster.live(objects, capture=False, dumps={name: write(made, tmp_path / "node")})
    assert [(each.id, each.expected) for each in cluster.differences] == [("node-sysctl", "net.ipv4.ip_forward = 1")]
    assert cluster.tcp("default/tools", "svc/local.shop:80", b"?").outcome.detail == "IP_INADDRERRORS"
