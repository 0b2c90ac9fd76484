"""`emu get` prints workloads as kubectl does: the tables of `all`, and single objects."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from emu.cli import main

SHOP = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: web:1}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: 10.96.0.10, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec: {nodeSelector: {disk: ssd}, containers: [{name: c, image: "agent:1"}, {name: d, image: "side:2"}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  selector: {matchExpressions: [{key: app, operator: In, values: [db]}]}
  template:
    metadata: {labels: {app: db}}
    spec: {containers: [{name: c, image: "db:1"}]}
---
apiVersion: batch/v1
kind: Job
metadata: {name: once}
spec:
  completions: 2
  template: {metadata: {annotations: {emu/runs: 5s}}, spec: {restartPolicy: Never, containers: [{name: c, image: "job:1"}]}}
"""
ALL = """\
NAME                       READY   STATUS    RESTARTS   AGE
pod/db-0                   1/1     Running   0          <unknown>
pod/once-POD               1/1     Running   0          <unknown>
pod/web-HASH-ONE           1/1     Running   0          <unknown>
pod/web-HASH-TWO           1/1     Running   0          <unknown>

NAME          TYPE        CLUSTER-IP   EXTERNAL-IP   PORT(S)   AGE
service/web   ClusterIP   10.96.0.10   <none>        80/TCP    <unknown>

NAME                   DESIRED   CURRENT   READY   UP-TO-DATE   AVAILABLE   NODE SELECTOR   AGE
daemonset.apps/agent   0         0         0       0            0           disk=ssd        <unknown>

NAME                  READY   UP-TO-DATE   AVAILABLE   AGE
deployment.apps/web   2/2     2            2           <unknown>

NAME                             DESIRED   CURRENT   READY   AGE
replicaset.apps/web-HASH   2         2         2       <unknown>

NAME                  READY   AGE
statefulset.apps/db   1/1     <unknown>

NAME             STATUS    COMPLETIONS   DURATION    AGE
job.batch/once   Running   0/2           <unknown>   <unknown>
"""


@pytest.fixture
def shop(tmp_path: Path) -> str:
    path = tmp_path / "shop.yaml"
    path.write_text(SHOP, encoding="utf-8")
    return str(path)


def rows(text: str) -> list[list[str]]:
    """The words of each line: names that are drawn have a width of their own."""
    return [line.split() for line in text.splitlines()]


def test_all_is_what_kubectl_counts_among_it(shop: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["get", "all", "-f", shop]) == 0
    found, wanted = rows(capsys.readouterr().out), rows(ALL)
    for one, other in zip(found, wanted, strict=True):
        assert (one[1:] == other[1:] and one[:1] == other[:1]) or one[0].startswith(other[0].partition("-")[0])


def test_wide_shows_containers_images_and_selector(shop: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["get", "ds,deploy,sts", "-o", "wide", "-f", shop]) == 0
    tables = capsys.readouterr().out.split("\n\n")
    assert [rows(each)[0][-3:] for each in tables] == [["CONTAINERS", "IMAGES", "SELECTOR"]] * 2 + [
        ["AGE", "CONTAINERS", "IMAGES"]
    ]
    assert [rows(each)[1][-3:] for each in tables] == [
        ["c,d", "agent:1,side:2", "app=agent"], ["c", "web:1", "app=web"], ["<unknown>", "c", "db:1"],
    ]  # fmt: skip


def test_objects_are_named_with_their_kind(shop: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["get", "deployments.apps/web", "-f", shop]) == 0
    assert rows(capsys.readouterr().out)[1] == ["web", "2/2", "2", "2", "<unknown>"]
    assert main(["get", "deploy/web", "svc/web", "-f", shop]) == 0
    assert [row[0] for row in rows(capsys.readouterr().out) if row] == [
        "NAME",
        "deployment.apps/web",
        "NAME",
        "service/web",
    ]


def test_labels_select_and_are_shown(shop: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["get", "po,rs", "-l", "app in (web,db),!job-name", "-o", "name", "-f", shop]) == 0
    assert [name.partition("-")[0] for name in rows_of_one(capsys)] == [
        "pod/db",
        "pod/web",
        "pod/web",
        "replicaset.apps/web",
    ]
    assert main(["get", "po", "-l", "app=db", "--show-labels", "-f", shop]) == 0
    (shown,) = rows(capsys.readouterr().out)[1:]
    assert shown[-1].startswith("app=db,apps.kubernetes.io/pod-index=0,")
    assert main(["get", "po", "-l", "app=nothing", "-f", shop]) == 0
    assert capsys.readouterr().out == "No resources found in default namespace.\n"
    assert main(["get", "po,svc", "-l", "app=db", "-o", "json", "-f", shop]) == 0
    assert [each["metadata"]["name"] for each in json.loads(capsys.readouterr().out)["items"]] == ["db-0"]


def rows_of_one(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [name for (name,) in rows(capsys.readouterr().out)]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["po", "web", "-l", "app=web"], "a selector and names are given (expected one of them, as in kubectl)"),
        (["po", "-l", "app web"], '"app web" is no requirement of labels'),
        (["deploy/web", "svc"], '"svc" is not KIND/NAME (expected each object as KIND/NAME)'),
        (["deploy/"], '"deploy/" is not KIND/NAME (expected each object as KIND/NAME)'),
        (["deploy/wbe"], 'there is no deployment "wbe" (expected web)'),
        (["configmaps"], "is not a kind of object"),
    ],
)
def test_wrong_names_are_one_sentence(
    words: list[str], error: str, shop: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["get", *words, "-f", shop]) == 2
    assert error in capsys.readouterr().err


def test_a_job_that_ended_lasted_as_long_as_its_cluster_reports(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job: dict[str, Any] = {
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "once", "uid": "2"},
        "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}, "completions": 1},
        "status": {
            "succeeded": 1, "startTime": "2026-11-01T10:00:00Z", "completionTime": "2026-11-01T10:01:05Z",
            "conditions": [{"type": "Complete", "status": "True"}],
        },
    }  # fmt: skip
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}, "status": {"conditions": []}}
    path = tmp_path / "export.json"
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": [node, job]}), encoding="utf-8")
    assert main(["get", "jobs", "-f", str(path)]) == 0
    assert rows(capsys.readouterr().out)[1] == ["once", "Complete", "1/1", "65s", "<unknown>"]
