"""The text of kube-proxy's rules, that a real kernel takes and shows it so, and what nodes share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from emu.errors import InputError
from emu.kernel.netfilter.ruleset import RuleSet
from emu.kernel.netfilter.save import parse_restore, save
from emu.kube.api.core import Service
from emu.kube.api.discovery import EndpointSlice
from emu.kube.api.loader import load_text
from emu.kube.proxy.config import ProxyConfig
from emu.kube.proxy.iptables import compile as iptables
from emu.kube.proxy.iptables.compile import Compiler
from emu.kube.proxy.services import Snapshot
from linux import Linux

CASES = sorted((Path(__file__).parents[2] / "data" / "kube-proxy" / "cases").glob("*.yaml"))

CLUSTER_IP = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  clusterIP: 10.96.0.10
  ports: [{name: http, port: 80, targetPort: 8080}, {name: dns, port: 53, protocol: UDP}]
---
apiVersion: v1
kind: Service
metadata: {name: empty, namespace: shop}
spec: {clusterIP: 10.96.0.11, ports: [{port: 81}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
endpoints:
- {addresses: [10.244.2.10], nodeName: node-2}
- {addresses: [10.244.1.9], nodeName: node-1}
- {addresses: [10.244.1.8], nodeName: node-1, conditions: {ready: false}}
ports: [{name: http, port: 8080}]
"""

EXPECTED_NAT = """\
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-PROXY-CANARY - [0:0]
:SEP1 - [0:0]
:SEP2 - [0:0]
:KUBE-SERVICES - [0:0]
:SVC - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0
-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully
-A SEP1 -s 10.244.1.9/32 -m comment --comment "default/web:http" -j KUBE-MARK-MASQ
-A SEP1 -p tcp -m comment --comment "default/web:http" -m tcp -j DNAT --to-destination 10.244.1.9:8080
-A SEP2 -s 10.244.2.10/32 -m comment --comment "default/web:http" -j KUBE-MARK-MASQ
-A SEP2 -p tcp -m comment --comment "default/web:http" -m tcp -j DNAT --to-destination 10.244.2.10:8080
-A KUBE-SERVICES -d 10.96.0.10/32 -p tcp -m comment --comment "default/web:http cluster IP" -m tcp --dport 80 -j SVC
-A KUBE-SERVICES -m comment --comment "kubernetes service nodeports; NOTE: this must be the last rule in this chain" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
-A SVC ! -s 10.244.0.0/16 -d 10.96.0.10/32 -p tcp -m comment --comment "default/web:http cluster IP" -m tcp --dport 80 -j KUBE-MARK-MASQ
-A SVC -m comment --comment "default/web:http -> 10.244.1.9:8080" -m statistic --mode random --probability 0.50000000000 -j SEP1
-A SVC -m comment --comment "default/web:http -> 10.244.2.10:8080" -j SEP2
COMMIT
"""

EXPECTED_FILTER = """\
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:KUBE-EXTERNAL-SERVICES - [0:0]
:KUBE-FIREWALL - [0:0]
:KUBE-FORWARD - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-PROXY-CANARY - [0:0]
:KUBE-PROXY-FIREWALL - [0:0]
:KUBE-SERVICES - [0:0]
-A INPUT -j KUBE-FIREWALL
-A INPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL
-A INPUT -m comment --comment "kubernetes health check service ports" -j KUBE-NODEPORTS
-A INPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes externally-visible service portals" -j KUBE-EXTERNAL-SERVICES
-A FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL
-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
-A FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes externally-visible service portals" -j KUBE-EXTERNAL-SERVICES
-A OUTPUT -j KUBE-FIREWALL
-A OUTPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL
-A OUTPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A KUBE-FIREWALL ! -s 127.0.0.0/8 -d 127.0.0.0/8 -m comment --comment "block incoming localnet connections" -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding rules" -m mark --mark 0x4000/0x4000 -j ACCEPT
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding conntrack rule" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A KUBE-SERVICES -d 10.96.0.10/32 -p udp -m comment --comment "default/web:dns has no endpoints" -m udp --dport 53 -j REJECT --reject-with icmp-port-unreachable
-A KUBE-SERVICES -d 10.96.0.11/32 -p tcp -m comment --comment "shop/empty has no endpoints" -m tcp --dport 81 -j REJECT --reject-with icmp-port-unreachable
COMMIT
"""

CONFIG = ProxyConfig(node_name="node-1", node_ip="192.0.2.11", cluster_cidr="10.244.0.0/16", pod_cidr="10.244.1.0/24")


def parsed(text: str) -> tuple[list[Service], list[EndpointSlice]]:
    found = load_text(text).objects
    return [o for o in found if isinstance(o, Service)], [o for o in found if isinstance(o, EndpointSlice)]


def of_case(path: Path, **changes: Any) -> RuleSet:
    case = yaml.load(path.read_text(), yaml.CSafeLoader)
    services, slices = parsed(yaml.safe_dump_all(case["objects"]))
    return iptables.compile(services, slices, ProxyConfig(node_name="test-node", cluster_cidr="10.0.0.0/8", **changes))


