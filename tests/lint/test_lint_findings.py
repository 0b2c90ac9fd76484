"""Each id of the closed list is found in the smallest input that has it, at its place, and nowhere else; the formats hold their standards."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import yaml
from jsonschema import Draft4Validator

from emu.cli import main
from emu.kube.dumped import IDS as DUMPED
from emu.lint.catalogue import KINDS, SEVERITIES
from emu.modelled import Finding

ROOT = Path(__file__).parents[2]
Capsys = pytest.CaptureFixture[str]
HEAD = "apiVersion: emu/v1\nkind: Scenario\nmetadata: {name: s}\n"
POD = "{apiVersion: v1, kind: Pod, metadata: {name: NAME, labels: {app: NAME}}, spec: {SPEC}}\n---\n"
C = "containers: [{name: c, ports: [{containerPort: 80, name: http}]}]"
WEB = POD.replace("NAME", "web").replace("SPEC", C)
SERVICE = "{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {selector: {app: web}, ports: [{port: 80PORT}]}}\n---\n"
RIGHT = WEB + SERVICE.replace("PORT", "")
NODE = (
    "{apiVersion: v1, kind: Node, metadata: {name: n1, uid: u1}, spec: {podCIDR: 10.244.0.0/24}, status: {addresses: [{type: InternalIP, "
    "address: 10.0.0.1}], conditions: [{type: Ready, status: 'True'}]}}\n---\n"
)
DECLARED = NODE.replace(", uid: u1", "")
EXTERNAL = DECLARED.replace("address: 10.0.0.1}", "address: 10.0.0.5}, {type: ExternalIP, address: 203.0.113.77}")
LIVE = NODE + (
    "{apiVersion: v1, kind: Pod, metadata: {name: web, labels: {app: web}}, spec: {nodeName: n1, "
    + C
    + "}, status: {phase: Running, "
    "podIP: 10.244.0.5, hostIP: 10.0.0.1, conditions: [{type: Ready, status: 'READY'}]}}\n---\n"
)
SLICE = (
    "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}, addressType: IPv4, "
    "endpoints: [{addresses: [10.244.0.9], conditions: {ready: true}}], ports: [{port: 80, protocol: TCP}]}\n---\n"
)
PING = "steps:\n- ping: {from: default/web, to: node/node-2}\n  expect: {outcome: delivered}\n---\n"
JOB = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: j}\nspec: {template: {spec: {restartPolicy: Never, containers: [{name: c}]}}}\n---\n"
OLD = "{apiVersion: apps/v1beta1, kind: Deployment, metadata: {name: d}, spec: {template: {metadata: {labels: {a: d}}, spec: {containers: [{name: c}]}}}}"
CRON = (
    "apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: c}\nspec: {schedule: '* * * * *', jobTemplate: {spec: {template: {metadata: {annotations: "
    "{emu/runs: 5s}}, spec: {restartPolicy: Never, containers: [{name: c}]}}}}}\n"
)
TO_NODES = "---\n{apiVersion: policy.networking.k8s.io/v1alpha2, kind: ClusterNetworkPolicy, metadata: {name: c}, spec: {tier: Admin, priority: 1, subject: {namespaces: {}}, egress: [{action: Deny, to: [{nodes: {}}]}]}}\n"
POLICY = "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: p}, spec: {podSelector: {matchLabels: {app: APP}}}}\n---\n"

# id: (text, line of the finding or 0, how its sentence begins)
CASES: dict[str, tuple[str, int, str]] = {
    "invalid": (WEB.replace("containerPort: 80", "containerPort: 80000"), 1, "80000 is"),
    "unknown-kind": (RIGHT + "{apiVersion: v1, kind: Sevice, metadata: {name: x}}", 5, 'unknown kind "Sevice"'),
    "unknown-field": (WEB + SERVICE.replace("PORT", ", targetport: 80"), 3, 'unknown field "spec.ports[0].targetport"'),
    "selector-matches-nothing": (WEB + SERVICE.replace("app: web", "app: wbe").replace("PORT", ""), 3, "its selector"),
    "target-port-name": (WEB + SERVICE.replace("PORT", ", targetPort: https"), 3, "no container has"),
    "no-ready-endpoint": (LIVE.replace("READY", "False") + SERVICE.replace("PORT", ""), 5, "its only pod is not ready"),
    "node-name": (DECLARED + WEB.replace("containers", "nodeName: n9, containers"), 3, "spec.nodeName: no node"),
    "unschedulable": (WEB.replace("containers", "nodeSelector: {disk: ssd}, containers"), 1, "stays Pending"),
    "host-port-taken": (
        "".join(POD.replace("NAME", n).replace("SPEC", f"nodeName: n1, hostNetwork: true, {C}") for n in "ab"),
        3,
        "wants port 80/TCP of node n1, which pod/a has",
    ),
    "stale-slice": (LIVE.replace("READY", "True") + SERVICE.replace("PORT", "") + SLICE, 7, "lists 10.244.0.9"),
    "left-out": (LIVE.replace("READY", "True") + WEB.replace("name: web,", "name: x,").replace("80, name", "-1, name"), 5, "is left out"),
    "target-port-number": (WEB + SERVICE.replace("PORT", ", targetPort: 8080"), 3, "targetPort 8080"),
    "port-not-declared": (WEB.replace(", ports: [{containerPort: 80, name: http}]", "") + SERVICE.replace("PORT", ", targetPort: 3000"), 3, "targetPort 3000"),
    "policy-selects-nothing": (WEB + POLICY.replace("APP", "none"), 3, "its podSelector matches no pod"),
    "policy-without-effect": (HEAD + PING + WEB + POLICY.replace("APP", "web"), 0, "network bridge enforces no policy"),
    "pod-without-address": (LIVE.replace("READY", "True") + POD.replace("NAME", "x").replace("SPEC", C), 5, "no address"),
    "pod-not-ready": (LIVE.replace("READY", "False"), 3, "is not ready"),
    "node-not-ready": (
        LIVE.replace("READY", "True").replace("'True'}]}}\n---\n{apiVersion: v1, kind: Pod", "'False', message: stopped}]}}\n---\n{apiVersion: v1, kind: Pod", 1),
        1,
        "not ready: stopped",
    ),
    "declared-twice": (LIVE.replace("READY", "True") + LIVE.partition("---\n")[2].replace("READY", "True"), 0, "is in the export"),
    "newer-field": (LIVE.replace("READY", "True").replace("nodeName", "newThing: 1, nodeName"), 3, 'unknown field "spec.newThing"'),
    "nodes-ignored": (HEAD + "cluster: {nodes: [{name: other}]}\nsteps: []\n---\n" + DECLARED, 4, "no Node object"),
    "subnet-overlap": (HEAD + "cluster: {podSubnet: 192.168.0.0/16}\n" + PING + WEB, 0, "192.168.0.0/16 overlaps"),
    "node-address": (HEAD + "steps: []\n---\n" + DECLARED, 0, "its InternalIP 10.0.0.1"),
    "external-ip-unreachable": (HEAD + "cluster: {lans: [{name: l, subnet: 10.0.0.0/24}]}\nsteps: []\n---\n" + EXTERNAL, 0, "no interface has the ExternalIP"),
    "route-refused": (HEAD + "cluster: {lans: [{name: l, subnet: 192.168.5.0/24, gateway: false}]}\nsteps: []\n---\n" + WEB, 0, "the underlay routes"),
    "policy-not-modelled": (HEAD + "cluster: {network: calico}\n" + PING + WEB + TO_NODES, 0, "peers that are nodes or domain names"),
    "kind-not-modelled": (WEB + "{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: i}}", 3, "kind Ingress"),
    "custom-resource": (WEB + "{apiVersion: example.com/v1, kind: Widget, metadata: {name: w}}", 3, "kind Widget"),
    "field-not-modelled": (WEB + SERVICE.replace("PORT", "").replace("ports:", "trafficDistribution: PreferClose, ports:"), 3, "spec.trafficDistribution"),
    "setting-not-modelled": (HEAD + "cluster: {sysctls: {net.ipv4.tcp_ecn: 1}}\n" + PING + WEB, 4, "net.ipv4.tcp_ecn"),
    "job-runs-on": (JOB, 1, "its pods run on"),
    "cronjob-first-run": (CRON, 1, "its first Job starts"),
    "removed-version": (WEB + OLD, 3, "Deployment of apps/v1beta1 is read as apps/v1"),
    "no-expectation": (HEAD + PING.replace("  expect: {outcome: delivered}\n", "") + WEB, 4, "no step has an `expect`"),
    "assumed": (LIVE.replace("READY", "True"), 0, "no pod network is recognised"),
}  # fmt: skip
RULES = {
    "rule-not-modelled": ("*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -m cgroup --path x -j DROP\nCOMMIT\n", 3, "-m cgroup"),
}  # fmt: skip
ELSEWHERE: dict[str, str] = {
    "kustomization": "tests/cli/test_kustomization.py",
    **dict.fromkeys(DUMPED, "tests/why/test_planted_dumps.py"),
}
EXPORTS = {
    "no-ready-endpoint", "stale-slice", "left-out", "pod-without-address", "pod-not-ready", "node-not-ready", "declared-twice", "newer-field", "assumed",
}  # fmt: skip


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def linted(capsys: Capsys, *words: str) -> tuple[int, list[dict[str, Any]]]:
    status = main(["lint", *words, "-o", "json"])
    return status, json.loads(capsys.readouterr().out)["findings"]


@pytest.mark.parametrize("id", [*CASES, *RULES])
def test_each_id(id: str, folder: Path, capsys: Capsys, request: pytest.FixtureRequest) -> None:
    if id == "policy-not-modelled":
        request.getfixturevalue("unknown_dataplane")
    text, line, begins = (CASES | RULES)[id]
    name = "x.rules" if id in RULES else "x.yaml"
    (folder / name).write_text(text)
    status, found = linted(capsys, name)
    own = [each for each in found if each["id"] == id]
    assert own, found
    assert own[0]["sentence"].startswith(begins), own[0]
    assert (own[0]["line"] or 0) == line and own[0]["severity"] == KINDS[id].severity
    assert own[0]["file"] == (name if line or text.startswith(HEAD) else "")
    other = {each["id"] for each in found if each["severity"] == "error"} - {id}
    assert not other, "one thing is wrong"
    wanted = 2 if id == "invalid" else int(KINDS[id].severity == "error")
    assert status == wanted


def test_every_id_has_its_case() -> None:
    assert {*CASES, *RULES, *ELSEWHERE} == {*KINDS}
    assert [path for path in ELSEWHERE.values() if not (ROOT / path).exists()] == []


def test_the_page_has_the_same_list() -> None:
    page = (ROOT / "emu" / "lint" / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z-]+)` \| (\w+) \| (.*) \|$", page, re.M)
    assert rows == [(id, kind.severity, kind.what) for id, kind in KINDS.items()]


def _ids(tree: ast.AST) -> Iterator[str]:
    """The ids that a module states: in a `Finding(...)`, and wherever a literal is one's word."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Finding":
            last = node.args[3:] + [each.value for each in node.keywords if each.arg == "id"]
            yield from (str(each.value) for each in last if isinstance(each, ast.Constant))


