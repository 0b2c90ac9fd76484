"""What policies mean, as a table: one world of pods and hosts, a policy or several, and what becomes of one packet, with the reason."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from emu.errors import InputError
from emu.kube.api.loader import convert, load_text
from emu.kube.api.meta import Object
from emu.kube.api.networking import NetworkPolicy
from emu.kube.policy.ends import End, address
from emu.kube.policy.index import PolicyIndex
from emu.kube.policy.rules import Policy
from emu.kube.policy.verdict import Packet, Verdict

WORLD = """
{apiVersion: v1, kind: Node, metadata: {name: node-1, labels: {disk: ssd}}, status: {addresses: [{type: InternalIP, address: 192.168.0.11}]}}
---
{apiVersion: v1, kind: Node, metadata: {name: node-2}, status: {addresses: [{type: InternalIP, address: 192.168.0.12}]}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {team: shop}}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: lab, labels: {team: lab}}}
---
{apiVersion: v1, kind: Pod, metadata: {name: web, namespace: shop, labels: {app: web}}, spec: {nodeName: node-1, containers: [{name: c,
  ports: [{name: http, containerPort: 8080}]}]}, status: {phase: Running, podIP: 10.244.1.2}}
---
{apiVersion: v1, kind: Pod, metadata: {name: db, namespace: shop, labels: {app: db}}, spec: {nodeName: node-2, containers: [{name: c,
  ports: [{name: http, containerPort: 5432}, {name: dns, containerPort: 53, protocol: UDP}]}]}, status: {phase: Running, podIP: 10.244.2.2}}
---
{apiVersion: v1, kind: Pod, metadata: {name: probe, namespace: lab, labels: {app: probe}}, spec: {nodeName: node-2, containers: [{name: c}]},
  status: {phase: Running, podIP: 10.244.2.3}}
---
{apiVersion: v1, kind: Pod, metadata: {name: agent, namespace: lab, labels: {app: web}}, spec: {nodeName: node-1, hostNetwork: true,
  containers: [{name: c}]}, status: {phase: Running, podIP: 192.168.0.11}}
---
{apiVersion: v1, kind: Pod, metadata: {name: job, namespace: lab, labels: {app: web}}, spec: {nodeName: node-1, containers: [{name: c}]},
  status: {phase: Succeeded, podIP: 10.244.1.9}}
