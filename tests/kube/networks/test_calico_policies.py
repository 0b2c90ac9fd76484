"""Felix's policy chains: their text rule by rule, the tiers, and what packets meet in them."""

from __future__ import annotations

import re

import pytest

import emu
from emu.kube.api.cluster_policy import ClusterNetworkPolicy
from emu.kube.api.core import Pod
from emu.kube.api.loader import load_text
from emu.kube.api.meta import replace
from emu.kube.api.networking import NetworkPolicy
from emu.kube.networks.calico.selectors import peer_set, peer_text, unique_id
from emu.kube.policy.rules import Pods, compiled

POD = (
    "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, namespace: shop, labels: {{app: {name}}}}}, spec: {{nodeName: {node}, "
    "containers: [{{name: c, ports: [{{name: http, containerPort: 8080}}]}}]}}}}"
)
PODS = [POD.format(name=name, node=node) for name, node in (("web", "node-1"), ("db", "node-2"), ("near", "node-2"))]
NAMESPACE = "{apiVersion: v1, kind: Namespace, metadata: {name: shop}}"
DB = "podSelector: {matchLabels: {app: db}}"
_HASH = re.compile(r' ?-m comment --comment "?cali:[A-Za-z0-9_-]{16}"?')
_SET = re.compile(r"cali40([sn]):[A-Za-z0-9_-]+")


def np(spec: str, name: str = "p") -> str:
    return f"{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{name: {name}, namespace: shop}}, spec: {{{spec}}}}}"


def cnp(spec: str, tier: str = "Admin", name: str = "c") -> str:
    head = f"{{apiVersion: policy.networking.k8s.io/v1alpha2, kind: ClusterNetworkPolicy, metadata: {{name: {name}}}"
    return f"{head}, spec: {{tier: {tier}, priority: 1, subject: {{namespaces: {{}}}}, {spec}}}}}"


def cluster(*policies: str) -> emu.Cluster:
    return emu.Cluster(
        emu.ClusterConfig.of(2, network="calico"), load_text("\n---\n".join([NAMESPACE, *PODS, *policies])).objects
    )


def chain(made: emu.Cluster, name: str, node: str = "node-2") -> list[str]:
    """The rules of a chain of a node, without felix's hashes and with the kinds of sets alone."""
    lines = made.nodes[node].net.ipv4.tables.save().splitlines()
    return [
        _SET.sub(r"cali40\1", _HASH.sub("", line.removeprefix(f"-A {name} "))).strip()
        for line in lines
        if line.startswith(f"-A {name} ")
    ]


ACCEPT, RETURN = "-j MARK --set-xmark 0x10000/0x10000", "-m mark --mark 0x10000/0x10000 -j RETURN"
TITLE = '-m comment --comment "KubernetesNetworkPolicy shop/p ingress"'
TEXTS = [
    ("policyTypes: [Ingress]", [TITLE]),
    ("ingress: [{}]", [f"{TITLE} {ACCEPT}"]),
    ("ingress: [{from: [{podSelector: {}}], ports: [{port: 80}, {port: 81}, {port: 90, endPort: 99}]}]", [f"-p tcp {TITLE} -m set --match-set cali40s src -m multiport --dports 80:81,90:99 {ACCEPT}"]),
    ("ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8}}]}]", [f"-s 10.0.0.0/8 {TITLE} {ACCEPT}"]),
    (
        "ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16, 10.2.0.0/16]}}]}, {ports: [{port: http}]}]",
        [
            f"{TITLE} -j MARK --set-xmark 0x80000/0x180000",
            "-s 10.1.0.0/16 -j MARK --set-xmark 0x0/0x80000",
            "-s 10.2.0.0/16 -j MARK --set-xmark 0x0/0x80000",
            f"-s 10.0.0.0/8 -m mark --mark 0x80000/0x80000 {ACCEPT}",
            RETURN,
            f"-p tcp -m set --match-set cali40n dst,dst {ACCEPT}",
        ],
    ),
    (
        "ingress: [{ports: [{port: http}, {port: 53, protocol: UDP}, {port: 9}]}]",
        [
            f"{TITLE} -j MARK --set-xmark 0x0/0x180000",
            "-p tcp -m multiport --dports 9 -j MARK --set-xmark 0x80000/0x80000",
            "-m set --match-set cali40n dst,dst -j MARK --set-xmark 0x80000/0x80000",
            f"-p tcp -m mark --mark 0x80000/0x80000 {ACCEPT}",
            RETURN,
            f"-p udp -m multiport --dports 53 {ACCEPT}",
        ],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "lines"), TEXTS, ids=range(len(TEXTS)))
