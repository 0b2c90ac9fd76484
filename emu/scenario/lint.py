"""What is allowed and probably not meant: Services without endpoints, ports that no container declares, pods that wait.

Looks at objects as written, before any controller (pods are those of workloads' templates); only `waiting` looks at what
the scheduler made of them. Must not know clusters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar

from emu.clock import EPOCH_NS, SECOND
from emu.kube.api.apps import DaemonSet, Deployment, ReplicaSet, StatefulSet
from emu.kube.api.batch import CronJob, Job, ReplicationController
from emu.kube.api.core import Node, Pod, PodSpec, Service, ServicePort
from emu.kube.api.cron import parse, zone_of
from emu.kube.api.loader import Loaded
from emu.kube.api.meta import Object, ObjectMeta, replace, selects
from emu.kube.controllers.daemonset import tolerations_of
from emu.kube.node.lifetime import RUNS_ANNOTATION
from emu.kube.node.undeclared import is_open, probed
from emu.kube.node.wanted import APP_ANNOTATION
from emu.kube.scheduler import unschedulable, why_not
from emu.modelled import Finding, nearest

_WORKLOADS = (Deployment, ReplicaSet, StatefulSet, DaemonSet, ReplicationController, Job)


T = TypeVar("T")


class Template(NamedTuple):
    """Pods as they will be made."""

    namespace: str
    labels: dict[str, str]
    spec: PodSpec
    apps: str = ""  # the annotation emu/app

    def runs(self, port: int, protocol: str) -> bool:
        """Whether the annotation has an app on a port."""
        words = (each.strip().rpartition("@")[2].upper() for each in self.apps.split(","))
        return any(word in (f"{port}/{protocol}", f"{port}" if protocol == "TCP" else "") for word in words if word)


def warnings(loaded: Loaded) -> list[Finding]:
    """What is reported of manifests: first what is not modelled or not known."""
    return [*loaded.objects.findings, *meant(loaded)]


def meant(loaded: Loaded) -> list[Finding]:
    """What of the objects is probably not as people think."""
    return [*without_endpoints(loaded), *ends_of(loaded)]


def ends_of(loaded: Loaded) -> list[Finding]:
    """Each Job whose pods do not end, and when the first Job of each CronJob comes."""
    found = []
    for obj in loaded.objects:
        if isinstance(obj, CronJob) and not obj.spec.suspend:
            first = parse(obj.spec.schedule).after(EPOCH_NS // SECOND, zone_of(obj.spec.time_zone))
            after = "never" if first is None else f"{first - EPOCH_NS // SECOND} s after the start"
            found.append(placed(loaded, obj, f"its first Job starts {after}", "cronjob-first-run"))
        template = obj.spec.template if isinstance(obj, Job) else None
        template = obj.spec.job_template.spec.template if isinstance(obj, CronJob) else template
        if template is not None and RUNS_ANNOTATION not in template.metadata.annotations:
            what = f"its pods run on: no annotation {RUNS_ANNOTATION} on the template states when they end"
            found.append(placed(loaded, obj, what, "job-runs-on"))
    return found


def without_endpoints(loaded: Loaded) -> list[Finding]:
    """Each Service, or port of one, that has no endpoints or will be refused."""
    there = _labelled(loaded.objects)
    found = []
    for obj in loaded.objects:
        if isinstance(obj, Service):
            found += [placed(loaded, obj, *each) for each in _service(obj, there)]
    return found


class Labelled(Generic[T]):
    """Things of namespaces by each of their labels, so that a selector is not held against all."""

    def __init__(self, things: Iterable[tuple[str, Mapping[str, str], T]]) -> None:
        self._by_label: dict[tuple[str, str, str], list[tuple[Mapping[str, str], T]]] = {}
        for namespace, labels, thing in things:
            for name, value in labels.items():
                self._by_label.setdefault((namespace, name, value), []).append((labels, thing))

    def chosen(self, service: Service) -> list[T]:
        """Those that a Service's selector matches, in the order given; none for an empty selector."""
        first = next(iter(service.spec.selector.items()), ("", ""))
        likely = self._by_label.get((service.namespace, *first), ())
        return [thing for labels, thing in likely if selects(service.spec.selector, labels)]


def refuses(loaded: Loaded, service: Service) -> bool:
    """Whether a Service, or a port of one, has no endpoints or will be refused."""
    return any(_service(service, _labelled(loaded.objects)))


