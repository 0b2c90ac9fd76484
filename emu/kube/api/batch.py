"""The batch group, v1: Job and CronJob; and v1's ReplicationController, the ReplicaSet of old.

Must not know what controllers make of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from msgspec import Meta

from emu.kube.api.apps import Count, WorkloadStatus
from emu.kube.api.core import Condition, PodTemplateSpec
from emu.kube.api.cron import schedule_problem, zone_problem
from emu.kube.api.meta import ApiStruct, LabelSelector, Object, ObjectMeta, Path, Problem, selects


class ReplicationControllerSpec(ApiStruct, frozen=True):
    """Without a `selector` the template's labels are it."""

    template: PodTemplateSpec
    replicas: Count = 1
    selector: dict[str, str] = {}


class ReplicationController(Object, frozen=True, kw_only=True):
    api_version: str = "v1"
    kind: str = "ReplicationController"
    spec: ReplicationControllerSpec
    status: WorkloadStatus = WorkloadStatus()

    @property
    def selector(self) -> LabelSelector:
        return LabelSelector(match_labels=self.spec.selector or self.spec.template.metadata.labels)

    def problems(self) -> Iterator[Problem]:
        template, labels = self.spec.template, self.spec.template.metadata.labels
        if self.selector.empty:
            yield Problem(("spec", "selector"), "an empty selector would select every pod", "labels in the template")
        elif not selects(self.spec.selector, labels):
            yield Problem(("spec", "template", "metadata", "labels"), "the labels do not match spec.selector")
        yield from template.spec.problems(("spec", "template", "spec"))
        if template.spec.restart_policy != "Always":
            path = ("spec", "template", "spec", "restartPolicy")
            yield Problem(path, f'"{template.spec.restart_policy}"', '"Always"')


class JobSpec(ApiStruct, frozen=True):
    """`parallelism` and `completions` None: 1, unless the other is set (SetDefaults_Job)."""

    template: PodTemplateSpec
    parallelism: Count | None = None
    completions: Count | None = None
    completion_mode: Literal["NonIndexed", "Indexed"] = "NonIndexed"
    backoff_limit: Count = 6
    active_deadline_seconds: Annotated[int, Meta(ge=1)] | None = None
    ttl_seconds_after_finished: Count | None = None
    suspend: bool = False

    @property
    def at_once(self) -> int:
        """How many pods run at one time."""
        return 1 if self.parallelism is None else self.parallelism

    @property
    def wanted(self) -> int | None:
        """How many pods have to succeed; None: as soon as one has, no further one starts."""
        return 1 if self.completions is None and self.parallelism is None else self.completions

    def problems(self, at: Path) -> Iterator[Problem]:
        spec = self.template.spec
        yield from spec.problems((*at, "template", "spec"))
        if spec.restart_policy == "Always":
            path = (*at, "template", "spec", "restartPolicy")
            yield Problem(path, 'a Job\'s pods end, so restartPolicy cannot be "Always"', '"OnFailure" or "Never"')
        if self.completion_mode == "Indexed" and self.completions is None:
            yield Problem((*at, "completions"), "completions is missing", "a number when completionMode is Indexed")


class JobStatus(ApiStruct, frozen=True):
    """How many pods run, have succeeded and have failed; `conditions` has Complete or Failed at the end. Times are those of a
    running cluster."""

    start_time: str = ""
    completion_time: str = ""
    active: int = 0
    succeeded: int = 0
    failed: int = 0
    conditions: tuple[Condition, ...] = ()


class Job(Object, frozen=True, kw_only=True):
    api_version: str = "batch/v1"
    kind: str = "Job"
    spec: JobSpec
    status: JobStatus = JobStatus()

    @property
    def finished(self) -> bool:
        """It is complete, or has failed."""
        return any(each.type in ("Complete", "Failed") and each.status == "True" for each in self.status.conditions)

    def problems(self) -> Iterator[Problem]:
        yield from self.spec.problems(("spec",))


class JobTemplateSpec(ApiStruct, frozen=True):
    spec: JobSpec
    metadata: ObjectMeta = ObjectMeta()


class CronJobSpec(ApiStruct, frozen=True):
    schedule: str
    job_template: JobTemplateSpec
    time_zone: str | None = None
    concurrency_policy: Literal["Allow", "Forbid", "Replace"] = "Allow"
    suspend: bool = False
    successful_jobs_history_limit: Count = 3
    failed_jobs_history_limit: Count = 1


class CronJob(Object, frozen=True, kw_only=True):
    api_version: str = "batch/v1"
    kind: str = "CronJob"
    spec: CronJobSpec

    def problems(self) -> Iterator[Problem]:
        what = schedule_problem(self.spec.schedule)
        if what:
            yield Problem(("spec", "schedule"), what, 'five fields, such as "*/5 * * * *", or @hourly')
        if self.spec.time_zone is not None and zone_problem(self.spec.time_zone):
            yield Problem(("spec", "timeZone"), f'"{self.spec.time_zone}" is no time zone', "such as Etc/UTC")
        yield from self.spec.job_template.spec.problems(("spec", "jobTemplate", "spec"))