def test_every_finding_that_code_makes_has_an_id_of_the_list() -> None:
    stated = {
        id: path for path in (ROOT / "emu").rglob("*.py") for id in _ids(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert {id: path for id, path in stated.items() if id not in KINDS} == {}
    assert Finding("", "", "").id in KINDS and len(stated) > 10


def test_what_is_right_has_no_findings(folder: Path, capsys: Capsys) -> None:
    (folder / "x.yaml").write_text(RIGHT)
    (folder / "s.yaml").write_text(HEAD + PING + RIGHT)
    assert linted(capsys, "x.yaml", "s.yaml") == (0, [])
    assert main(["lint", "x.yaml"]) == 0
    assert capsys.readouterr().out == "no findings\n"


@pytest.mark.parametrize("least", [*SEVERITIES, "never"])
@pytest.mark.parametrize("id", ["unknown-kind", "target-port-number", "custom-resource"])
def test_from_which_severity_on_it_fails(id: str, least: str, folder: Path) -> None:
    (folder / "x.yaml").write_text(CASES[id][0])
    worse = least in SEVERITIES and SEVERITIES.index(KINDS[id].severity) <= SEVERITIES.index(least)
    assert main(["lint", "x.yaml", "--fail-on", least]) == int(worse)


@pytest.mark.parametrize(
    "text", [RULES["rule-not-modelled"][0], "-P INPUT ACCEPT\n-A INPUT -m cgroup --path x -j DROP\n"]
)
def test_rules_are_known_by_how_they_begin(text: str, folder: Path, capsys: Capsys) -> None:
    (folder / "iptables-save").write_text(text)
    status, found = linted(capsys, "iptables-save")
    assert status == 0 and "rule-not-modelled" in {each["id"] for each in found}
    assert main(["validate", "iptables-save"]) == 0


def test_a_refused_file_does_not_hide_the_others(folder: Path, capsys: Capsys) -> None:
    (folder / "a").mkdir()
    (folder / "a" / "broken.yaml").write_text("apiVersion: v1\nkind: [\n")
    (folder / "a" / "story.yaml").write_text(HEAD + PING.replace("default/web", "default/wbe") + WEB)
    (folder / "a" / "web.yaml").write_text(CASES["selector-matches-nothing"][0])
    status, found = linted(capsys, "a")
    assert status == 2
    places = {(each["id"], each["file"], each["line"]) for each in found}
    assert places >= {
        ("invalid", "a/broken.yaml", 3),
        ("invalid", "a/story.yaml", 5),
        ("selector-matches-nothing", "a/web.yaml", 3),
    }


def test_a_file_that_is_not_there(capsys: Capsys) -> None:
    assert main(["lint", "nothing.yaml"]) == 2
    assert "No such file" in capsys.readouterr().err


def test_manifests_of_several_files_are_one_cluster(folder: Path, capsys: Capsys) -> None:
    (folder / "pod.yaml").write_text(WEB)
    (folder / "service.yaml").write_text(SERVICE.replace("PORT", ""))
    assert linted(capsys, "pod.yaml", "-f", "service.yaml") == (0, [])
    assert linted(capsys, ".") == (0, [])


def test_validate_and_lint_state_the_same_of_a_file(folder: Path, capsys: Capsys) -> None:
    for id in ("unknown-field", "target-port-name", "unschedulable", "custom-resource", "policy-without-effect"):
        (folder / "x.yaml").write_text(CASES[id][0])
        _, found = linted(capsys, "x.yaml")
        assert main(["validate", "x.yaml"]) == 0
        notes = capsys.readouterr().err
        assert all(each["sentence"] in notes for each in found), id


# -- formats ----------------------------------------------------------------------------------------------


def everything(folder: Path) -> list[str]:
    names = []
    for number, (id, (text, _, _)) in enumerate(CASES.items()):
        if text.startswith(HEAD):
            (folder / f"{number}.yaml").write_text(text.replace("name: s}", f"name: {id}}}"))
            names.append(f"{number}.yaml")
    (folder / "a b.yaml").write_text(CASES["selector-matches-nothing"][0])
    (folder / "right.yaml").write_text(HEAD + PING + RIGHT)
    (folder / "x.rules").write_text(RULES["rule-not-modelled"][0])
    return [*names, "a b.yaml", "right.yaml", "x.rules"]


def test_sarif(folder: Path, capsys: Capsys) -> None:
    files = everything(folder)
    assert main(["lint", *files, "-o", "sarif"]) == 1
    log = json.loads(capsys.readouterr().out)
    schema = json.loads((ROOT / "tests" / "data" / "sarif" / "sarif-2.1.0-rtm.5.json").read_text(encoding="utf-8"))
    validator = Draft4Validator(schema)
    assert [each.message for each in validator.iter_errors(log)] == []
    assert not validator.is_valid(log | {"version": "2.0"})
    assert log["version"] == "2.1.0" and log["$schema"].endswith("sarif-2.1.0.json")
    (run,) = log["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert len(run["results"]) > 8
    for each in run["results"]:
        assert (
            rules[each["ruleIndex"]]["id"] == each["ruleId"] and each["level"] in SEVERITIES and each["message"]["text"]
        )
        for location in each.get("locations", ()):
            physical = location.get("physicalLocation", {"artifactLocation": {"uri": "x"}})
            assert not re.search(r"[\s\\]", physical["artifactLocation"]["uri"])
            assert physical.get("region", {"startLine": 1})["startLine"] >= 1
    uris = {
        each["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        for each in run["results"]
        if "physicalLocation" in each["locations"][0]
    }
    assert "a%20b.yaml" in uris


def test_junit(folder: Path, capsys: Capsys) -> None:
    files = everything(folder)
    assert main(["lint", *files, "-o", "junit"]) == 1
    root = ET.fromstring(capsys.readouterr().out)
    suites = {each.get("name"): each for each in root}
    assert {*files} <= {*suites}
    for suite in root:
        cases, failures = suite.findall("testcase"), suite.findall("testcase/failure")
        assert (suite.get("tests"), suite.get("failures")) == (str(len(cases)), str(len(failures)))
    assert root.get("failures") == str(len(root.findall("testsuite/testcase/failure"))) == "1"
    (wrong,) = suites["a b.yaml"].findall("testcase/failure")
    assert wrong.get("type") == "selector-matches-nothing" and "a b.yaml:3: error" in (wrong.text or "")
    assert suites["right.yaml"].findall("testcase/failure") == []
    assert "[setting-not-modelled]" in "".join(root.itertext())


def test_a_name_that_xml_cannot_hold(folder: Path, capsys: Capsys) -> None:
    (folder / "x.yaml").write_text(WEB + '{apiVersion: v1, kind: "Sev<ice&\\a", metadata: {name: x}}')
    main(["lint", "x.yaml", "-o", "junit"])
    assert 'unknown kind "Sev<ice&?"' in "".join(ET.fromstring(capsys.readouterr().out).itertext())


def test_yaml_has_the_same_data(folder: Path, capsys: Capsys) -> None:
    (folder / "x.yaml").write_text(CASES["unknown-field"][0])
    _, found = linted(capsys, "x.yaml")
    main(["lint", "x.yaml", "-o", "yaml"])
    assert yaml.safe_load(capsys.readouterr().out)["findings"] == found


def test_a_node_that_is_not_as_it_ought_to_be(folder: Path, capsys: Capsys) -> None:
    """`--node` adds the differences of a node's dump, with the file of the dump."""
    (folder / "x.yaml").write_text(RIGHT)
    (folder / "node-1").mkdir()
    (folder / "node-1" / "sysctl").write_text("net.ipv4.ip_forward = 0\n")
    status, found = linted(capsys, "x.yaml", "--node", "node-1=node-1")
    [own] = [each for each in found if each["severity"] == "error"]
    assert (status, own["id"], own["object"], own["file"]) == (1, "node-sysctl", "node/node-1", "node-1/sysctl")
    assert linted(capsys, "x.yaml")[0] == 0
    assert main(["lint", "x.yaml", "--node", "node-9=node-1"]) == 2