def test_the_text_of_a_policy(spec: str, lines: list[str]) -> None:
    assert chain(cluster(np(f"{DB}, {spec}")), "cali-pi-knp/shop/p") == lines


def test_the_calls_of_a_pod_go_tier_by_tier() -> None:
    made = cluster(
        np(f"{DB}, ingress: [{{}}]"),
        np(f"{DB}", "q"),
        cnp("ingress: [{action: Pass, from: [{namespaces: {}}]}, {action: Deny, from: [{namespaces: {}}]}]"),
        cnp("ingress: [{action: Accept, from: [{namespaces: {}}]}]", "Baseline", "b"),
    )
    names = {line.split()[1] for line in made.nodes["node-2"].net.ipv4.tables.save().splitlines() if "cali-gi-" in line}
    own = next(name for name in names if name.startswith("cali-tw-"))
    group = next(name for name in names if name.startswith("cali-gi-"))
    assert chain(made, own)[3:-5] == [
        '-m comment --comment "Start of tier kube-admin" -j MARK --set-xmark 0x0/0x20000',
        "-m mark --mark 0x0/0x20000 -j cali-pi-kcnp/c",
        f'-m comment --comment "Return if policy accepted" {RETURN}',
        '-m comment --comment "Start of tier default" -j MARK --set-xmark 0x0/0x20000',
        f"-m mark --mark 0x0/0x20000 -j {group}",
        f'-m comment --comment "Return if policy accepted" {RETURN}',
        '-m comment --comment "End of tier default. Drop if no policies passed packet" -m mark --mark 0x0/0x20000 -j DROP',
        '-m comment --comment "Start of tier kube-baseline" -j MARK --set-xmark 0x0/0x20000',
        "-m mark --mark 0x0/0x20000 -j cali-pi-kcnp/b",
        f'-m comment --comment "Return if policy accepted" {RETURN}',
    ]
    assert chain(made, group) == ["-j cali-pi-knp/shop/p", "-m mark --mark 0x0/0x30000 -j cali-pi-knp/shop/q"]
    assert chain(made, "cali-pi-kcnp/c") == [
        '-m comment --comment "KubernetesClusterNetworkPolicy c ingress" -m set --match-set cali40s src -j MARK --set-xmark 0x20000/0x20000',
        "-m mark --mark 0x20000/0x20000 -j RETURN",
        "-m set --match-set cali40s src -j MARK --set-xmark 0x40000/0x40000",
        "-m mark --mark 0x40000/0x40000 -j DROP",
    ]


WEB = f"{DB}, ingress: [{{from: [{{podSelector: {{matchLabels: {{app: web}}}}}}]}}]"


@pytest.mark.parametrize(
    ("source", "to", "kind", "outcome"),
    [
        ("shop/web", "shop/db:8080", "tcp", "delivered"),
        ("shop/near", "shop/db:8080", "tcp", "dropped"),  # on one node, too: the way goes by the host
        ("node/node-2", "shop/db:8080", "tcp", "delivered"),
        ("node/node-1", "shop/db:8080", "tcp", "dropped"),
        ("shop/db", "shop/web:8080", "tcp", "delivered"),
        ("shop/near", "shop/db", "ping", "dropped"),
    ],
)
def test_where_packets_meet_the_policy(source: str, to: str, kind: str, outcome: str) -> None:
    made = cluster(np(WEB))
    flow = made.ping(source, to, timeout_s=1) if kind == "ping" else made.tcp(source, to, b"x", timeout_s=1)
    assert flow.outcome.word == outcome


def test_changes_are_followed_and_what_is_established_goes_on() -> None:
    made = cluster()
    flow = made.tcp("shop/near", "shop/db:8080", b"x", close=False)
    for each in load_text(np(WEB)).objects:
        made.apply(each)
    assert made.more(flow, b"y").delivered
    assert made.tcp("shop/near", "shop/db:8080", timeout_s=1).outcome.word == "dropped"
    near = made.store.get(Pod, "shop", "near")
    assert near is not None
    made.apply(replace(near, metadata=replace(near.metadata, labels={"app": "web"})))
    assert made.tcp("shop/near", "shop/db:8080", b"x").delivered
    made.delete("networkpolicy", "shop", "p")
    assert made.tcp("node/node-1", "shop/db:8080", b"x").delivered
    assert [name for name in made.nodes["node-2"].net.ipv4.tables.ipsets if name.startswith("cali40s:")] == []


def test_the_frame_that_dies_carries_the_policy() -> None:
    flow = cluster(np(WEB)).tcp("shop/near", "shop/db:8080", timeout_s=1)
    assert any("The ingress of shop/db forbids it: isolated by shop/p" in each.comment() for each in flow.frames)


