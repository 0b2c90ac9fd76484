"""Jobs, CronJobs, ReplicationControllers and evictions after a time, in a cluster whose time passes."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from emu.errors import InputError
from emu.kube.api.batch import CronJob, Job
from emu.kube.api.core import Node, Pod, Taint
from emu.kube.api.cron import parse
from emu.kube.api.loader import load_text
from emu.kube.api.meta import replace
from emu.kube.cluster import Cluster

JOB = """
apiVersion: batch/v1
kind: Job
metadata: {name: load}
spec:
  SPEC
  template:
    metadata: {labels: {app: load}, annotations: {NOTES}}
    spec: {restartPolicy: POLICY, containers: [{name: load, ports: [{containerPort: 8080}]}]}
"""


def job(spec: str = "backoffLimit: 6", notes: str = "emu/runs: 20s", policy: str = "Never") -> Cluster:
    text = JOB.replace("SPEC", spec).replace("NOTES", notes).replace("POLICY", policy)
    return Cluster(2, load_text(text).objects, capture=False)


def phases(cluster: Cluster) -> list[str]:
    return [pod.status.phase for pod in cluster.store.list(Pod)]


def status(cluster: Cluster) -> tuple[int, int, int, str]:
    [found] = cluster.store.list(Job)
    of = found.status
    return of.active, of.succeeded, of.failed, " ".join(f"{each.type}: {each.reason}" for each in of.conditions)


def test_a_pod_runs_to_completion_and_its_address_is_free_again() -> None:
    cluster = job()
    [pod] = cluster.store.list(Pod)
    labels = pod.metadata.labels
    assert labels["job-name"] == labels["batch.kubernetes.io/job-name"] == "load" and labels["app"] == "load"
    assert phases(cluster) == ["Running"] and status(cluster) == (1, 0, 0, "")
    cluster.wait(19.9)
    assert phases(cluster) == ["Running"]
    cluster.wait(0.2)
    assert phases(cluster) == ["Succeeded"] and status(cluster) == (0, 1, 0, "Complete: CompletionsReached")
    cluster.wait(1)
    assert not cluster.pods
    condition = cluster.store.list(Pod)[0].condition("Ready")
    assert condition is not None and (condition.status, condition.reason) == ("False", "PodCompleted")


def test_a_pod_without_an_end_runs_on() -> None:
    cluster = job(notes="")
    cluster.wait(3600)
    assert phases(cluster) == ["Running"] and status(cluster) == (1, 0, 0, "")


@pytest.mark.parametrize(
    ("spec", "seconds", "expected"),
    [
        ("completions: 3", 1, ["Running"]),
        ("completions: 3", 61, ["Succeeded"] * 3),
        ("completions: 5, parallelism: 2", 1, ["Running"] * 2),
        ("completions: 5, parallelism: 2", 45, ["Succeeded"] * 4 + ["Running"]),
        ("parallelism: 2", 25, ["Succeeded"] * 2),
        ("suspend: true", 1, []),
        ("parallelism: 0", 1, []),
    ],
)
def test_how_many_pods_run(spec: str, seconds: float, expected: list[str]) -> None:
    cluster = job("\n  ".join(spec.split(", ")))
    cluster.wait(seconds)
    assert phases(cluster) == expected


def test_an_indexed_job_has_a_pod_for_each_index() -> None:
    cluster = job("completions: 3\n  parallelism: 2\n  completionMode: Indexed")
    cluster.wait(30)
    found = cluster.store.list(Pod)
    assert [pod.spec.hostname for pod in found] == ["load-0", "load-1", "load-2"]
    assert [pod.metadata.annotations["batch.kubernetes.io/job-completion-index"] for pod in found] == ["0", "1", "2"]
    assert all(pod.name.startswith(f"load-{number}-") for number, pod in enumerate(found))
    cluster.wait(30)
    assert status(cluster) == (0, 3, 0, "Complete: CompletionsReached")


def test_a_failed_pod_is_followed_by_another_after_a_pause_until_the_limit() -> None:
    cluster = job("backoffLimit: 2", 'emu/runs: 5s, emu/exit-code: "1"')
    cluster.wait(5.5)
    assert phases(cluster) == ["Failed"] and status(cluster) == (0, 0, 1, "")
    cluster.wait(10)  # the first pause is 10 s
    assert phases(cluster) == ["Failed", "Running"]
    cluster.wait(5 + 19)  # the second 20 s
    assert phases(cluster) == ["Failed", "Failed"]
    cluster.wait(2)
    assert phases(cluster) == ["Failed", "Failed", "Running"]
    cluster.wait(60)
    assert phases(cluster) == ["Failed"] * 3 and status(cluster) == (0, 0, 3, "Failed: BackoffLimitExceeded")


def test_a_container_that_fails_runs_again_in_its_pod() -> None:
    cluster = job("backoffLimit: 2", 'emu/runs: 5s, emu/exit-code: "1"', "OnFailure")
    [name] = cluster.pods
    assert cluster.tcp("node/node-1", f"{name}:8080", b"x").outcome.word == "delivered"
    cluster.wait(5)
    assert cluster.tcp("node/node-1", f"{name}:8080", b"x").outcome.word == "refused"
    assert phases(cluster) == ["Running"] and not cluster.store.list(Pod)[0].ready
    cluster.wait(10.1)
    assert cluster.store.list(Pod)[0].ready
    assert cluster.tcp("node/node-1", f"{name}:8080", b"x").outcome.word == "delivered"


def test_a_deadline_ends_a_job_and_a_ttl_deletes_it() -> None:
    cluster = job("activeDeadlineSeconds: 30\n  ttlSecondsAfterFinished: 60", "")
    cluster.wait(29)
    assert status(cluster)[3] == ""
    cluster.wait(2)
    assert status(cluster) == (0, 0, 0, "Failed: DeadlineExceeded")
    cluster.wait(31)
    assert not cluster.pods
    cluster.wait(30)
    assert not cluster.store.list(Job)


def test_a_pod_that_is_deleted_counts_as_failed_and_is_replaced() -> None:
    cluster = job(notes="")
    [pod] = cluster.store.list(Pod)
    cluster.delete("pod", "default", pod.name, grace_s=1)
    assert status(cluster)[2] == 1
    cluster.wait(11)
    assert [each.name for each in cluster.store.list(Pod)] != [pod.name] and phases(cluster) == ["Running"]


@pytest.mark.parametrize(
    ("spec", "notes", "policy", "what"),
    [
        ("backoffLimit: 1", "", "Always", "spec.template.spec.restartPolicy: a Job's pods end"),
        ("completionMode: Indexed", "", "Never", "spec.completions: completions is missing"),
        ("backoffLimit: -1", "", "Never", "spec.backoffLimit"),
        ("backoffLimit: 1", "emu/runs: soon", "Never", "cannot read 'soon'"),
        ("backoffLimit: 1", 'emu/runs: 5s, emu/exit-code: "999"', "Never", "cannot read '999'"),
        ("backoffLimit: 1", 'emu/exit-code: "1"', "Never", "the containers run on"),
    ],
)
def test_what_is_refused(spec: str, notes: str, policy: str, what: str) -> None:
    with pytest.raises(InputError) as wrong:
        job(spec, notes, policy)
    assert what in str(wrong.value)


def test_a_pod_that_is_always_started_again_has_no_end() -> None:
    pod = (
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a, annotations: {emu/runs: 5s}}\nspec: {containers: [{name: a}]}\n"
    )
    with pytest.raises(InputError, match="restartPolicy is Always"):
        Cluster(1, load_text(pod).objects)
    cluster = Cluster(1, load_text(pod.replace("spec: {", "spec: {restartPolicy: Never, ")).objects)
    cluster.wait(6)
    assert phases(cluster) == ["Succeeded"]


# -- CronJobs ---------------------------------------------------------------------------------------

CRON = """
apiVersion: batch/v1
kind: CronJob
metadata: {name: report}
spec:
  schedule: "*/2 * * * *"
  MORE
  jobTemplate:
    metadata: {labels: {by: cron}}
    spec:
      template:
        metadata: {annotations: {emu/runs: RUNSs}}
        spec: {restartPolicy: Never, containers: [{name: c}]}
