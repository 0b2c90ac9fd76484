"""NetworkPolicies, one behaviour a row, each by kube-router's rules and by felix's, and each judged by this machine's kernel.

The kernel gets the rules and sets by its own iptables-restore and ipset.
"""

from __future__ import annotations

import pytest

from twin_rows import C, ping, send, tcp, udp
from twins import agrees, needs_twin, scenario

pytestmark = needs_twin

DATAPLANES = {
    "kube-router": "{nodes: 2, policy: kube-router, hairpin: true}",
    "calico": "{nodes: 2, network: calico, underlay: switched, calico: {vxlanMode: Never}}",
}
WEB = "default/web"
NEAR = """apiVersion: v1
kind: Pod
metadata: {name: near, labels: {app: near}}
spec: {nodeName: node-2, containers: [{name: c, ports: [{containerPort: 8080}]}]}
"""
SHORT = {"timeout": "700ms"}


def policy(spec: str, name: str = "p") -> str:
    return f"apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n"


def apply(spec: str, name: str = "p") -> str:
    meta = f"metadata: {{name: {name}}}"
    return f"- apply: {{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, {meta}, spec: {{{spec}}}}}\n"


ALL, CLIENT = "podSelector: {matchLabels: {app: web}}", "podSelector: {matchLabels: {app: client}}"
CLOSED, MUTE = f"{ALL}, policyTypes: [Ingress]", f"{CLIENT}, policyTypes: [Egress]"
BY_CLIENT = f"{ALL}, ingress: [{{from: [{{podSelector: {{matchLabels: {{app: client}}}}}}]}}]"
BY_NEAR = BY_CLIENT.replace("app: client", "app: near")
PORT = f"{ALL}, ingress: [{{ports: [{{port: 8080}}]}}]"
UDP = f"{ALL}, ingress: [{{ports: [{{port: 53, protocol: UDP}}]}}]"
RANGE = f"{ALL}, ingress: [{{ports: [{{port: 8000, endPort: 8079}}, {{port: 8081, endPort: 9000}}]}}]"
WIDE = f"{ALL}, ingress: [{{ports: [{{port: 8000, endPort: 9000}}]}}]"
BLOCK = f"{ALL}, ingress: [{{from: [{{ipBlock: {{cidr: 10.244.0.0/16}}}}]}}]"
HOLE = f"{ALL}, ingress: [{{from: [{{ipBlock: {{cidr: 0.0.0.0/0, except: [10.244.0.0/16]}}}}]}}]"
OUT = f"{CLIENT}, egress: [{{to: [{{podSelector: {{matchLabels: {{app: web}}}}}}], ports: [{{port: 8080}}]}}]"
OUT_BLOCK = f"{CLIENT}, egress: [{{to: [{{ipBlock: {{cidr: 203.0.113.0/24}}}}]}}]"
OUT_VIP = f"{CLIENT}, egress: [{{to: [{{ipBlock: {{cidr: 10.96.0.0/12}}}}]}}]"
DNS = f"{CLIENT}, egress: [{{ports: [{{port: 53, protocol: UDP}}, {{port: 53}}]}}]"
SPACE = f"{ALL}, ingress: [{{from: [{{namespaceSelector: {{}}}}]}}]"
ELSEWHERE = f"{ALL}, ingress: [{{from: [{{namespaceSelector: {{matchLabels: {{team: x}}}}}}]}}]"
OPEN = f"{ALL}, ingress: [{{}}]"
BOTH = f"{CLIENT}, policyTypes: [Ingress, Egress]"


def calls(to: str = WEB, frm: str = C) -> str:
    """TCP, UDP and a ping."""
    return tcp(f"{to}:8080", frm=frm, **SHORT) + udp(f"{to}:53", frm=frm, **SHORT) + ping(to, frm=frm)


