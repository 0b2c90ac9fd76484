"""CronJob: a Job at each time of its schedule (pkg/controller/cronjob). Must not know pods."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from emu.clock import EPOCH_NS, SECOND
from emu.kube.api.batch import CronJob, Job
from emu.kube.api.cron import parse, zone_of
from emu.kube.api.meta import Key, Object, ObjectMeta, owned_by
from emu.kube.controllers import pods
from emu.kube.controllers.later import Later
from emu.kube.store import Store

WATCHES = ("cronjob", "job")


def concerned(store: Store, old: Object | None, new: Object | None) -> Iterator[Key]:
    """The CronJob that changed, or whose Job did."""
    yield from pods.owners(store, CronJob, Job, old, new)


def reconcile(store: Store, seed: int, keys: Iterable[Key], later: Later) -> None:
    """Start what is due, and forget old Jobs. Names end with the scheduled minute, so the seed has no effect."""
    owned = store.index(Job, pods.controller_of)
    for each in store.found(CronJob, keys):
        jobs = owned.of(each.metadata.uid)
        _clean(store, each, jobs)
        zone = zone_of(each.spec.time_zone)
        now_s = (EPOCH_NS + later.now_ns) // SECOND
        last_s: int = later.memory.setdefault(each.metadata.uid, now_s)
        due_s = parse(each.spec.schedule).after(last_s, zone)
        while due_s is not None and due_s <= now_s:
            later.memory[each.metadata.uid] = due_s
            if not each.spec.suspend:
                _start(store, each, jobs, due_s)
            due_s = parse(each.spec.schedule).after(due_s, zone)
        if due_s is not None:
            later.wake(each.key, due_s * SECOND - EPOCH_NS)


def _start(store: Store, owner: CronJob, jobs: list[Job], due_s: int) -> None:
    active = [job for job in jobs if not job.finished and store.find(job.key) is not None]
    if active and owner.spec.concurrency_policy == "Forbid":
        return
    if owner.spec.concurrency_policy == "Replace":
        for job in active:
            store.delete(job.key)
    template = owner.spec.job_template
    meta = ObjectMeta(
        name=f"{owner.name}-{due_s // 60}",
        namespace=owner.namespace,
        labels=template.metadata.labels,
        annotations=template.metadata.annotations,
        owner_references=owned_by(owner),
    )
    if store.find(Key("job", owner.namespace, meta.name)) is None:
        store.put(Job(metadata=meta, spec=template.spec))


def _clean(store: Store, owner: CronJob, jobs: list[Job]) -> None:
    """Delete the oldest Jobs that have ended, but for so many as the history may have."""
    ended = [job for job in jobs if job.finished]
    for word, limit in (
        ("Complete", owner.spec.successful_jobs_history_limit),
        ("Failed", owner.spec.failed_jobs_history_limit),
    ):
        some = [job for job in ended if any(each.type == word for each in job.status.conditions)]
        for job in some[: max(0, len(some) - limit)]:
            store.delete(job.key)
