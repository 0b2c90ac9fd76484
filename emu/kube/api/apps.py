"""The apps group, v1: Deployment, ReplicaSet, StatefulSet, DaemonSet.

Must not know what controllers make of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Literal

from msgspec import Meta

from emu.kube.api.core import PodTemplateSpec
from emu.kube.api.meta import ApiStruct, LabelSelector, Object, Problem

Count = Annotated[int, Meta(ge=0)]
_PERCENTAGE = re.compile("[0-9]{1,9}%")  # no other script's digits, no more than a number holds


def _template_problems(selector: LabelSelector, template: PodTemplateSpec) -> Iterator[Problem]:
    yield from selector.problems(("spec", "selector"))
    if selector.empty:
        yield Problem(("spec", "selector"), "an empty selector would select every pod", "matchLabels")
    elif not selector.matches(template.metadata.labels):
        yield Problem(("spec", "template", "metadata", "labels"), "the labels do not match spec.selector")
    yield from template.spec.problems(("spec", "template", "spec"))
    if template.spec.restart_policy != "Always":
        yield Problem(("spec", "template", "spec", "restartPolicy"), f'"{template.spec.restart_policy}"', '"Always"')


class RollingUpdateDeployment(ApiStruct, frozen=True):
    max_surge: int | str = "25%"
    max_unavailable: int | str = "25%"


class DeploymentStrategy(ApiStruct, frozen=True):
    type: Literal["RollingUpdate", "Recreate"] = "RollingUpdate"
    rolling_update: RollingUpdateDeployment = RollingUpdateDeployment()


class DeploymentSpec(ApiStruct, frozen=True):
    selector: LabelSelector
    template: PodTemplateSpec
    replicas: Count = 1
    strategy: DeploymentStrategy = DeploymentStrategy()
    paused: bool = False
    revision_history_limit: Count = 10


class WorkloadStatus(ApiStruct, frozen=True):
    """How many pods there are, how many of them are ready, and how many have the present template (not of a ReplicaSet). A
    pod that is ready is available: minReadySeconds is not waited for."""

    replicas: int = 0
    ready_replicas: int = 0
    updated_replicas: int = 0
    available_replicas: int = 0
    update_revision: str = ""


class Deployment(Object, frozen=True, kw_only=True):
    api_version: str = "apps/v1"
    kind: str = "Deployment"
    spec: DeploymentSpec
    status: WorkloadStatus = WorkloadStatus()

    @property
    def selector(self) -> LabelSelector:
        return self.spec.selector

    def problems(self) -> Iterator[Problem]:
        yield from _template_problems(self.spec.selector, self.spec.template)
        rolling = self.spec.strategy.rolling_update
        for field, value in (("maxSurge", rolling.max_surge), ("maxUnavailable", rolling.max_unavailable)):
            if not (_PERCENTAGE.fullmatch(value) if isinstance(value, str) else value >= 0):
                path = ("spec", "strategy", "rollingUpdate", field)
                yield Problem(path, f'"{value}" is neither a number nor a percentage', 'such as 1 or "25%"')


class ReplicaSetSpec(ApiStruct, frozen=True):
    selector: LabelSelector
    template: PodTemplateSpec = PodTemplateSpec()
    replicas: Count = 1


class ReplicaSet(Object, frozen=True, kw_only=True):
    api_version: str = "apps/v1"
    kind: str = "ReplicaSet"
    spec: ReplicaSetSpec
    status: WorkloadStatus = WorkloadStatus()

    @property
    def selector(self) -> LabelSelector:
        return self.spec.selector

    def problems(self) -> Iterator[Problem]:
        return _template_problems(self.spec.selector, self.spec.template)


class StatefulSetOrdinals(ApiStruct, frozen=True):
    start: Count = 0


class RollingUpdateStatefulSet(ApiStruct, frozen=True):
    partition: Count = 0


class StatefulSetUpdateStrategy(ApiStruct, frozen=True):
    type: Literal["RollingUpdate", "OnDelete"] = "RollingUpdate"
    rolling_update: RollingUpdateStatefulSet = RollingUpdateStatefulSet()


class StatefulSetSpec(ApiStruct, frozen=True):
    selector: LabelSelector
    template: PodTemplateSpec
    service_name: str = ""
    replicas: Count = 1
    ordinals: StatefulSetOrdinals = StatefulSetOrdinals()
    pod_management_policy: Literal["OrderedReady", "Parallel"] = "OrderedReady"
    update_strategy: StatefulSetUpdateStrategy = StatefulSetUpdateStrategy()


class StatefulSet(Object, frozen=True, kw_only=True):
    api_version: str = "apps/v1"
    kind: str = "StatefulSet"
    spec: StatefulSetSpec
    status: WorkloadStatus = WorkloadStatus()

    def problems(self) -> Iterator[Problem]:
        return _template_problems(self.spec.selector, self.spec.template)


class DaemonSetUpdateStrategy(ApiStruct, frozen=True):
    type: Literal["RollingUpdate", "OnDelete"] = "RollingUpdate"


class DaemonSetSpec(ApiStruct, frozen=True):
    selector: LabelSelector
    template: PodTemplateSpec
    update_strategy: DaemonSetUpdateStrategy = DaemonSetUpdateStrategy()


class DaemonSetStatus(ApiStruct, frozen=True):
    """How many nodes should have a pod, how many of them have one, and of these how many are ready, available, and have the
    present template."""

    desired_number_scheduled: int = 0
    current_number_scheduled: int = 0
    number_ready: int = 0
    updated_number_scheduled: int = 0
    number_available: int = 0


class DaemonSet(Object, frozen=True, kw_only=True):
    api_version: str = "apps/v1"
    kind: str = "DaemonSet"
    spec: DaemonSetSpec
    status: DaemonSetStatus = DaemonSetStatus()

    def problems(self) -> Iterator[Problem]:
        return _template_problems(self.spec.selector, self.spec.template)


class ControllerRevision(Object, frozen=True, kw_only=True):
    """What the pods of a template are labelled with (`revision`), where another controller than ours has labelled them."""

    api_version: str = "apps/v1"
    kind: str = "ControllerRevision"
    template: PodTemplateSpec = PodTemplateSpec()
    revision: str = ""