"""


def cron(more: str = "suspend: false", runs: int = 30) -> Cluster:
    return Cluster(1, load_text(CRON.replace("MORE", more).replace("RUNS", str(runs))).objects, capture=False)


def test_a_job_comes_at_each_time_of_the_schedule() -> None:
    cluster = cron()
    cluster.wait(119)
    assert not cluster.store.list(Job)
    cluster.wait(2)
    [first] = cluster.store.list(Job)
    minute = int(datetime(2020, 1, 1, 0, 2, tzinfo=UTC).timestamp()) // 60
    assert first.name == f"report-{minute}" and first.metadata.labels == {"by": "cron"}
    owner = first.metadata.controller
    assert owner is not None and (owner.kind, owner.name) == ("CronJob", "report")
    cluster.wait(120)
    assert len(cluster.store.list(Job)) == 2 and phases(cluster) == ["Succeeded", "Running"]
    cluster.wait(7200)
    assert len(cluster.store.list(Job)) == 4  # three in the history, one that runs or has just begun
    cluster.delete("cronjob", "default", "report")
    assert not cluster.store.list(CronJob) and not cluster.store.list(Job) and not cluster.store.list(Pod)


@pytest.mark.parametrize(("policy", "jobs"), [("Allow", 3), ("Forbid", 1), ("Replace", 1)])
def test_what_becomes_of_a_job_that_still_runs(policy: str, jobs: int) -> None:
    cluster = cron(f"concurrencyPolicy: {policy}", 9999)
    cluster.wait(121)
    [first] = cluster.store.list(Job)
    cluster.wait(240)
    found = cluster.store.list(Job)
    assert len(found) == jobs
    assert (first.name in [each.name for each in found]) is (policy != "Replace")


def test_a_suspended_schedule_starts_nothing() -> None:
    cluster = cron("suspend: true")
    cluster.wait(3600)
    assert not cluster.store.list(Job)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("* * * * *", "2024-02-28 12:31"),
        ("*/15 * * * *", "2024-02-28 12:45"),
        ("5 * * * *", "2024-02-28 13:05"),
        ("0 3 * * *", "2024-02-29 03:00"),
        ("0 0 30 * *", "2024-03-30 00:00"),
        ("0 0 * * sun", "2024-03-03 00:00"),
        ("0 0 1 * mon", "2024-03-01 00:00"),
        ("30 6-18/6 * jan-mar 1-5", "2024-02-28 18:30"),
        ("@hourly", "2024-02-28 13:00"),
        ("@yearly", "2025-01-01 00:00"),
        ("0 0 29 2 *", "2024-02-29 00:00"),
        ("30/10 * * * *", "2024-02-28 12:40"),
    ],
)
def test_the_next_time_of_a_schedule(text: str, expected: str) -> None:
    at = int(datetime(2024, 2, 28, 12, 30, tzinfo=UTC).timestamp())
    found = parse(text).after(at)
    assert found is not None and datetime.fromtimestamp(found, UTC).strftime("%Y-%m-%d %H:%M") == expected


def test_a_time_zone_and_a_schedule_that_never_comes() -> None:
    at = int(datetime(2024, 2, 28, 12, 30, tzinfo=UTC).timestamp())
    found = parse("0 3 * * *").after(at, ZoneInfo("America/New_York"))
    assert found is not None and datetime.fromtimestamp(found, UTC).hour == 8
    assert parse("0 0 30 2 *").after(at) is None


@pytest.mark.parametrize(
    "text", ["", "* * * *", "60 * * * *", "* 24 * * *", "a * * * *", "*/0 * * * *", "5-1 * * * *", "* * 0 * *"]
)
def test_what_is_no_schedule(text: str) -> None:
    with pytest.raises(InputError, match=r"spec\.schedule"):
        load_text(CRON.replace("*/2 * * * *", text).replace("MORE", "suspend: true"))


# -- others -----------------------------------------------------------------------------------------


def test_a_replication_controller_keeps_its_pods() -> None:
    text = """