def test_the_text_of_a_cluster_ip() -> None:
    rules = iptables.compile(*parsed(CLUSTER_IP), CONFIG)
    long = {
        "SVC": "KUBE-SVC-" + next(name[9:] for name in rules.tables["nat"] if name.startswith("KUBE-SVC-")),
        **{
            f"SEP{n}": name
            for n, ip in ((1, "10.244.1.9"), (2, "10.244.2.10"))
            for name, chain in rules.tables["nat"].items()
            if name.startswith("KUBE-SEP-") and f"{ip}/32" in chain.rules[0].spec
        },
    }
    expected = EXPECTED_NAT
    for short, name in long.items():
        expected = expected.replace(f":{short} ", f":{name} ").replace(f"-A {short} ", f"-A {name} ")
        expected = expected.replace(f"-j {short}\n", f"-j {name}\n")
    text = save(rules)
    mangle, filter_, nat = text.split("COMMIT\n")[:3]
    assert ":KUBE-PROXY-CANARY - [0:0]" in mangle
    assert filter_ + "COMMIT\n" == EXPECTED_FILTER
    got, want = (nat + "COMMIT\n").splitlines(), expected.splitlines()
    assert [line for line in got if "SEP" not in line] == [line for line in want if "SEP" not in line]
    assert sorted(got) == sorted(want)  # the two endpoints' chains are ordered by their hashes
    assert save(parse_restore(text)) == text


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_every_case_is_text_that_comes_back_as_it_was(path: Path) -> None:
    text = save(of_case(path))
    assert save(parse_restore(text)) == text


def test_a_real_kernel_shows_all_cases_as_we_write_them(linux: Linux) -> None:
    netns = linux.namespace("proxy")
    if "nf_tables" not in linux.run(netns, "iptables", "--version"):
        pytest.skip("NOT COMPARED WITH A REAL KERNEL: not the nf_tables variant of iptables")
    variants: list[dict[str, Any]] = [
        {},
        {"masquerade_all": True},
        {"detect_local_mode": "BridgeInterface", "bridge_interface": "cbr0"},
    ]
    variants += [
        {"localhost_node_ports": False},
        {"node_port_addresses": ("192.0.2.0/24",), "node_addresses": ("192.0.2.1",)},
    ]
    for path in CASES:
        for changes in variants if "overall" in path.stem else variants[:1]:
            text = save(of_case(path, **changes))
            linux.run(netns, "iptables-restore", stdin=text)
            shown = linux.run(netns, "iptables-save")
            assert "".join(line for line in shown.splitlines(keepends=True) if line[0] != "#") == text, path.stem


def test_nodes_that_agree_share_everything() -> None:
    snapshot = Snapshot.of(*parsed(CLUSTER_IP))
    compiler = Compiler()
    one = compiler.compile(snapshot, CONFIG)
    two = compiler.compile(
        snapshot,
        ProxyConfig(node_name="node-2", node_ip="192.0.2.12", cluster_cidr="10.244.0.0/16", pod_cidr="10.244.2.0/24"),
    )
    assert two is one
    other = compiler.compile(snapshot, ProxyConfig(node_name="node-2", masquerade_all=True))
    assert other is not one


def test_nodes_that_differ_share_the_ports_on_which_they_agree() -> None:
    local = CLUSTER_IP.replace(
        "spec: {clusterIP: 10.96.0.11,", "spec: {clusterIP: 10.96.0.11, internalTrafficPolicy: Local,"
    )
    local += "---\n" + CLUSTER_IP.rsplit("---", maxsplit=1)[-1].replace("web-1", "empty-1").replace(
        "metadata: {name: empty-1", "metadata: {namespace: shop, name: empty-1"
    ).replace("service-name: web", "service-name: empty").replace("name: http, ", "")
    snapshot = Snapshot.of(*parsed(local))
    compiler = Compiler()
    one, two = (compiler.compile(snapshot, ProxyConfig(node_name=name)).ruleset for name in ("node-1", "node-2"))
    assert one is not two
    svc = next(name for name in one.tables["nat"] if name.startswith("KUBE-SVC-"))
    svl = next(name for name in one.tables["nat"] if name.startswith("KUBE-SVL-"))
    assert one.chain("nat", svc) is two.chain("nat", svc)
    assert one.chain("nat", svl) is not two.chain("nat", svl)
    later = Snapshot.of(*parsed(local.replace("10.96.0.10", "10.96.0.99")), after=snapshot)
    three = compiler.compile(later, ProxyConfig(node_name="node-1")).ruleset
    assert three.chain("nat", svl) is one.chain("nat", svl)
    assert three.chain("nat", svc) is not one.chain("nat", svc)


def test_large_clusters_leave_out_endpoints_comments() -> None:
    ends = "".join(f"- {{addresses: [10.{n >> 8}.{n & 255}.7]}}\n" for n in range(1001))
    text = CLUSTER_IP[: CLUSTER_IP.index("endpoints:")] + "endpoints:\n" + ends + "ports: [{name: http, port: 8080}]\n"
    rules = iptables.compile(*parsed(text), CONFIG)
    svc = next(chain for name, chain in rules.tables["nat"].items() if name.startswith("KUBE-SVC-"))
    assert len(svc.rules) == 1002
    assert [rule.comment for rule in svc.rules[:2]] == ["default/web:http cluster IP", ""]
    assert svc.rules[1].spec.startswith("-m statistic --mode random --probability 0.00099900")


def test_a_wrong_detect_local_mode_is_refused() -> None:
    with pytest.raises(InputError, match="detectLocalMode"):
        iptables.compile([], [], ProxyConfig(detect_local_mode="Magic"))