"""
HOSTS = {
    "web": "10.244.1.2", "db": "10.244.2.2", "probe": "10.244.2.3", "agent": "192.168.0.11", "job": "10.244.1.9",
    "node-1": "192.168.0.11", "node-2": "192.168.0.12", "out": "203.0.113.9", "far": "198.51.100.7", "v6": "2001:db8::7",
}  # fmt: skip


def np(spec: str, name: str = "p", namespace: str = "shop") -> str:
    return f"{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{name: {name}, namespace: {namespace}}}, spec: {spec}}}"


def cnp(spec: str, name: str = "c", tier: str = "Admin", priority: int = 10) -> str:
    head = f"{{apiVersion: policy.networking.k8s.io/v1alpha2, kind: ClusterNetworkPolicy, metadata: {{name: {name}}}"
    return f"{head}, spec: {{tier: {tier}, priority: {priority}, subject: {{namespaces: {{matchLabels: {{team: shop}}}}}}, {spec}}}}}"


def index_of(*policies: str) -> PolicyIndex:
    made = [obj for text in policies for obj in convert(yaml.safe_load(text))]
    return PolicyIndex([*load_text(WORLD).objects, *made])


def judge(index: PolicyIndex, call: str) -> Verdict:
    """`web > db 5432/TCP`."""
    source, _, destination, what = call.split()
    port, _, protocol = what.partition("/")
    ends = (index.end(*address(HOSTS[name])) for name in (source, destination))
    return index.judge(Packet(next(ends), next(ends), protocol, int(port)))


CLOSED = np("{podSelector: {matchLabels: {app: db}}, policyTypes: [Ingress]}")
ALL = "{podSelector: {}, "
TABLE = [
    ([], "web > db 1/TCP", True, "not isolated"),
    ([CLOSED], "web > db 1/TCP", False, "isolated by shop/p, no rule allows"),
    ([CLOSED], "out > db 1/UDP", False, "isolated by shop/p, no rule allows"),
    ([CLOSED], "db > web 1/TCP", True, "not isolated"),
    ([CLOSED], "node-2 > db 1/TCP", True, "own node"),
    ([CLOSED], "node-1 > db 1/TCP", False, "isolated by shop/p, no rule allows"),
    ([CLOSED], "db > db 1/TCP", True, "itself"),
    ([np(ALL + "egress: []}")], "web > out 1/TCP", True, "no pod here"),
    ([np(ALL + "egress: []}")], "out > web 1/TCP", False, "isolated by shop/p, no rule allows"),
    ([np(ALL + "policyTypes: [Egress]}")], "web > out 1/TCP", False, "isolated by shop/p, no rule allows"),
    ([np(ALL + "egress: [{ports: [{port: 53, protocol: UDP}]}]}")], "web > out 53/UDP", True, "no pod here"),
    ([np(ALL + "egress: [{ports: [{port: 53, protocol: UDP}]}]}")], "web > out 53/TCP", False, "isolated by shop/p, no rule allows"),
    ([np(ALL + "ingress: [{}]}")], "out > db 9/SCTP", True, "NetworkPolicy shop/p ingress[0]"),
    ([np(ALL + "ingress: [{from: [{podSelector: {}}]}]}")], "probe > db 1/TCP", False, "isolated by shop/p, no rule allows"),
    ([np(ALL + "ingress: [{from: [{podSelector: {}}]}]}")], "web > db 1/TCP", True, "NetworkPolicy shop/p ingress[0].from[0]"),
    ([np(ALL + "ingress: [{from: [{namespaceSelector: {}}]}]}")], "probe > db 1/TCP", True, "NetworkPolicy shop/p ingress[0].from[0]"),
    ([np(ALL + "ingress: [{from: [{namespaceSelector: {}}]}]}")], "out > db 1/TCP", False, "isolated by shop/p, no rule allows"),
    ([np(ALL + "ingress: [{from: [{namespaceSelector: {}}]}]}")], "node-1 > db 1/TCP", False, "isolated by shop/p, no rule allows"),
    ([np(ALL + "ingress: [{from: [{namespaceSelector: {matchLabels: {team: lab}}, podSelector: {matchLabels: {app: web}}}]}]}")], "probe > db 1/TCP", False, "isolated by shop/p, no rule allows"),
    ([np(ALL + "ingress: [{from: [{podSelector: {matchLabels: {app: x}}}, {namespaceSelector: {matchLabels: {team: lab}}}]}]}")], "probe > db 1/TCP", True, "NetworkPolicy shop/p ingress[0].from[1]"),
    ([np(ALL + "ingress: [{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: lab}}}]}]}")], "probe > db 1/TCP", True, "NetworkPolicy shop/p ingress[0].from[0]"),
    ([np(ALL + "ingress: [{from: [{ipBlock: {cidr: 203.0.113.0/24, except: [203.0.113.8/29]}}]}]}")], "out > db 1/TCP", False, "isolated by shop/p, no rule allows"),
    ([np(ALL + "ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0}}]}]}")], "v6 > db 1/TCP", False, "isolated by shop/p, no rule allows"),
    ([np(ALL + "ingress: [{from: [{ipBlock: {cidr: 10.244.2.0/24}}]}]}")], "probe > db 1/TCP", True, "NetworkPolicy shop/p ingress[0].from[0]"),
    ([np(ALL + "ingress: [{ports: [{port: http}]}]}")], "probe > db 5432/TCP", True, "NetworkPolicy shop/p ingress[0]"),
    ([np(ALL + "ingress: [{ports: [{port: http}]}]}")], "probe > web 5432/TCP", False, "isolated by shop/p, no rule allows"),
    ([np(ALL + "ingress: [{ports: [{port: dns}]}]}")], "probe > db 53/UDP", False, "isolated by shop/p, no rule allows"),
    ([np(ALL + "ingress: [{ports: [{port: dns, protocol: UDP}]}]}")], "probe > db 53/UDP", True, "NetworkPolicy shop/p ingress[0]"),
    ([np(ALL + "ingress: [{ports: [{port: 80, endPort: 90}]}]}")], "probe > db 90/TCP", True, "NetworkPolicy shop/p ingress[0]"),
    ([np(ALL + "ingress: [{ports: [{port: 80, endPort: 90}]}]}")], "probe > db 91/TCP", False, "isolated by shop/p, no rule allows"),
    ([np(ALL + "ingress: [{ports: [{protocol: SCTP}]}]}")], "probe > db 91/TCP", False, "isolated by shop/p, no rule allows"),
    ([np(ALL + "ingress: [{ports: [{protocol: TCP}]}]}")], "probe > db 0/ICMP", False, "isolated by shop/p, no rule allows"),
    ([np(ALL + "ingress: [{from: [{namespaceSelector: {}}]}]}")], "probe > db 0/ICMP", True, "NetworkPolicy shop/p ingress[0].from[0]"),
    ([CLOSED, np("{podSelector: {matchExpressions: [{key: app, operator: In, values: [db, x]}]}, ingress: [{from: [{namespaceSelector: {}}]}]}", "q")], "probe > db 1/TCP", True, "NetworkPolicy shop/q ingress[0].from[0]"),
    ([CLOSED, np(ALL + "policyTypes: [Ingress]}", "q")], "probe > db 1/TCP", False, "isolated by shop/p, shop/q, no rule allows"),
    ([np("{podSelector: {matchExpressions: [{key: tier, operator: NotIn, values: [x]}]}}")], "probe > db 1/TCP", False, "isolated by shop/p, no rule allows"),
    ([np("{podSelector: {matchLabels: {app: probe}}}", namespace="lab")], "web > agent 1/TCP", True, "no pod here"),
    ([np(ALL + "egress: [{to: [{podSelector: {}}]}], policyTypes: [Egress]}", namespace="lab")], "agent > out 1/TCP", True, "no pod here"),
    ([np(ALL + "egress: [{to: [{namespaceSelector: {}}]}], policyTypes: [Egress]}")], "web > agent 1/TCP", False, "isolated by shop/p, no rule allows"),
    ([np(ALL + "egress: [{to: [{namespaceSelector: {}}]}], policyTypes: [Egress]}")], "web > job 1/TCP", False, "isolated by shop/p, no rule allows"),
    ([cnp("ingress: [{action: Deny, from: [{namespaces: {}}]}]")], "probe > db 1/TCP", False, "ClusterNetworkPolicy c ingress[0].from[0] Deny"),
    ([cnp("ingress: [{action: Deny, from: [{namespaces: {}}]}]")], "out > db 1/TCP", True, "not isolated"),
    ([cnp("ingress: [{action: Accept, from: [{namespaces: {}}]}]"), CLOSED], "probe > db 1/TCP", True, "ClusterNetworkPolicy c ingress[0].from[0] Accept"),
    ([cnp("ingress: [{action: Pass, from: [{namespaces: {}}]}]"), cnp("ingress: [{action: Accept, from: [{namespaces: {}}]}]", "d", priority=11), CLOSED], "probe > db 1/TCP", False, "isolated by shop/p, no rule allows"),
    ([cnp("ingress: [{action: Deny, from: [{namespaces: {}}]}]", "d", priority=11), cnp("ingress: [{action: Accept, from: [{namespaces: {}}]}]", priority=9)], "probe > db 1/TCP", True, "ClusterNetworkPolicy c ingress[0].from[0] Accept"),
    ([cnp("ingress: [{action: Deny, from: [{namespaces: {}}]}]", tier="Baseline")], "probe > db 1/TCP", False, "ClusterNetworkPolicy c ingress[0].from[0] Deny"),
    ([cnp("ingress: [{action: Deny, from: [{namespaces: {}}]}]", tier="Baseline"), np(ALL + "ingress: [{}]}")], "probe > db 1/TCP", True, "NetworkPolicy shop/p ingress[0]"),
    ([cnp("egress: [{action: Deny, to: [{networks: [203.0.113.0/24, 2001:db8::/32]}]}]")], "web > v6 1/TCP", False, "ClusterNetworkPolicy c egress[0].to[0] Deny"),
    ([cnp("egress: [{action: Deny, to: [{nodes: {matchLabels: {disk: ssd}}}]}]")], "db > agent 1/TCP", False, "ClusterNetworkPolicy c egress[0].to[0] Deny"),
    ([cnp("egress: [{action: Deny, to: [{nodes: {matchLabels: {disk: ssd}}}]}]")], "db > node-2 1/TCP", True, "no pod here"),
    ([cnp("egress: [{action: Accept, to: [{namespaces: {}}]}]"), CLOSED], "web > db 1/TCP", False, "isolated by shop/p, no rule allows"),
    ([cnp("ingress: [{action: Deny, from: [{namespaces: {}}], protocols: [{tcp: {destinationPort: {range: {start: 5, end: 9}}}}]}]")], "probe > db 9/TCP", False, "ClusterNetworkPolicy c ingress[0].from[0] Deny"),
    ([cnp("ingress: [{action: Deny, from: [{namespaces: {}}], protocols: [{destinationNamedPort: dns}]}]")], "probe > db 53/UDP", False, "ClusterNetworkPolicy c ingress[0].from[0] Deny"),
    ([cnp("ingress: [{action: Deny, from: [{namespaces: {}}], protocols: [{sctp: {}}]}]")], "probe > db 1/SCTP", False, "ClusterNetworkPolicy c ingress[0].from[0] Deny"),
    (["{apiVersion: policy.networking.k8s.io/v1alpha1, kind: AdminNetworkPolicy, metadata: {name: a}, spec: {priority: 5, subject: {namespaces: {}}, ingress: [{action: Deny, from: [{pods: {namespaceSelector: {}, podSelector: {matchLabels: {app: probe}}}}], ports: [{portNumber: {port: 7, protocol: TCP}}]}]}}"], "probe > db 7/TCP", False, "AdminNetworkPolicy a ingress[0].from[0] Deny"),
    (["{apiVersion: policy.networking.k8s.io/v1alpha1, kind: BaselineAdminNetworkPolicy, metadata: {name: default}, spec: {subject: {namespaces: {}}, egress: [{action: Deny, to: [{networks: [203.0.113.9/32]}], ports: [{portRange: {start: 7, end: 9, protocol: UDP}}]}]}}"], "probe > out 9/UDP", False, "BaselineAdminNetworkPolicy default egress[0].to[0] Deny"),
]  # fmt: skip


@pytest.mark.parametrize(("policies", "call", "allowed", "reason"), TABLE, ids=range(len(TABLE)))
def test_a_packet_and_the_reason(policies: list[str], call: str, allowed: bool, reason: str) -> None:
    verdict = judge(index_of(*policies), call)
    assert verdict.allowed is allowed
    assert reason in (str(verdict.ingress), str(verdict.egress))


def test_a_name_is_known_to_the_sender_only() -> None:
    index = index_of(
        cnp(
            "egress: [{action: Accept, to: [{domainNames: ['*.example.org']}]}, {action: Deny, to: [{networks: [0.0.0.0/0]}]}]"
        )
    )
    web, addr = index.pod("shop", "web"), address("203.0.113.9")
    assert web is not None
    for names, allowed in (
        (("a.example.org",), True),
        (("a.b.example.org.",), True),
        (("example.org",), False),
        ((), False),
    ):
        assert index.judge(Packet(web, index.end(*addr, names), "TCP", 443)).allowed is allowed


BACKWARDS = [
    (cnp("ingress: [{action: Deny, from: [{networks: [1.2.3.0/24]}]}]"), "spec.ingress[0].from[0]"),
    (cnp("egress: [{action: Deny, to: [{domainNames: [a.example]}]}]"), "spec.egress[0]"),
    (cnp("egress: [{action: Deny, to: []}]"), "spec.egress[0].to"),
    ("{apiVersion: policy.networking.k8s.io/v1alpha1, kind: BaselineAdminNetworkPolicy, metadata: {name: default}, spec: {subject: {namespaces: {}}, egress: [{action: Pass, to: [{namespaces: {}}]}]}}", "spec.egress[0].action"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "path"), BACKWARDS, ids=[path for _, path in BACKWARDS])
def test_what_the_api_server_refuses_of_cluster_policies(text: str, path: str) -> None:
    with pytest.raises(InputError) as caught:
        convert(yaml.safe_load(text))
    assert caught.value.path == path


PORTS, FROM, TO = "ingress: [{ports: [%s]}]}", "ingress: [{from: [%s]}]}", "egress: [{to: [%s]}]}"
NAME = ".ingress[0].ports[0].port"
REFUSED = [  # the spec, the path behind `spec`, and the API server's words
    (PORTS % "{endPort: 7}", ".ingress[0].ports[0].endPort", "Invalid value: 7: may not be specified when `port` is not specified"),
    (PORTS % "{port: http, endPort: 7}", ".ingress[0].ports[0].endPort", "Invalid value: 7: may not be specified when `port` is non-numeric"),
    (PORTS % "{port: 80, endPort: 79}", ".ingress[0].ports[0].endPort", "Invalid value: 79: must be greater than or equal to `port`"),
    (PORTS % "{port: '80'}", NAME, 'Invalid value: "80": must contain at least one letter (a-z)'),
    (PORTS % "{port: sixteen-letters-}", NAME, 'Invalid value: "sixteen-letters-": must be no more than 15 characters'),
    (PORTS % "{port: Http}", NAME, 'Invalid value: "Http": must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)'),
    (PORTS % "{port: a--b}", NAME, 'Invalid value: "a--b": must not contain consecutive hyphens'),
    (PORTS % "{port: -a}", NAME, 'Invalid value: "-a": must not begin or end with a hyphen'),
    (FROM % "{}", ".ingress[0].from[0]", "Required value: must specify a peer"),
    (TO % "{podSelector: {}, ipBlock: {cidr: 1.2.3.0/24}}", ".egress[0].to[0]", "Forbidden: may not specify both ipBlock and another peer"),
    (FROM % "{namespaceSelector: {}, ipBlock: {cidr: 1.2.3.0/24}}", ".ingress[0].from[0]", "Forbidden: may not specify both ipBlock and another peer"),
    (TO % "{ipBlock: {cidr: 1.2.3.0}}", ".egress[0].to[0].ipBlock.cidr", 'Invalid value: "1.2.3.0": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)'),
    (TO % "{ipBlock: {cidr: 1.2.3.0/33}}", ".egress[0].to[0].ipBlock.cidr", 'Invalid value: "1.2.3.0/33": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)'),
    (TO % "{ipBlock: {cidr: ''}}", ".egress[0].to[0].ipBlock.cidr", "Required value"),
    (TO % "{ipBlock: {cidr: 1.2.3.0/24, except: [1.2.3.0/24]}}", ".egress[0].to[0].ipBlock.except[0]", 'Invalid value: "1.2.3.0/24": must be a strict subset of `cidr`'),
    (TO % "{ipBlock: {cidr: 1.2.3.0/24, except: [1.2.4.0/25]}}", ".egress[0].to[0].ipBlock.except[0]", 'Invalid value: "1.2.4.0/25": must be a strict subset of `cidr`'),
    (TO % "{ipBlock: {cidr: 1.2.3.0/24, except: [x]}}", ".egress[0].to[0].ipBlock.except[0]", 'Invalid value: "x": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)'),
    ("policyTypes: [Ingress, Egress, Ingress]}", ".policyTypes", 'Invalid value: ["Ingress", "Egress", "Ingress"]: may not specify more than two policyTypes'),
    (FROM % "{podSelector: {matchExpressions: [{key: a, operator: Exists, values: [b]}]}}", ".ingress[0].from[0].podSelector.matchExpressions[0].values", "Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'"),
    (FROM % "{namespaceSelector: {matchExpressions: [{key: a, operator: In}]}}", ".ingress[0].from[0].namespaceSelector.matchExpressions[0].values", "Required value: must be specified when `operator` is 'In' or 'NotIn'"),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "path", "words"), REFUSED, ids=[spec for spec, _, _ in REFUSED])
def test_what_the_api_server_refuses_in_its_words(spec: str, path: str, words: str) -> None:
    """Those of ValidateNetworkPolicySpec (Kubernetes 1.36, pkg/apis/networking/validation)."""
    with pytest.raises(InputError) as caught:
        convert(yaml.safe_load(np(ALL + spec)))
    assert (caught.value.path, caught.value.what) == (f"spec{path}", words)


DECODED = [  # refused before those rules are asked: by the types of the fields
    (PORTS % "{port: 0}", ".ingress[0].ports[0].port"),
    (PORTS % "{port: 65536}", ".ingress[0].ports[0].port"),
    (PORTS % "{protocol: ICMP}", ".ingress[0].ports[0].protocol"),
    ("policyTypes: [Ingres]}", ".policyTypes[0]"),
    (FROM % "{podSelector: {matchExpressions: [{key: a, operator: Is}]}}", ".ingress[0].from[0].podSelector.matchExpressions[0].operator"),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "path"), DECODED, ids=[spec for spec, _ in DECODED])
def test_what_no_field_can_hold(spec: str, path: str) -> None:
    with pytest.raises(InputError) as caught:
        convert(yaml.safe_load(np(ALL + spec)))
    assert caught.value.path == f"spec{path}"


# -- scale ------------------------------------------------------------------------------------------


def large(pods: int, policies: int) -> list[Object]:
    made = [
        f"{{apiVersion: v1, kind: Pod, metadata: {{name: p{n}, namespace: n{n % 50}, labels: {{app: a{n // 50}}}}}, spec: {{nodeName: node-1, "
        f"containers: [{{name: c}}]}}, status: {{phase: Running, podIP: 10.{n >> 16}.{n >> 8 & 255}.{n & 255}}}}}"
        for n in range(1, pods + 1)
    ]
    made += [
        np(
            f"{{podSelector: {{matchLabels: {{app: a{n // 50 % 100}}}}}, ingress: [{{from: [{{podSelector: {{matchLabels: {{app: a{n % 7}}}}}}}]}}]}}",
            f"p{n}",
            f"n{n % 50}",
        )
        for n in range(policies)
    ]
    return [*load_text("\n---\n".join(made)).objects]


def test_a_verdict_asks_the_rules_of_its_own_pair_only(monkeypatch: pytest.MonkeyPatch) -> None:
    index = PolicyIndex(large(150, 400))
    web, db = index.pod("n1", "p51"), index.pod("n1", "p101")
    assert web is not None and db is not None
    packet = Packet(web, db, "TCP", 80)
    first = index.judge(packet)
    before = index.compiled
    monkeypatch.delattr(Policy, "rules")  # the second packet of a pair looks at no policy's rules
    assert index.judge(packet) == first and index.compiled == before
    with pytest.raises(AttributeError):
        index.judge(Packet(db, web, "TCP", 80))


def test_a_relabelled_pod_concerns_itself_alone() -> None:
    objects = large(150, 400)
    index = PolicyIndex(objects)
    ends = index.pods
    for end in ends:
        index.judge(Packet(ends[0], end, "TCP", 80))
    before = index.compiled
    (pod,) = load_text("{apiVersion: v1, kind: Pod, metadata: {name: p51, namespace: n1, labels: {app: a2}}, spec: {nodeName: node-1, containers: [{name: c}]}, status: {phase: Running, podIP: 10.0.0.51}}").objects  # fmt: skip
    index.put(pod)
    for end in index.pods:
        index.judge(Packet(ends[0], end, "TCP", 80))
    assert index.compiled - before == 1, "its own ingress"
    policy = next(each for each in objects if isinstance(each, NetworkPolicy))
    before = index.compiled
    index.remove(policy.key)
    for end in index.pods:
        index.judge(Packet(ends[0], end, "TCP", 80))
    chosen = [end for end in index.pods if end.pod and end.pod.namespace == "n0" and end.pod.labels["app"] == "a0"]
    assert index.compiled - before == len([end for end in chosen if end is not ends[0]])


SOME = st.lists(st.sampled_from([each for row in TABLE for each in row[0]]), max_size=4)


@given(SOME, SOME, st.sampled_from([row[1] for row in TABLE]))
def test_an_index_that_follows_changes_is_one_that_is_made_anew(first: list[str], then: list[str], call: str) -> None:
    index = index_of(*first)
    judge(index, call)
    new = {obj.key: obj for text in then for obj in convert(yaml.safe_load(text))}
    for text in first:
        for obj in convert(yaml.safe_load(text)):
            if obj.key not in new:
                index.remove(obj.key)
    for obj in new.values():
        index.put(obj)
    fresh = PolicyIndex([*load_text(WORLD).objects, *new.values()])
    assert [str(each) for each in judge(index, call)] == [str(each) for each in judge(fresh, call)]


def test_ends_are_one_object_each() -> None:
    index = index_of()
    assert index.end(*address("203.0.113.9")) is index.end(*address("203.0.113.9"))
    assert isinstance(index.pod("shop", "web"), End) and index.pod("lab", "agent") is None
