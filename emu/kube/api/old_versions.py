"""Versions that API servers have removed, read as their successors: the defaults that each of them had are filled in.

Source: Deprecated API Migration Guide (kubernetes.io); defaults.go and conversion.go of the old versions (kubernetes 1.15, pkg/apis/extensions, apps,
discovery). Must not know types.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

Value = dict[str, Any]
_HOSTNAME, _ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"


class Successor(NamedTuple):
    """`version` has the kind now; `gone` is the release that refused the old one first. `fill` puts in what the old version had
    by default, or under another name."""

    version: str
    gone: str
    fill: Callable[[Value], Value]


def current(value: Value) -> tuple[Value, str]:
    """An object in the version of today, and a sentence about that; the object itself and "" if its version is no removed one."""
    api_version, kind = value["apiVersion"], value["kind"]
    found = SUCCESSORS.get((api_version, kind))
    if found is None:
        return value, ""
    what = f"{kind} of {api_version} is read as {found.version}: clusters since {found.gone} refuse it"
    return {**found.fill(value), "apiVersion": found.version}, what


def _as_it_is(value: Value) -> Value:
    return value


def _workload(value: Value, **defaults: Any) -> Value:
    """Selector and labels are those of the template where they are not written (SetDefaults_Deployment and its like)."""
    spec = value.get("spec")
    template = spec.get("template") if isinstance(spec, dict) else None
    meta = template.get("metadata") if isinstance(template, dict) else None
    labels = meta.get("labels") if isinstance(meta, dict) else None
    if not isinstance(spec, dict) or not isinstance(labels, dict) or not labels:
        return value
    own = value.get("metadata")
    if isinstance(own, dict) and not own.get("labels"):
        value = {**value, "metadata": {**own, "labels": labels}}
    spec = {key: item for key, item in spec.items() if key not in ("rollbackTo", "templateGeneration")}
    if not spec.get("selector"):
        spec["selector"] = {"matchLabels": labels}
    return {**value, "spec": {**defaults, **spec}}


def _on_delete(value: Value) -> Value:
    """DaemonSets of extensions/v1beta1 and StatefulSets of apps/v1beta1 replaced no pod by themselves."""
    return _workload(value, updateStrategy={"type": "OnDelete"})


def _endpoint_slice(value: Value) -> Value:
    """The topology of an endpoint has become two fields."""
    endpoints = value.get("endpoints")
    if not isinstance(endpoints, list):
        return value
    return {**value, "endpoints": [_endpoint(each) if isinstance(each, dict) else each for each in endpoints]}


def _endpoint(value: Value) -> Value:
    topology = value.get("topology")
    topology = topology if isinstance(topology, dict) else {}
    found = {key: topology[label] for key, label in (("nodeName", _HOSTNAME), ("zone", _ZONE)) if topology.get(label)}
    return {**found, **{key: item for key, item in value.items() if key != "topology"}}


def _rows() -> dict[tuple[str, str], Successor]:
    rows = {
        **{
            ("extensions/v1beta1", kind): Successor("apps/v1", "1.16", _workload)
            for kind in ("Deployment", "ReplicaSet")
        },
        ("extensions/v1beta1", "DaemonSet"): Successor("apps/v1", "1.16", _on_delete),
        ("apps/v1beta1", "Deployment"): Successor("apps/v1", "1.16", _workload),
        ("apps/v1beta1", "StatefulSet"): Successor("apps/v1", "1.16", _on_delete),
        **{
            ("apps/v1beta2", kind): Successor("apps/v1", "1.16", _as_it_is)
            for kind in ("Deployment", "ReplicaSet", "DaemonSet", "StatefulSet")
        },
        ("extensions/v1beta1", "NetworkPolicy"): Successor("networking.k8s.io/v1", "1.16", _as_it_is),
        ("batch/v2alpha1", "CronJob"): Successor("batch/v1", "1.21", _as_it_is),
        ("batch/v1beta1", "CronJob"): Successor("batch/v1", "1.25", _as_it_is),
        ("discovery.k8s.io/v1beta1", "EndpointSlice"): Successor("discovery.k8s.io/v1", "1.25", _endpoint_slice),
    }
    for api_version, kinds, version, gone in _WITHOUT_EFFECT:
        rows |= {(api_version, kind): Successor(version, gone, _as_it_is) for kind in kinds.split()}
    return rows


_WITHOUT_EFFECT = (
    ("extensions/v1beta1", "Ingress", "networking.k8s.io/v1", "1.22"),
    ("extensions/v1beta1", "PodSecurityPolicy", "policy/v1beta1", "1.16"),
    ("networking.k8s.io/v1beta1", "Ingress IngressClass", "networking.k8s.io/v1", "1.22"),
    ("admissionregistration.k8s.io/v1beta1", "MutatingWebhookConfiguration ValidatingWebhookConfiguration", "admissionregistration.k8s.io/v1", "1.22"),
    ("apiextensions.k8s.io/v1beta1", "CustomResourceDefinition", "apiextensions.k8s.io/v1", "1.22"),
    ("apiregistration.k8s.io/v1beta1", "APIService", "apiregistration.k8s.io/v1", "1.22"),
    ("authentication.k8s.io/v1beta1", "TokenReview", "authentication.k8s.io/v1", "1.22"),
    (
        "authorization.k8s.io/v1beta1",
        "LocalSubjectAccessReview SelfSubjectAccessReview SelfSubjectRulesReview SubjectAccessReview",
        "authorization.k8s.io/v1",
        "1.22",
    ),
    ("autoscaling/v2beta1", "HorizontalPodAutoscaler", "autoscaling/v2", "1.25"),
    ("autoscaling/v2beta2", "HorizontalPodAutoscaler", "autoscaling/v2", "1.26"),
    ("certificates.k8s.io/v1beta1", "CertificateSigningRequest", "certificates.k8s.io/v1", "1.22"),
    ("coordination.k8s.io/v1beta1", "Lease", "coordination.k8s.io/v1", "1.22"),
    ("events.k8s.io/v1beta1", "Event", "events.k8s.io/v1", "1.25"),
    ("flowcontrol.apiserver.k8s.io/v1beta1", "FlowSchema PriorityLevelConfiguration", "flowcontrol.apiserver.k8s.io/v1", "1.26"),
    ("flowcontrol.apiserver.k8s.io/v1beta2", "FlowSchema PriorityLevelConfiguration", "flowcontrol.apiserver.k8s.io/v1", "1.29"),
    ("flowcontrol.apiserver.k8s.io/v1beta3", "FlowSchema PriorityLevelConfiguration", "flowcontrol.apiserver.k8s.io/v1", "1.32"),
    ("node.k8s.io/v1beta1", "RuntimeClass", "node.k8s.io/v1", "1.25"),
    ("policy/v1beta1", "PodDisruptionBudget", "policy/v1", "1.25"),
    ("rbac.authorization.k8s.io/v1alpha1", "ClusterRole ClusterRoleBinding Role RoleBinding", "rbac.authorization.k8s.io/v1", "1.22"),
    ("rbac.authorization.k8s.io/v1beta1", "ClusterRole ClusterRoleBinding Role RoleBinding", "rbac.authorization.k8s.io/v1", "1.22"),
    ("scheduling.k8s.io/v1beta1", "PriorityClass", "scheduling.k8s.io/v1", "1.22"),
    ("storage.k8s.io/v1beta1", "CSIDriver CSINode StorageClass VolumeAttachment", "storage.k8s.io/v1", "1.22"),
    ("storage.k8s.io/v1beta1", "CSIStorageCapacity", "storage.k8s.io/v1", "1.27"),
)  # fmt: skip
"""(apiVersion, kinds, the version that has them, the release without): what has no type here changes no packet in any version."""

SUCCESSORS = _rows()
