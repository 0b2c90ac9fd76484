"""Job: pods until enough have succeeded (pkg/controller/job).

A pod that fails, or is deleted, counts against backoffLimit, and its successor waits: 10 s, doubled each time. Must not
know what ends a pod, or CronJobs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from emu.clock import SECOND
from emu.kube.api.batch import Job, JobStatus
from emu.kube.api.core import Condition, Pod, PodTemplateSpec
from emu.kube.api.meta import Key, Object, replace
from emu.kube.controllers import names, pods
from emu.kube.controllers.later import Later
from emu.kube.store import Store

INDEX = "batch.kubernetes.io/job-completion-index"
_NAMES = ("job-name", "batch.kubernetes.io/job-name")
_UIDS = ("controller-uid", "batch.kubernetes.io/controller-uid")
BACKOFF_NS, MAX_BACKOFF_NS = 10 * SECOND, 600 * SECOND

WATCHES = ("job", "pod")


@dataclass(slots=True)
class Memory:
    """What the controller remembers of one Job: the pods that it has counted, when it began, and until when it waits."""

    began_ns: int
    succeeded: dict[str, int] = field(default_factory=dict)  # uid to index, -1 for none
    failed: set[str] = field(default_factory=set)
    waits_until_ns: int = 0
    ended_ns: int | None = None


def _memory(job: Job, later: Later) -> Memory:
    found: Memory = later.memory.setdefault(job.metadata.uid, Memory(later.now_ns))
    return found


def concerned(store: Store, old: Object | None, new: Object | None) -> Iterator[Key]:
    """The Job that changed, or whose pod did."""
    yield from pods.owners(store, Job, Pod, old, new)


def reconcile(store: Store, seed: int, keys: Iterable[Key], later: Later) -> None:
    """Count finished pods, start further ones, and end Jobs."""
    owned = store.index(Pod, pods.controller_of)
    for job in store.found(Job, keys):
        mine = owned.of(job.metadata.uid)
        if job.finished:
            _expire(store, job, later)
            continue
        memory = _memory(job, later)
        _count(job, mine, memory, later)
        active = pods.active(mine)
        failed = _failure(job, memory, later)
        if failed is not None or _complete(job, memory, active):
            for pod in active:
                store.delete(pod.key)
            active = []
            _finish(store, job, memory, failed)
            continue
        active = _start(store, seed, job, memory, active, later)
        _report(store, job, memory, len(active), job.status.conditions)


def _count(job: Job, mine: list[Pod], memory: Memory, later: Later) -> None:
    before = len(memory.failed)
    for pod in mine:
        if pod.status.phase == "Succeeded":
            memory.succeeded[pod.metadata.uid] = _index(pod)
        elif pod.status.phase == "Failed" or pod.terminating:  # podReplacementPolicy TerminatingOrFailed
            memory.failed.add(pod.metadata.uid)
    if len(memory.failed) > before:
        delay_ns = min(BACKOFF_NS << (len(memory.failed) - 1), MAX_BACKOFF_NS)
        memory.waits_until_ns = later.now_ns + delay_ns


def _index(pod: Pod) -> int:
    return int(pod.metadata.annotations.get(INDEX, "-1"))


def _done(job: Job, memory: Memory) -> int:
    """How many completions there are: of an Indexed Job, each index counts once."""
    indexed = job.spec.completion_mode == "Indexed"
    return len({*memory.succeeded.values()}) if indexed else len(memory.succeeded)


def _failure(job: Job, memory: Memory, later: Later) -> tuple[str, str] | None:
    """The reason and message of a Job that has failed."""
    if len(memory.failed) > job.spec.backoff_limit:
        return "BackoffLimitExceeded", "Job has reached the specified backoff limit"
    limit_s = job.spec.active_deadline_seconds
    if limit_s is not None and not job.spec.suspend:
        due_ns = memory.began_ns + limit_s * SECOND
        if later.now_ns >= due_ns:
            return "DeadlineExceeded", "Job was active longer than specified deadline"
        later.wake(job.key, due_ns)
    return None


def _complete(job: Job, memory: Memory, active: list[Pod]) -> bool:
    wanted = job.spec.wanted
    if wanted is None:
        return bool(memory.succeeded) and not active
    return _done(job, memory) >= wanted


def _start(store: Store, seed: int, job: Job, memory: Memory, active: list[Pod], later: Later) -> list[Pod]:
    """Pods until as many run as may, or fewer if too many do (manageJob)."""
    spec, done = job.spec, _done(job, memory)
    if spec.suspend:
        number = 0
    elif spec.wanted is None:
        number = len(active) if memory.succeeded else spec.at_once
    else:
        number = min(spec.wanted - done, spec.at_once)
    for pod in active[number:]:
        store.delete(pod.key)
    active = active[:number]
    if len(active) < number and later.now_ns < memory.waits_until_ns:
        later.wake(job.key, memory.waits_until_ns)
        return active
    free = _free(spec.wanted or 0, memory, active) if spec.completion_mode == "Indexed" else iter(())
    for _ in range(number - len(active)):
        index = next(free, None)
        stem = f"{job.name}-" if index is None else f"{job.name}-{index}-"
        name = names.generate(store, "pod", job.namespace, stem, seed)
        template = _template(job, index)
        hostname = {} if index is None else {"hostname": f"{job.name}-{index}"}
        active.append(pods.create(store, job, template, name, {}, **hostname))
    return active


def _free(wanted: int, memory: Memory, active: list[Pod]) -> Iterator[int]:
    taken = {*memory.succeeded.values(), *map(_index, active)}
    return (index for index in range(wanted) if index not in taken)


def _template(job: Job, index: int | None) -> PodTemplateSpec:
    """The pod template with the labels that the API server adds, and the index of an Indexed Job."""
    template = job.spec.template
    labels = {**dict.fromkeys(_UIDS, job.metadata.uid), **dict.fromkeys(_NAMES, job.name)}
    annotations = dict(template.metadata.annotations)
    if index is not None:
        labels[INDEX] = annotations[INDEX] = str(index)
    meta = replace(template.metadata, labels={**template.metadata.labels, **labels}, annotations=annotations)
    return replace(template, metadata=meta)


def _finish(store: Store, job: Job, memory: Memory, failed: tuple[str, str] | None) -> None:
    kind, (reason, message) = ("Complete", ("CompletionsReached", "")) if failed is None else ("Failed", failed)
    condition = Condition(type=kind, status="True", reason=reason, message=message)
    _report(store, job, memory, 0, (*job.status.conditions, condition))


def _report(store: Store, job: Job, memory: Memory, active: int, conditions: tuple[Condition, ...]) -> None:
    status = JobStatus(active=active, succeeded=_done(job, memory), failed=len(memory.failed), conditions=conditions)
    store.put(replace(job, status=status))


def _expire(store: Store, job: Job, later: Later) -> None:
    """The TTL controller: a Job that has ended is deleted (pkg/controller/ttlafterfinished)."""
    ttl_s = job.spec.ttl_seconds_after_finished
    if ttl_s is None:
        return
    memory = _memory(job, later)
    memory.ended_ns = later.now_ns if memory.ended_ns is None else memory.ended_ns
    due_ns = memory.ended_ns + ttl_s * SECOND
    if later.now_ns >= due_ns:
        store.delete(job.key)
    else:
        later.wake(job.key, due_ns)