apiVersion: v1
kind: ReplicationController
metadata: {name: old}
spec:
  replicas: 2
  template: {metadata: {labels: {app: old}}, spec: {containers: [{name: c}]}}
"""
    cluster = Cluster(2, load_text(text).objects, capture=False)
    names = [pod.name for pod in cluster.store.list(Pod)]
    assert len(names) == 2 and all(name.startswith("old-") for name in names)
    cluster.scale("rc", "default", "old", 3)
    assert phases(cluster) == ["Running"] * 3
    cluster.delete("pod", "default", names[0])
    assert phases(cluster) == ["Running"] * 3
    for wrong in (
        "template: {spec: {containers: [{name: c}]}}",
        "selector: {a: b}\n  template: {metadata: {labels: {app: old}}, spec: {containers: [{name: c}]}}",
    ):
        with pytest.raises(InputError):
            load_text(text[: text.index("replicas")] + wrong)


POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {nodeName: node-1, tolerations: [TOLERATIONS], containers: [{name: c}]}\n"


def tainted(tolerations: str, key: str = "k") -> Cluster:
    """A pod on a node that gets a taint of effect NoExecute."""
    cluster = Cluster(1, load_text(POD.replace("TOLERATIONS", tolerations)).objects, capture=False)
    taint(cluster, Taint(key=key, effect="NoExecute"))
    return cluster


def taint(cluster: Cluster, *taints: Taint) -> None:
    [node] = cluster.store.list(Node)
    cluster.apply(replace(node, spec=replace(node.spec, taints=taints)), settle=False)


@pytest.mark.parametrize(
    ("tolerations", "key", "stays_s"),
    [
        ("", "k", 0),
        ("{key: k, operator: Exists, effect: NoExecute, tolerationSeconds: 60}", "k", 60),
        ("{key: k, operator: Exists, effect: NoExecute, tolerationSeconds: 0}", "k", 0),
        ("{key: k, operator: Exists, effect: NoExecute, tolerationSeconds: 60}, {operator: Exists, effect: NoExecute, tolerationSeconds: 20}", "k", 20),
        ("{key: k, operator: Exists}", "k", None),
        # what the API server adds
        ("", "node.kubernetes.io/unreachable", 300),
        ("{key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 5}", "node.kubernetes.io/unreachable", 5),
        ("{operator: Exists}", "node.kubernetes.io/not-ready", None),
    ],
)  # fmt: skip
def test_how_long_a_pod_may_stay(tolerations: str, key: str, stays_s: int | None) -> None:
    cluster = tainted(tolerations, key)
    if stays_s:
        cluster.wait(stays_s - 1)
        assert not cluster.store.list(Pod)[0].terminating
    cluster.wait(2 if stays_s is not None else 3600)
    assert [each.terminating for each in cluster.store.list(Pod)] == [stays_s is not None]


def test_a_taint_that_goes_in_time_evicts_nothing() -> None:
    cluster = tainted("{key: k, operator: Exists, effect: NoExecute, tolerationSeconds: 60}")
    cluster.wait(30)
    taint(cluster)
    cluster.wait(60)
    assert phases(cluster) == ["Running"]
    taint(cluster, Taint(key="k", effect="NoExecute"))
    cluster.wait(59)
    assert not cluster.store.list(Pod)[0].terminating
    cluster.wait(2)
    assert cluster.store.list(Pod)[0].terminating