def waiting(pods: Iterable[Pod]) -> list[Finding]:
    """Each pod that has no node, with the scheduler's reason."""
    return [
        Finding("", str(pod.key), f"stays Pending: {condition.message}", "unschedulable")
        for pod in pods
        if not pod.spec.node_name
        for condition in pod.status.conditions
        if condition.type == "PodScheduled" and condition.status == "False"
    ]


def without_nodes(loaded: Loaded, nodes: Sequence[Node], *, pods: bool = False) -> list[Finding]:
    """Each DaemonSet whose pods fit no node, and with `pods` all pods and workloads, with the scheduler's reason: `pods` is for
    objects that no scheduler has seen."""
    found = []
    for obj in loaded.objects:
        for template in templates([obj]) if pods or isinstance(obj, DaemonSet) else ():
            spec = template.spec
            if isinstance(obj, DaemonSet):
                spec = replace(spec, tolerations=tolerations_of(spec))
            refusals = Counter(why_not(spec, node) for node in nodes)
            if None not in refusals and not template.spec.node_name:
                reasons = unschedulable(len(nodes), {str(why): count for why, count in refusals.items()})
                fate = (
                    "has no pods"
                    if isinstance(obj, DaemonSet)
                    else "stays Pending"
                    if isinstance(obj, Pod)
                    else "its pods stay Pending"
                )
                found.append(placed(loaded, obj, f"{fate}: {reasons}", "unschedulable"))
    return found


def named_nodes(loaded: Loaded, nodes: Sequence[Node]) -> list[Finding]:
    """Pods, or pods of a workload, that name a node which is not there."""
    found = []
    known = [each.name for each in nodes]
    for obj in loaded.objects:
        for each in templates([obj]):
            name = each.spec.node_name
            if name and name not in known:
                near = nearest(name, known)
                hint = f'"{near}"?' if near else ", ".join(known[:3])
                what = f'spec.nodeName: no node is called "{name}" (expected {hint}): the pod never runs'
                found.append(placed(loaded, obj, what, "node-name"))
    return found


def placed(loaded: Loaded, obj: Object, what: str, id: str) -> Finding:
    """A finding about an object, with the place where that is written."""
    place = loaded.places.get(obj.key)
    return Finding(f"{place.file or ''}:{place.line}" if place is not None else "", str(obj.key), what, id)


def templates(objects: Iterable[Object]) -> Iterator[Template]:
    """The pods that objects are, or make."""
    for obj in objects:
        if isinstance(obj, Pod):
            yield Template(obj.namespace, obj.metadata.labels, obj.spec, _apps(obj.metadata))
        elif isinstance(obj, _WORKLOADS):
            template = obj.spec.template
            yield Template(obj.namespace, template.metadata.labels, template.spec, _apps(template.metadata))
        elif isinstance(obj, CronJob):
            template = obj.spec.job_template.spec.template
            yield Template(obj.namespace, template.metadata.labels, template.spec, _apps(template.metadata))


def _apps(meta: ObjectMeta) -> str:
    return meta.annotations.get(APP_ANNOTATION, "")


def _labelled(objects: Iterable[Object]) -> Labelled[Template]:
    return Labelled((each.namespace, each.labels, each) for each in templates(objects))


def _service(service: Service, there: Labelled[Template]) -> Iterator[tuple[str, str]]:
    """What is wrong with a Service, and its id."""
    if not service.spec.selector or service.spec.type == "ExternalName":
        return
    chosen = there.chosen(service)
    if not chosen:
        yield "its selector matches no pod, so it has no endpoints", "selector-matches-nothing"
        return
    for port in service.spec.ports:
        yield from _port(service, port, chosen)


def _port(service: Service, port: ServicePort, chosen: list[Template]) -> Iterator[tuple[str, str]]:
    target = port.target_port or port.port
    for template in chosen:
        declared = [each for each in template.spec.ports if each.protocol == port.protocol]
        if any(target in (each.container_port, each.name) for each in declared):
            return
    if isinstance(target, str):
        what = f'no container has a {port.protocol} port named "{target}", so port {port.port} has no endpoints'
        yield what, "target-port-name"
    elif not any(each.runs(target, port.protocol) for each in chosen):
        known = all(is_open(service, port, each.spec) or (target, "TCP") in probed(each.spec) for each in chosen)
        what = f"targetPort {target} of port {port.port} is declared by no container"
        if known:
            yield f"{what}: it is taken to listen", "port-not-declared"
        else:
            yield f"{what}: it will refuse", "target-port-number"