def test_what_calico_reads_otherwise_is_a_warning() -> None:
    made = cluster(cnp("egress: [{action: Deny, to: [{nodes: {}}]}]"))
    assert made.warnings == [
        "clusternetworkpolicy/c: peers that are nodes or domain names are not modelled: rules are as without them"
    ]


def test_it_runs_with_its_own_network_alone() -> None:
    with pytest.raises(emu.InputError, match="'calico' does not run with network 'bridge'"):
        emu.Cluster(emu.ClusterConfig.of(1, policy="calico"))


def test_a_set_has_the_name_that_a_real_node_shows() -> None:
    """As a public text lists it, with the policy that it stands for."""
    peer = "{podSelector: {matchLabels: {networking/allow-db-access: 'true'}}}"
    (policy,) = load_text(np(f"podSelector: {{}}, ingress: [{{from: [{peer}]}}]")).objects
    assert isinstance(policy, NetworkPolicy)
    rule = compiled(replace(policy, metadata=replace(policy.metadata, namespace="default"))).rules["ingress"][0]
    assert rule.peers is not None and isinstance(rule.peers[0], Pods)
    assert peer_set(peer_text(rule.peers[0])) == "cali40s:LrVD8vMIGQDyv8Y7sPFB1Ge"


@pytest.mark.parametrize(
    ("text", "uid"),
    [
        ("all()", "s:5y5I3VdRZfDU01O--xXAPx2yxCQQqMf0M6IWug"),
        ("!(has(b) || !has(a))", "s:Iss0uCleLYv1GSv_pNm7hAO58kE9jAx1NKyG3Q"),
        ('(role == "lb" && project == "example")', "s:NXoRGGB97QqUxA5rp5_5Zu0"),  # the beginning, from a real node
    ],
)
def test_the_hash_of_a_selector(text: str, uid: str) -> None:
    assert unique_id("s", text).startswith(uid)


@pytest.mark.parametrize(
    ("peer", "text"),
    [
        ("podSelector: {}", '(projectcalico.org/namespace == "shop" && projectcalico.org/orchestrator == "k8s")'),
        ("namespaceSelector: {}", '(has(projectcalico.org/namespace) && projectcalico.org/orchestrator == "k8s")'),
        (
            "namespaceSelector: {matchLabels: {b: '2', a: '1'}}, podSelector: {matchExpressions: [{key: app, operator: In, values: [y, x]}, {key: old, operator: DoesNotExist}]}",
            '((pcns.a == "1" && pcns.b == "2") && (projectcalico.org/orchestrator == "k8s" && app in {"x", "y"} && !has(old)))',
        ),
        (
            "podSelector: {matchExpressions: [{key: app, operator: NotIn, values: [x]}, {key: tier, operator: Exists}]}",
            '(projectcalico.org/namespace == "shop" && (projectcalico.org/orchestrator == "k8s" && app not in {"x"} && has(tier)))',
        ),
    ],
)
def test_the_text_of_a_selector(peer: str, text: str) -> None:
    (policy,) = load_text(np(f"podSelector: {{}}, ingress: [{{from: [{{{peer}}}]}}]")).objects
    assert isinstance(policy, NetworkPolicy)
    rule = compiled(policy).rules["ingress"][0]
    assert rule.peers is not None and isinstance(rule.peers[0], Pods)
    assert peer_text(rule.peers[0]) == text


def test_a_peer_of_namespaces_alone_has_no_pods_in_its_text() -> None:
    (policy,) = load_text(cnp("ingress: [{action: Deny, from: [{namespaces: {}}]}]")).objects
    assert isinstance(policy, ClusterNetworkPolicy)
    peers = compiled(policy).rules["ingress"][0].peers
    assert (
        peers is not None and isinstance(peers[0], Pods) and peer_text(peers[0]) == "has(projectcalico.org/namespace)"
    )


def test_named_ports_alone_hold_the_addresses_of_the_peer() -> None:
    """The set of addresses is asked only where a port is a number (felix/calc/rule_scanner.go)."""
    made = cluster(
        np(f"{DB}, policyTypes: [Egress], egress: [{{to: [{{podSelector: {{}}}}], ports: [{{port: http}}]}}]")
    )
    assert "cali40s" not in " ".join(chain(made, "cali-po-knp/shop/p"))
    both = cluster(
        np(
            f"{DB}, policyTypes: [Egress], egress: [{{to: [{{podSelector: {{}}}}], ports: [{{port: http}}, {{port: 9}}]}}]"
        )
    )
    assert "cali40s" in " ".join(chain(both, "cali-po-knp/shop/p"))
