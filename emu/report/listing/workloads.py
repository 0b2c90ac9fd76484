"""Deployments, ReplicaSets, StatefulSets, DaemonSets, Jobs and the like as kubectl prints them, by their status.

Must not know pods and what is behind a Service.
"""

from __future__ import annotations

from collections.abc import Sequence

from emu.kube.api.apps import DaemonSet, Deployment, ReplicaSet, StatefulSet
from emu.kube.api.batch import CronJob, Job, ReplicationController
from emu.kube.api.core import PodTemplateSpec
from emu.kube.store import Store
from emu.report.listing.ages import UNKNOWN, age
from emu.report.listing.cells import NONE, Columns, labels, selector

_WIDE = ("CONTAINERS", "IMAGES", "SELECTOR")
# in the order in which they are looked for: jobStatus of pkg/printers
_ENDS = {"Complete": "Complete", "Failed": "Failed", "Suspended": "Suspended", "FailureTarget": "FailureTarget"}


def _containers(template: PodTemplateSpec) -> tuple[str, str]:
    """layoutContainerCells of pkg/printers."""
    containers = template.spec.containers
    return ",".join(each.name for each in containers), ",".join(each.image for each in containers)


def _deployment(each: Deployment, store: Store) -> Sequence[str]:
    status, spec = each.status, each.spec
    counts = f"{status.ready_replicas}/{spec.replicas}", str(status.updated_replicas), str(status.available_replicas)
    return *counts, *_containers(spec.template), selector(spec.selector)


def _replicas(each: ReplicaSet | ReplicationController, store: Store) -> Sequence[str]:
    status, spec = each.status, each.spec
    counts = str(spec.replicas), str(status.replicas), str(status.ready_replicas)
    return *counts, *_containers(spec.template), selector(each.selector)


def _stateful_set(each: StatefulSet, store: Store) -> Sequence[str]:
    return f"{each.status.ready_replicas}/{each.spec.replicas}", *_containers(each.spec.template)


def _daemon_set(each: DaemonSet, store: Store) -> Sequence[str]:
    status, template = each.status, each.spec.template
    numbers = (
        status.desired_number_scheduled, status.current_number_scheduled, status.number_ready, status.updated_number_scheduled,
        status.number_available,
    )  # fmt: skip
    return *map(str, numbers), labels(template.spec.node_selector), *_containers(template), selector(each.spec.selector)


def _job(each: Job, store: Store) -> Sequence[str]:
    status, spec = each.status, each.spec
    true = {condition.type for condition in status.conditions if condition.status == "True"}
    state = next((word for kind, word in _ENDS.items() if kind in true), "Running")
    if spec.completions is None and (spec.parallelism or 1) > 1:
        completions = f"{status.succeeded}/1 of {spec.parallelism}"
    else:
        completions = f"{status.succeeded}/{1 if spec.completions is None else spec.completions}"
    lasted = age(status.start_time, status.completion_time) if status.completion_time else UNKNOWN
    return state, completions, lasted, *_containers(spec.template), NONE


def _cron_job(each: CronJob, store: Store) -> Sequence[str]:
    spec = each.spec
    own = [
        job
        for job in store.list(Job, each.namespace)
        if (owner := job.metadata.controller) and owner.uid == each.metadata.uid
    ]
    active = sum(not job.finished for job in own)
    last = UNKNOWN if own else NONE
    template = spec.job_template.spec.template
    return spec.schedule, spec.time_zone or NONE, str(spec.suspend), str(active), last, *_containers(template), NONE


TABLES: dict[str, Columns] = {
    "replicationcontroller": Columns(("DESIRED", "CURRENT", "READY", ""), _WIDE, _replicas),
    "daemonset": Columns(
        ("DESIRED", "CURRENT", "READY", "UP-TO-DATE", "AVAILABLE", "NODE SELECTOR", ""),
        _WIDE,
        _daemon_set,
        "daemonset.apps",
    ),
    "deployment": Columns(("READY", "UP-TO-DATE", "AVAILABLE", ""), _WIDE, _deployment, "deployment.apps"),
    "replicaset": Columns(("DESIRED", "CURRENT", "READY", ""), _WIDE, _replicas, "replicaset.apps"),
    "statefulset": Columns(("READY", ""), ("CONTAINERS", "IMAGES"), _stateful_set, "statefulset.apps"),
    "cronjob": Columns(
        ("SCHEDULE", "TIMEZONE", "SUSPEND", "ACTIVE", "LAST SCHEDULE", ""), _WIDE, _cron_job, "cronjob.batch"
    ),
    "job": Columns(("STATUS", "COMPLETIONS", "DURATION", ""), _WIDE, _job, "job.batch"),
}