RELABEL = "- apply: {apiVersion: v1, kind: Pod, metadata: {name: client, labels: {app: LABEL}}, spec: {nodeName: node-1, containers: [{name: client}]}}\n"
ROWS: dict[str, dict[str, str]] = {
    "no policy": {"steps": calls()},
    "closed": {"steps": calls(), "more": policy(CLOSED)},
    "closed, same node": {"steps": calls(), "more": policy(CLOSED), "node": "node-1"},
    "closed, by a Service": {"steps": tcp("svc/web:80", **SHORT) + udp("svc/web:53", **SHORT), "more": policy(CLOSED)},
    "closed, by a Service, same node": {"steps": tcp("svc/web:80", **SHORT) + udp("svc/web:53", **SHORT), "more": policy(CLOSED), "node": "node-1"},
    "closed pods call out": {"steps": tcp("external:80", frm=WEB, **SHORT) + ping("default/client", frm=WEB), "more": policy(CLOSED)},
    "closed, from its own node": {"steps": calls(frm="node/node-2"), "more": policy(CLOSED)},
    "closed, from another node": {"steps": calls(frm="node/node-1"), "more": policy(CLOSED)},
    "closed, from its own pod": {"steps": tcp("svc/web:80", frm=WEB, **SHORT) + tcp("default/web:8080", frm=WEB, **SHORT), "more": policy(CLOSED)},
    "open to a label": {"steps": calls() + calls(frm="default/near"), "more": policy(BY_CLIENT) + "---\n" + NEAR},
    "open to another label": {"steps": calls() + calls(frm="default/near"), "more": policy(BY_NEAR) + "---\n" + NEAR},
    "open to a port": {"steps": calls(), "more": policy(PORT)},
    "open to UDP": {"steps": calls(), "more": policy(UDP)},
    "ranges around the port": {"steps": calls(), "more": policy(RANGE)},
    "a range with the port": {"steps": calls(), "more": policy(WIDE)},
    "a block": {"steps": calls() + calls(frm="node/node-1"), "more": policy(BLOCK)},
    "a block with a hole": {"steps": calls() + calls(frm="node/node-1"), "more": policy(HOLE)},
    "every namespace": {"steps": calls() + calls(frm="node/node-1"), "more": policy(SPACE)},
    "no namespace": {"steps": calls(), "more": policy(ELSEWHERE)},
    "mute": {"steps": calls() + tcp("external:80", **SHORT) + ping("node/node-1"), "more": policy(MUTE)},
    "mute, same node": {"steps": calls(), "more": policy(MUTE), "node": "node-1"},
    "mute pods answer": {"steps": ping("default/client", frm=WEB), "more": policy(MUTE)},
    "out to a port of a label": {"steps": calls() + tcp("svc/web:80", **SHORT) + tcp("external:80", **SHORT), "more": policy(OUT)},
    "out to a block": {"steps": calls() + tcp("external:80", **SHORT), "more": policy(OUT_BLOCK)},
    "out to Services' addresses": {"steps": tcp("svc/web:80", **SHORT), "more": policy(OUT_VIP)},
    "out to a port": {"steps": calls(), "more": policy(DNS)},
    "both closed": {"steps": calls() + ping("default/client", frm=WEB), "more": policy(BOTH)},
    "two policies": {"steps": calls(), "more": policy(CLOSED) + "---\n" + policy(PORT, "q")},
    "two sides": {"steps": calls(), "more": policy(BY_CLIENT) + "---\n" + policy(OUT, "q")},
    "closed, then open": {"steps": calls() + apply(OPEN) + calls(), "more": policy(CLOSED)},
    "open, then closed": {"steps": calls() + apply(CLOSED) + calls()},
    "deleted": {"steps": calls() + "- delete: networkpolicy/p\n" + calls(), "more": policy(CLOSED)},
    "relabelled": {"steps": calls() + RELABEL.replace("LABEL", "near") + calls(), "more": policy(BY_NEAR)},
    "a connection outlives a deny": {"steps": tcp("default/web:8080", close="false") + apply(CLOSED) + tcp("default/web:8080", **SHORT)},
    "a raw SYN": {"steps": send("IP(dst='10.244.2.2')/TCP(sport=4444, dport=8080, flags='S')"), "more": policy(CLOSED)},
}  # fmt: skip


@pytest.mark.parametrize("dataplane", DATAPLANES)
@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_row(row: dict[str, str], dataplane: str) -> None:
    agrees(scenario(**{**row, "cluster": DATAPLANES[dataplane]}), f"policy, {dataplane}")


def test_each_dataplane_has_its_rows() -> None:
    assert len(ROWS) >= 25
