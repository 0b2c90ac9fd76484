"""What a node's rules do not decide alone: ip_vs, eBPF programs, an answer that takes another way, a silent neighbour."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from emu.cli import main
from emu.errors import InputError
from emu.report.node import read_node
from emu.report.outcomes import Probe
from emu.report.packet import Traced, trace
from emu.wire.addr import ip4
from emu.wire.frame import TCP

ROUTES = """\
default via 192.168.51.1 dev eth0
10.244.1.0/24 dev cbr0 proto kernel scope link src 10.244.1.1
10.244.2.0/24 via 192.168.51.12 dev eth0
192.168.51.0/24 dev eth0 proto kernel scope link src 192.168.51.11
"""
DNAT = "-A PREROUTING -d 192.168.51.11/32 -p tcp -m tcp --dport 31000 -j DNAT --to-destination {}\n"
IPVS_SET = "create KUBE-CLUSTER-IP hash:ip,port\nadd KUBE-CLUSTER-IP 10.96.0.10,tcp:80\n"
IPVS_ROUTE = ROUTES + "local 10.96.0.10 dev kube-ipvs0 table local proto kernel scope host src 10.96.0.10\n"
IPVS_ADDRESS = "5: kube-ipvs0: <BROADCAST,NOARP> mtu 1500 state DOWN\n    inet 10.96.0.10/32 scope global kube-ipvs0\n"


def follow(rules: str, source: str, device: str, target: str, port: int, **texts: str) -> Traced:
    node = read_node(f"*nat\n{rules}COMMIT\n", **{"routes": ROUTES, **texts})  # type: ignore[arg-type]  # texts only
    return trace(node, Probe(TCP, ip4(source), ip4(target), 40000, port, device))


@pytest.mark.parametrize(
    "texts",
    [{"routes": IPVS_ROUTE}, {"routes": IPVS_ROUTE, "ipset": IPVS_SET}, {"addresses": IPVS_ADDRESS, "routes": ROUTES}],
    ids=["a route of kube-ipvs0", "a set of kube-proxy's", "an address of kube-ipvs0"],
)
def test_ip_vs_decides_about_its_own_addresses(texts: dict[str, str]) -> None:
    traced = follow("", "10.244.1.2", "cbr0", "10.96.0.10", 80, **texts)
    (outcome,) = traced.report.data["outcomes"]
    assert (
        traced.undecided
        and "ip_vs decides about 10.96.0.10:80" in outcome["summary"]
        and "kube-ipvs0" in outcome["summary"]
    )
    other = follow("", "10.244.1.2", "cbr0", "10.244.2.9", 80, **texts)
    assert not other.undecided


@pytest.mark.parametrize(
    ("rules", "texts", "sign"),
    [
        (":CILIUM_PRE_nat - [0:0]\n-A PREROUTING -j CILIUM_PRE_nat\n", {}, "the chain CILIUM_PRE_nat"),
        ("", {"routes": ROUTES + "10.0.1.0/24 dev cilium_host scope link\n"}, "the interface cilium_host"),
        ("", {"addresses": "7: bpfin.cali: <UP> mtu 1500 state UP\n"}, "the interface bpfin.cali"),
    ],
)
def test_ebpf_programs_decide_before_the_rules(rules: str, texts: dict[str, str], sign: str) -> None:
    traced = follow(rules, "10.244.1.2", "cbr0", "8.8.8.8", 53, **texts)
    (outcome,) = traced.report.data["outcomes"]
    assert (
        traced.undecided
        and "eBPF programs decide before these rules" in outcome["summary"]
        and sign in outcome["summary"]
    )


@pytest.mark.parametrize(
    ("rules", "source", "device", "back", "past"),
    [
        (DNAT.format("10.244.2.4:80"), "203.0.113.9", "eth0", False, "203.0.113.9 is not masqueraded"),
        (DNAT.format("10.244.2.4:80") + "-A POSTROUTING -j MASQUERADE\n", "203.0.113.9", "eth0", True, ""),
        (DNAT.format("10.244.1.4:80"), "203.0.113.9", "eth0", True, ""),
        (DNAT.format("10.244.2.4:80"), "10.244.1.2", "cbr0", True, ""),
    ],
    ids=["to another node, not masqueraded", "masqueraded", "to a pod of this node", "from a pod of this node"],
)
def test_an_answer_that_does_not_come_back_is_not_drawn(
    rules: str, source: str, device: str, back: bool, past: str
) -> None:
    traced = follow(rules, source, device, "192.168.51.11", 31000)
    (outcome,) = traced.report.data["outcomes"]
    assert (outcome["back"] is not None, past in outcome.get("past", "")) == (back, True)
    assert bool(past) == ("the connection fails" in traced.report.text)


@pytest.mark.parametrize(("value", "outcome"), [(0, "leaves"), (1, "dropped"), (2, "leaves")])
def test_a_sysctl_of_one_interface(value: int, outcome: str) -> None:
    """rp_filter of eth0: the source's route is out of cbr0."""
    node = read_node("*nat\nCOMMIT\n", routes=ROUTES, sysctls={"net.ipv4.conf.eth0.rp_filter": value})
    traced = trace(node, Probe(TCP, ip4("10.244.1.2"), ip4("10.244.1.9"), 40000, 80, "eth0"))
    assert [each["there"]["outcome"] for each in traced.report.data["outcomes"]] == [outcome]


def test_a_sysctl_of_an_unknown_interface_is_refused() -> None:
    with pytest.raises(InputError, match="eth9"):
        read_node("*nat\nCOMMIT\n", routes=ROUTES, sysctls={"net.ipv4.conf.eth9.rp_filter": 1}).build()


def test_a_neighbour_that_failed_does_not_answer() -> None:
    traced = follow("", "10.244.1.2", "cbr0", "10.244.2.9", 80, neighbours="192.168.51.12 dev eth0 FAILED\n")
    assert [each["there"]["outcome"] for each in traced.report.data["outcomes"]] == ["rejected"]
    traced = follow(
        "", "10.244.1.2", "cbr0", "10.244.2.9", 80, neighbours="192.168.51.12 dev eth0 lladdr 02:00:00:00:00:01 STALE\n"
    )
    assert [each["there"]["outcome"] for each in traced.report.data["outcomes"]] == ["leaves"]


MANIFESTS = """\
apiVersion: v1
kind: Pod
metadata: {name: client}
spec: {nodeName: node-1, containers: [{name: client}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec: {nodeName: node-2, containers: [{name: web, ports: [{containerPort: 8080}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: 10.96.0.10, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
"""


@pytest.mark.parametrize("form", ["text", "json"])
def test_what_emu_shows_is_what_it_reads(form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifests = tmp_path / "m.yaml"
    manifests.write_text(MANIFESTS)
    given = []
    for view, option in {
        "rules": "--rules",
        "routes": "--routes",
        "interfaces": "--addresses",
        "neigh": "--neighbours",
        "conntrack": "--conntrack",
    }.items():
        if form == "text" and view == "interfaces":
            continue  # a table of its own
        assert main(["show", view, "node-1", "-f", str(manifests), "-o", form]) == 0
        file = tmp_path / view
        file.write_text(capsys.readouterr().out)
        given += [option, str(file)]
    assert (
        main(["trace", *given, "--from", "10.244.1.2", "--in-iface", "cbr0", "--to", "10.96.0.10:80/tcp", "-o", "json"])
        == 0
    )
    (outcome,) = json.loads(capsys.readouterr().out)["outcomes"]
    assert outcome["summary"] == "leaves to 10.244.2.2:8080 out of eth0 to the next hop 192.168.51.1"
