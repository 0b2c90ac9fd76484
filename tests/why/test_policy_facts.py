"""The nineteen facts about policies that people get wrong: for each the story's step that shows it, and the sentence of `emu why`.

The facts are counted as the list that they come from has them, 60 to 78. A row asks in a cluster of its own; the story's step is looked up.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

import emu
from emu.errors import InputError
from emu.kube.api.loader import load_text
from emu.kube.cluster import Cluster
from emu.kube.dns.zone import DnsConfig
from emu.scenario.gallery import story
from emu.scenario.script import load
from emu.why.answer import answer
from emu.why.ask import ask
from emu.why.causes import cause

SPACES = "{apiVersion: v1, kind: Namespace, metadata: {name: shop}}\n---\n{apiVersion: v1, kind: Namespace, metadata: {name: tools}}"
POD = "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, namespace: {space}, labels: {{app: {name}}}}}, spec: {{nodeName: {node}, {more}containers: [{{name: c, ports: [{ports}]}}]}}}}"
PORTS = "{name: http, containerPort: 8080}, {containerPort: 53}, {containerPort: 53, protocol: UDP}"
PODS = [
    POD.format(name=name, space=space, node=node, more=more, ports=PORTS)
    for name, space, node, more in (
        ("web", "shop", "node-1", ""), ("db", "shop", "node-2", ""), ("near", "shop", "node-2", ""), ("agent", "shop", "node-1", "hostNetwork: true, "),
        ("guest", "tools", "node-1", ""), ("backup", "tools", "node-1", ""),
    )
]  # fmt: skip
SERVICE = (
    "{apiVersion: v1, kind: Service, metadata: {name: db, namespace: shop}, spec: {type: NodePort, clusterIP: 10.96.0.20, selector: {app: db}, "
    "ports: [{port: 80, targetPort: 8080, nodePort: 30080}]}}"
)
DB = "podSelector: {matchLabels: {app: db}}"
IN, OUT = f"{{{DB}, policyTypes: [Ingress]}}", f"{{{DB}, policyTypes: [Egress]}}"
KUBE_ROUTER, CALICO, FLANNEL = (
    {"policy": "kube-router"},
    {"network": "calico", "underlay": "switched"},
    {"network": "flannel"},
)


def policy(spec: str) -> str:
    return f"{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{name: p, namespace: shop}}, spec: {spec}}}"


def from_(peers: str, ports: str = "") -> str:
    return f"{{{DB}, ingress: [{{from: [{peers}]{f', ports: [{ports}]' if ports else ''}}}]}}"


def cluster(spec: str, options: dict[str, Any]) -> Cluster:
    text = "\n---\n".join([SPACES, *PODS, SERVICE, policy(spec)])
    return emu.Cluster(emu.ClusterConfig.of(2, **options), load_text(text).objects, capture=False)


class Fact(NamedTuple):
    number: int
    story: str
    step: str
    spec: str
    source: str
    target: str
    arrives: bool
    sentence: str
    options: dict[str, Any] = KUBE_ROUTER


DIRECTIONS, PEERS, NUMBERS, ADDRESSES = "policy-directions", "policy-peers", "policy-ports", "policy-addresses"
DNS_ONLY = "{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], egress: [{to: [{podSelector: {matchLabels: {app: db}}}]}]}"
TOOLS = "namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: tools}}"
BACKUP = "podSelector: {matchLabels: {app: backup}}"
FACTS = [
    Fact(60, DIRECTIONS, "a call out of it", IN, "shop/db", "shop/web:8080", True,
         "shop/p isolates shop/db for Ingress alone: what the pod sends is not bound by it"),
    Fact(61, DIRECTIONS, "a call out of it", IN, "shop/db", "shop/web:8080", True,
         "the answers of shop/web need no rule: they belong to the connection"),
    Fact(62, DIRECTIONS, "its own node", IN, "node/node-2", "shop/db:8080", True,
         "node-2 is the own node of shop/db: its packets, such as the kubelet's probes, are allowed"),
    Fact(63, PEERS, "both in one item", from_(f"{{{TOOLS}, {BACKUP}}}"), "tools/guest", "shop/db:8080", False,
         "is one item with two selectors, and both must hold: tools/guest meets its namespaceSelector, and not its podSelector"),
    Fact(63, PEERS, "a dash makes it two items", from_(f"{{{TOOLS}}}, {{{BACKUP}}}"), "tools/guest", "shop/db:8080", True,
         "from[0] of ingress[0] of shop/p is enough: its 2 items are alternatives"),
    Fact(64, DIRECTIONS, "web still calls out", f"{{{DB}, egress: []}}", "shop/db", "shop/web:8080", True,
         "shop/p has no policyTypes, and no rule of egress: it is for Ingress alone"),
    Fact(65, NUMBERS, "the port of the Service", f"{{{DB}, ingress: [{{ports: [{{port: 80}}]}}]}}", "shop/web", "svc/db.shop:80", False,
         "allows port 80, which is the Service's: a policy sees the packet behind DNAT, and its port is 8080, the targetPort"),
    Fact(66, ADDRESSES, "an ipBlock with the clusterIP",
         "{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 10.96.0.0/12}}]}]}",
         "shop/web", "svc/db.shop:80", False, "has 10.96.0.20, which is a Service's: a policy sees the packet behind DNAT, and its destination is 10.244.2.2"),
    Fact(67, ADDRESSES, "by the other node", from_("{ipBlock: {cidr: 203.0.113.0/24}}"), "external", "node/node-1:30080", False,
         "has the client's address 203.0.113.10, and the packet comes from 192.168.51.11: a node has masqueraded it"),
    Fact(68, PEERS, "the agent of another node", from_("{podSelector: {}}"), "shop/agent", "shop/db:8080", False,
         "selects shop/agent by its labels, and it has hostNetwork: its packets have the address of its node"),
    Fact(69, NUMBERS, "the name is no number", f"{{{DB}, ingress: [{{ports: [{{port: http}}]}}]}}", "shop/web", "shop/db:53", False,
         "allows the port that is called http, which is 8080 in shop/db; the packet is to 53"),
    Fact(70, "policy-dns-forgotten", "by name", DNS_ONLY, "shop/web", "db.shop:80", False,
         "cannot be looked up: networkpolicy/shop/p selects pod/shop/web for egress, and no rule allows UDP/53", {**KUBE_ROUTER, "dns": DnsConfig()}),
    Fact(72, NUMBERS, "TCP of that number", f"{{{DB}, ingress: [{{ports: [{{port: 53, protocol: UDP}}]}}]}}", "shop/web", "shop/db:53", False,
         "allows UDP 53, and the packet is TCP: each protocol needs an entry of its own"),
    Fact(73, "policy-kube-router", "past the policy", IN, "shop/near", "shop/db:8080", True,
         "but net.bridge.bridge-nf-call-iptables is 0 on node-2: frames between two ports of its bridge meet no iptables rule, and so no policy",
         {**KUBE_ROUTER, "sysctls": {"net.bridge.bridge-nf-call-iptables": 0}}),
    Fact(73, "policy-calico", "from the same node", IN, "shop/near", "shop/db:8080", False,
         "networkpolicy/shop/p selects pod/shop/db for ingress, and no rule allows TCP/8080", CALICO),
    Fact(74, DIRECTIONS, "the open connection goes on", IN, "shop/web", "shop/db:8080", False,
         "this is about a new connection: one that was open when the policy came goes on"),
    Fact(75, ADDRESSES, "within the exception", from_("{ipBlock: {cidr: 10.244.0.0/16, except: [10.244.1.0/24]}}"), "shop/web", "shop/db:8080", False,
         "except 10.244.1.0/24 in from[0] of ingress[0] of shop/p leaves out 10.244.1.2: nothing in that item takes it back, another item may"),
    Fact(76, PEERS, "not all namespaces", from_("{podSelector: {}}"), "tools/backup", "shop/db:8080", False,
         "has a podSelector alone: it means pods of the policy's own namespace shop, and tools/backup is in tools"),
    Fact(77, "policy-kube-router", "from another node", IN, "shop/web", "shop/db:8080", False,
         "kube-router refuses with an ICMP error (REJECT), so that the client fails at once"),
    Fact(77, "policy-calico", "from another node", IN, "shop/web", "shop/db:8080", False,
         "calico drops without an answer (DROP), so that the client waits until its patience ends", CALICO),
    Fact(78, "policy-not-enforced", "what the policy forbids", IN, "shop/web", "shop/db:8080", True,
         "the ingress of shop/db is isolated by shop/p, no rule allows; but nothing in this network enforces policies", FLANNEL),
]  # fmt: skip


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: f"{fact.number} {fact.step}")
def test_emu_why_has_a_sentence_for_it(fact: Fact) -> None:
    case, _ = ask(cluster(fact.spec, fact.options), fact.source, fact.target)
    assert (case.word == "delivered") is fact.arrives
    because = cause(case)
    report = answer(case, because)
    assert fact.sentence in report.text
    if not fact.arrives:
        assert because is not None and because.cause == "network-policy"


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: f"{fact.number} {fact.step}")
def test_a_step_of_the_gallery_shows_it(fact: Fact) -> None:
    """With the outcome that the row has, and with the policy where it is forbidden. The captures have a file for the step."""
    steps = load(story(fact.story)).spec.steps
    step = next(each for each in steps if each.name == fact.step)
    assert step.expect is not None
    assert (step.expect.outcome == "delivered") is (fact.arrives or fact.number == 74)
    assert step.expect.policy and (step.expect.policy == "none") is (step.expect.outcome == "delivered")


def test_an_end_port_without_a_port_is_refused_when_it_is_written() -> None:
    """Fact 71: no cluster has such a policy, so that `emu why` ends with the API server's words. A story has the right form."""
    with pytest.raises(InputError, match=r"endPort.*`port`"):
        load_text(policy(f"{{{DB}, ingress: [{{ports: [{{endPort: 60}}]}}]}}"))
    assert "port: 50, endPort: 60" in story(NUMBERS).read_text()


def test_each_of_the_nineteen_has_a_row() -> None:
    assert {fact.number for fact in FACTS} | {71} == {*range(60, 79)}
