"""Every command reports what is not modelled, once, on stderr; results stay on stdout and carry it as data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from emu.cli import main

PODS = """\
apiVersion: v1
kind: Pod
metadata: {name: client}
spec: {nodeName: node-1, containers: [{name: app}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec: {nodeName: node-2, containers: [{name: app, ports: [{containerPort: 80}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
"""
POLICY = """\
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny}
spec: {podSelector: {}, policyTypes: [Ingress]}
"""
ECN = "net.ipv4.tcp_ecn = 1 is not modelled: ECN (the flags of SYNs, the ECN bits of IP)"
DENIED = "networkpolicy/deny selects default/web for Ingress, and what enforces it is not modelled"
NEAR = 'service/web: spec.trafficDistribution "PreferClose" is not modelled: every endpoint is as likely, near or far'

Capsys = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def scenario(folder: Path, manifests: str, *, cluster: str = "nodes: 2", to: str = "default/web:80") -> None:
    head = f"apiVersion: emu/v1\nkind: Scenario\nmetadata: {{name: s}}\ncluster: {{{cluster}}}\n"
    steps = f"steps:\n- tcp: {{from: default/client, to: '{to}', send: hi}}\n  expect: {{outcome: delivered}}\n---\n"
    (folder / "s.yaml").write_text(head + steps + manifests)


def notes(capsys: Capsys) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_run_notes_sysctls(capsys: Capsys, folder: Path) -> None:
    scenario(folder, PODS, cluster="nodes: 2, sysctls: {net.ipv4.tcp_ecn: 1}")
    assert main(["run", "s.yaml", "-o", "json"]) == 0
    captured = capsys.readouterr()
    assert captured.err == f"note: s: s.yaml:4: cluster.sysctls: {ECN}\n"
    assert json.loads(captured.out)["notes"] == [f"s.yaml:4: cluster.sysctls: {ECN}"]
    assert main(["validate", "s.yaml"]) == 0
    assert notes(capsys) == [f"note: s.yaml:4: cluster.sysctls: {ECN}"]
    assert main(["show", "conntrack", "node-1", "-f", "s.yaml"]) == 0
    assert notes(capsys) == [f"note: s.yaml:4: cluster.sysctls: {ECN}"]


def test_a_field_in_every_command(capsys: Capsys, folder: Path) -> None:
    manifests = PODS.replace("selector: {app: web}", "selector: {app: web}, trafficDistribution: PreferClose")
    scenario(folder, manifests, to="svc/web:80")
    (folder / "web.yaml").write_text(manifests)
    assert main(["run", "s.yaml"]) == 0
    assert notes(capsys) == [f"note: s: s.yaml:22: {NEAR}"]
    for words in (
        ["validate", "web.yaml"],
        ["show", "rules", "node-1", "-f", "web.yaml"],
        ["trace", "-S", "client", "-D", "svc/web:80", "-f", "web.yaml"],
    ):
        assert main(words) == 0
        assert notes(capsys) == [f"note: web.yaml:14: {NEAR}"]
    assert main(["trace", "-S", "client", "-D", "svc/web:80", "-f", "web.yaml", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["warnings"] == [f"web.yaml:14: {NEAR}"]


@pytest.mark.usefixtures("unknown_dataplane")
def test_a_policy_leaves_the_flow_undecided(capsys: Capsys, folder: Path) -> None:
    scenario(folder, PODS + POLICY, cluster="nodes: 2, network: kindnet")
    kind = "networkpolicy/deny: what enforces it with network kindnet is not modelled: a flow of a pod that it selects is undecided"
    assert main(["run", "s.yaml"]) == 3
    captured = capsys.readouterr()
    assert captured.err == f"note: s: {kind}\n"
    assert f"undecided tcp default/client -> default/web: {DENIED}" in captured.out
    assert main(["trace", "-S", "client", "-D", "web:80", "-f", "s.yaml"]) == 3
    captured = capsys.readouterr()
    assert captured.err == f"note: {kind}\n"
    assert captured.out.endswith(f"outcome: undecided ({DENIED}) at default/web by networkpolicy/deny\n")


def test_a_network_that_enforces_no_policy_is_a_note_of_every_command(capsys: Capsys, folder: Path) -> None:
    (folder / "web.yaml").write_text(PODS + POLICY)
    scenario(folder, PODS + POLICY)
    what = (
        "cluster.policy: network bridge enforces no policy: networkpolicy/deny has no effect, nor has any other "
        "(policy: kube-router enforces them)"
    )
    assert main(["run", "s.yaml"]) == 0
    assert capsys.readouterr().err == f"note: s: {what}\n"
    assert main(["trace", "-S", "client", "-D", "web:80", "-f", "web.yaml"]) == 0
    assert capsys.readouterr().err == f"note: {what}\n"


@pytest.mark.usefixtures("unknown_dataplane")
def test_an_expected_undecided_flow_holds(capsys: Capsys, folder: Path) -> None:
    scenario(folder, PODS + POLICY, cluster="nodes: 2, network: kindnet")
    text = (folder / "s.yaml").read_text()
    (folder / "s.yaml").write_text(
        text.replace("outcome: delivered", 'outcome: undecided, reason: "networkpolicy/deny *"')
    )
    assert main(["run", "s.yaml"]) == 0
    assert "all held" in capsys.readouterr().out


def test_a_family_that_the_cluster_does_not_have(capsys: Capsys, folder: Path) -> None:
    scenario(
        folder,
        PODS.replace("selector: {app: web},", "selector: {app: web}, ipFamilies: [IPv6], ipFamilyPolicy: SingleStack,"),
    )
    assert main(["run", "s.yaml"]) == 2
    assert notes(capsys) == [
        'error: s.yaml:22: spec.ipFamilies[0]: Invalid value: "IPv6": not configured on this cluster'
    ]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (
            ("kind: Service", "kind: Sevice"),
            'web.yaml:12: sevice/web: unknown kind "Sevice" in v1 (expected "Service"?)',
        ),
        (
            ("ports: [{port: 80}]", "ports: [{port: 80, targetport: 81}]"),
            'web.yaml:14: service/web: unknown field "spec.ports[0].targetport" (expected "targetPort"?)',
        ),
    ],
)
def test_what_is_misspelt(change: tuple[str, str], found: str, capsys: Capsys, folder: Path) -> None:
    (folder / "web.yaml").write_text(PODS.replace(*change))
    for words in (["validate", "web.yaml"], ["show", "routes", "node-1", "-f", "web.yaml"]):
        assert main(words) == 0
        assert notes(capsys) == [f"note: {found}"]


def test_a_misspelt_field_beside_an_error(capsys: Capsys, folder: Path) -> None:
    (folder / "web.yaml").write_text(PODS.replace("containers: [{name: app}]", "contaners: [{name: app}]"))
    assert main(["trace", "-S", "client", "-D", "web:80", "-f", "web.yaml"]) == 2
    what = 'a pod needs at least one container; line 4: unknown field "spec.contaners" (expected "containers"?)'
    assert notes(capsys) == [f"error: web.yaml:4: spec.containers: {what}"]


@pytest.mark.parametrize(
    ("sysctl", "status", "found"),
    [
        ("net.ipv4.tcp_ecn=1", 0, [ECN]),
        (
            "net.ipv4.conf.all.proxy_arp_pvlan=1",
            3,
            ["net.ipv4.conf.all.proxy_arp_pvlan = 1 is not modelled: ARP that a device answers for its own link"],
        ),
        ("net.ipv4.conf.all.rp_filter=1", 0, []),
    ],
)
def test_a_sysctl_of_a_trace_by_rules(sysctl: str, status: int, found: list[str], capsys: Capsys, folder: Path) -> None:
    (folder / "node.rules").write_text("*filter\n-A INPUT -j ACCEPT\nCOMMIT\n")
    words = ["trace", "--rules", "node.rules", "--from", "192.0.2.5", "--in-iface", "eth0", "--to", "192.0.2.1:80/tcp"]
    assert main([*words, "--sysctl", sysctl]) == status
    assert [line for line in notes(capsys) if "assumed" not in line] == [f"note: {each}" for each in found]
