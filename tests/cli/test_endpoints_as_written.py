"""The ends of a question as people write them: each spelling means the same pod or Service in every command that takes ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from emu.cli import main

Capsys = pytest.CaptureFixture[str]
OBJECTS = """\
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: shop}
spec: {nodeName: node-1, containers: [{name: c}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {nodeName: node-2, containers: [{name: c, ports: [{containerPort: 8080, name: http}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: 10.96.7.7, selector: {app: web}, ports: [{port: 80, targetPort: http}]}
"""
SOURCES = ["client", "shop/client", "pod/client", "pod/shop/client", "po/client", "10.244.1.2"]
WORKLOADS = ["deploy/web", "deployment/web", "shop/web", "10.244.2.2"]
NODES = ["node/node-1", "192.168.51.11"]
TARGETS = [
    "svc/web:80", "svc/web", "service/web:80", "svc/web.shop:80", "svc/web.shop.svc:80", "web.shop:80", "web.shop.svc:80", "web.shop.svc.cluster.local:80",
    "web.shop.svc.cluster.local", "web.shop", "svc/web:80/tcp", "web.shop:80/tcp", "10.96.7.7:80", "10.96.7.7:80/tcp",
]  # fmt: skip
DIRECT = ["deploy/web:8080", "deploy/web", "10.244.2.2:8080", "10.244.2.2:8080/tcp", "shop/web-*:8080"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("shop.yaml").write_text(OBJECTS)
    return tmp_path


def flow(capsys: Capsys, command: str, source: str, target: str) -> tuple[str, str, str]:
    assert main([command, "-S", source, "-D", target, "-n", "shop", "-f", "shop.yaml", "-o", "json"]) == 0, (
        source,
        target,
    )
    data = json.loads(capsys.readouterr().out)
    found = data["flow"]
    return (
        data["outcome"] if isinstance(data["outcome"], str) else data["outcome"]["word"],
        found["source"],
        found["nat"],
    )


@pytest.mark.parametrize("source", [*SOURCES, *WORKLOADS, *NODES])
def test_a_sender(source: str, capsys: Capsys) -> None:
    outcome, sender, nat = flow(capsys, "why", source, "svc/web:80")
    assert outcome == ("delivered" if source not in WORKLOADS else outcome), "a pod to itself may need hairpin"
    wanted = "shop/client" if source in SOURCES else "node-1" if source in NODES else "shop/web-"
    assert sender.removeprefix("node/").startswith(wanted) and "DNAT 10.96.7.7:80 -> 10.244.2.2:8080" in nat


@pytest.mark.parametrize("target", TARGETS)
def test_a_service(target: str, capsys: Capsys) -> None:
    outcome, _, nat = flow(capsys, "why", "client", target)
    assert outcome == "delivered" and nat.startswith("DNAT 10.96.7.7:80 -> 10.244.2.2:8080")


@pytest.mark.parametrize("target", DIRECT)
def test_a_pod(target: str, capsys: Capsys) -> None:
    outcome, _, nat = flow(capsys, "why", "client", target)
    assert (outcome, nat) == ("delivered", "")


@pytest.mark.parametrize(
    ("source", "target"),
    [*((each, "svc/web:80") for each in (*SOURCES, *NODES)), *(("client", each) for each in (*TARGETS, *DIRECT))],
)
def test_trace_takes_the_same(source: str, target: str, capsys: Capsys) -> None:
    words = ["trace", "-S", source, "-D", target, "-n", "shop", "-f", "shop.yaml"]
    assert main(words) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("outcome: delivered")


@pytest.mark.parametrize("end", [*WORKLOADS[:3], "10.244.2.2"])
def test_show_takes_a_workload_or_an_address(end: str, capsys: Capsys) -> None:
    assert main(["show", "interfaces", end, "-n", "shop", "-f", "shop.yaml"]) == 0
    assert "10.244.2.2" in capsys.readouterr().out


def test_show_takes_a_node_by_its_name_or_address(capsys: Capsys) -> None:
    seen = []
    for end in ("node-1", "node/node-1", "192.168.51.11"):
        assert main(["show", "routes", end, "-f", "shop.yaml"]) == 0
        seen.append(capsys.readouterr().out)
    assert seen[0] == seen[1] == seen[2]


def test_policy_takes_a_workload(capsys: Capsys) -> None:
    for end in ("deploy/web", "shop/web", "10.244.2.2"):
        assert main(["policy", "explain", "-D", end, "-n", "shop", "-f", "shop.yaml"]) == 0
        assert "shop/web-" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("source", "target", "error"),
    [
        ("deploy/wbe", "svc/web", 'no workload is called "deploy/wbe" in namespace shop'),
        ("client", "svc/wbe", "no Service is called"),
        ("10.96.7.7", "svc/web", "is the address of service/shop/web, which sends nothing"),
        ("10.1.1.1", "svc/web", "nothing has the address 10.1.1.1"),
    ],
)
def test_what_is_not_there(source: str, target: str, error: str, capsys: Capsys) -> None:
    assert main(["why", "-S", source, "-D", target, "-n", "shop", "-f", "shop.yaml"]) == 2
    assert error in capsys.readouterr().err


JOB = """\
apiVersion: batch/v1
kind: Job
metadata: {name: night, namespace: shop}
spec: {SPECtemplate: {spec: {restartPolicy: Never, containers: [{name: c}]}}}
STATUS
---
apiVersion: v1
kind: Node
metadata: {name: node-1}
status: {addresses: [{type: InternalIP, address: 192.168.51.11}]}
---
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: shop, uid: a}
spec: {nodeName: node-1, containers: [{name: c}]}
status: {phase: Running, podIP: 10.244.1.2, podIPs: [{ip: 10.244.1.2}], conditions: [{type: Ready, status: "True"}]}
"""


@pytest.mark.parametrize(
    ("end", "text", "error"),
    [
        ("job/night", JOB.replace("SPEC", "").replace("STATUS", "status: {conditions: [{type: Complete, status: 'True'}]}"),
         "job/night has no pod now: it has ended (Complete), and its pods are gone"),
        ("shop/night", JOB.replace("SPEC", "").replace("STATUS", "status: {conditions: [{type: Failed, status: 'True'}]}"),
         "shop/night has no pod now: it has ended (Failed), and its pods are gone"),
        ("job/night", JOB.replace("SPEC", "suspend: true, ").replace("STATUS", ""), "job/night has no pod now: it is suspended"),
        ("cronjob/night",
         JOB.replace("kind: Job", "kind: CronJob").replace("spec: {SPEC", 'spec: {schedule: "0 3 * * *", jobTemplate: {spec: {').replace("]}}}", "]}}}}}")
         .replace("STATUS", ""),
         'cronjob/night has no pod now: its schedule is "0 3 * * *"'),
    ],
)  # fmt: skip
def test_a_workload_without_pods_states_why(end: str, text: str, error: str, tmp_path: Path, capsys: Capsys) -> None:
    (tmp_path / "jobs.yaml").write_text(text)
    assert (
        main(["why", "-S", end, "-D", "shop/client:80", "-n", "shop", "-f", str(tmp_path / "jobs.yaml"), "--live"]) == 2
    )
    assert error in capsys.readouterr().err


def test_a_deployment_of_no_replicas_states_it(tmp_path: Path, capsys: Capsys) -> None:
    (tmp_path / "shop.yaml").write_text(OBJECTS.replace("spec:\n  selector", "spec:\n  replicas: 0\n  selector", 1))
    assert (
        main(["why", "-S", "deploy/web", "-D", "shop/client:80", "-n", "shop", "-f", str(tmp_path / "shop.yaml")]) == 2
    )
    assert "deploy/web has no pod now: spec.replicas is 0" in capsys.readouterr().err
