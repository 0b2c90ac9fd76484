"""Which kinds there are: (apiVersion, kind) to type, kubectl's short names, and what other kinds mean.

Must not know files.
"""

from __future__ import annotations

from difflib import get_close_matches

from emu.errors import InputError
from emu.kube.api.admin_policy import AdminNetworkPolicy, BaselineAdminNetworkPolicy
from emu.kube.api.apps import DaemonSet, Deployment, ReplicaSet, StatefulSet
from emu.kube.api.batch import CronJob, Job, ReplicationController
from emu.kube.api.cluster_policy import ClusterNetworkPolicy
from emu.kube.api.core import Endpoints, Namespace, Node, Pod, Service
from emu.kube.api.discovery import EndpointSlice
from emu.kube.api.meta import Object, Other
from emu.kube.api.networking import NetworkPolicy
from emu.modelled import NotModelled, Treatment, WithoutEffect, nearest

TYPES: tuple[type[Object], ...] = (
    Namespace,
    Node,
    Pod,
    Service,
    Endpoints,
    Deployment,
    ReplicaSet,
    StatefulSet,
    DaemonSet,
    ReplicationController,
    Job,
    CronJob,
    EndpointSlice,
    NetworkPolicy,
    ClusterNetworkPolicy,
    AdminNetworkPolicy,
    BaselineAdminNetworkPolicy,
)


def _default(kind: type[Object], field: str) -> str:
    index = kind.__struct_fields__.index(field) - len(kind.__struct_fields__)
    return str(kind.__struct_defaults__[index])


KINDS: dict[tuple[str, str], type[Object]] = {(_default(t, "api_version"), _default(t, "kind")): t for t in TYPES}
API_VERSION_OF: dict[str, str] = {kind: api_version for api_version, kind in KINDS}
CLUSTER_SCOPED = frozenset(
    (
        "APIService",
        "AdminNetworkPolicy",
        "BaselineAdminNetworkPolicy",
        "CSIDriver",
        "CSINode",
        "CertificateSigningRequest",
        "ClusterNetworkPolicy",
        "ClusterRole",
        "ClusterRoleBinding",
        "CustomResourceDefinition",
        "FlowSchema",
        "IngressClass",
        "MutatingWebhookConfiguration",
        "Namespace",
        "Node",
        "PersistentVolume",
        "PriorityClass",
        "PriorityLevelConfiguration",
        "RuntimeClass",
        "StorageClass",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
        "ValidatingWebhookConfiguration",
        "VolumeAttachment",
    )
)
_GROUPS = (
    "apps autoscaling batch extensions policy admission.k8s.io admissionregistration.k8s.io apiextensions.k8s.io "
    "apiregistration.k8s.io authentication.k8s.io authorization.k8s.io certificates.k8s.io coordination.k8s.io "
    "discovery.k8s.io events.k8s.io flowcontrol.apiserver.k8s.io imagepolicy.k8s.io internal.apiserver.k8s.io "
    "lifecycle.k8s.io networking.k8s.io node.k8s.io rbac.authorization.k8s.io resource.k8s.io scheduling.k8s.io "
    "storage.k8s.io storagemigration.k8s.io"
)
GROUPS = frozenset(("", *_GROUPS.split()))
"""The API groups of Kubernetes itself; every other group holds custom resources."""
CUSTOM = "custom-resource"
"""The id of what there is to report about those."""
_NO_EFFECT = (
    "APIService Binding CSIDriver CSINode CSIStorageCapacity CertificateSigningRequest ClusterRole ClusterRoleBinding "
    "ClusterTrustBundle ComponentStatus CompositePodGroup ConfigMap ControllerRevision CustomResourceDefinition "
    "DeviceClass DeviceTaintRule Event FlowSchema IPAddress IngressClass Lease LeaseCandidate LimitRange "
    "LocalSubjectAccessReview PersistentVolume PersistentVolumeClaim PodCertificateRequest PodGroup PodSecurityPolicy "
    "PodTemplate PriorityClass PriorityLevelConfiguration RangeAllocation ResourceClaim ResourceClaimTemplate "
    "ResourceSlice Role RoleBinding RuntimeClass Secret SelfSubjectAccessReview SelfSubjectReview "
    "SelfSubjectRulesReview ServiceAccount StorageClass StorageVersion StorageVersionMigration SubjectAccessReview "
    "TokenRequest TokenReview ValidatingAdmissionPolicy ValidatingAdmissionPolicyBinding "
    "ValidatingWebhookConfiguration VolumeAttachment VolumeAttributesClass Workload"
)
_NOT_MODELLED = {
    "Eviction": "no pod is evicted",
    "EvictionRequest": "no pod is evicted",
    "HorizontalPodAutoscaler": "nothing scales by load",
    "Ingress": "no ingress controller runs",
    "MutatingAdmissionPolicy": "objects stay as they are written",
    "MutatingAdmissionPolicyBinding": "objects stay as they are written",
    "MutatingWebhookConfiguration": "objects stay as they are written",
    "PodDisruptionBudget": "a drain does not wait for it",
    "ResourceQuota": "pods over the quota run",
    "ServiceCIDR": "Services get addresses of serviceSubnet only",
}
OTHER_KINDS: dict[str, Treatment] = {
    **dict.fromkeys(_NO_EFFECT.split(), WithoutEffect("it concerns no packet")),
    **{kind: NotModelled(what) for kind, what in _NOT_MODELLED.items()},
}
"""The kinds of Kubernetes itself that have no type here."""
_SHORT = {"ns": "namespace", "no": "node", "po": "pod", "svc": "service", "ep": "endpoints", "deploy": "deployment"}
_SHORT |= {"rs": "replicaset", "sts": "statefulset", "ds": "daemonset", "endpointslices": "endpointslice"}
_SHORT |= {
    "rc": "replicationcontroller",
    "cj": "cronjob",
    "netpol": "networkpolicy",
    "networkpolicies": "networkpolicy",
    "cnp": "clusternetworkpolicy",
    "clusternetworkpolicies": "clusternetworkpolicy",
    "anp": "adminnetworkpolicy",
    "adminnetworkpolicies": "adminnetworkpolicy",
    "banp": "baselineadminnetworkpolicy",
    "baselineadminnetworkpolicies": "baselineadminnetworkpolicy",
}
_WORDS: dict[str, str] = _SHORT | {t + s: t for t in map(str.lower, API_VERSION_OF) for s in ("", "s")}


def kind_named(word: str) -> str:
    """The kind, in lower case as in `Key`, that kubectl would take `word` for: `svc`, `Services`, `pod`. Raises InputError."""
    kind = _WORDS.get(word.lower())
    if kind is None:
        near = get_close_matches(word.lower(), _WORDS, n=1)
        raise InputError(
            f'"{word}" is not a kind of object', expected=near[0] if near else "such as pod, service, node"
        )
    return kind


def type_of(api_version: str, kind: str) -> type[Object]:
    """The type for a manifest; `Other` for kinds that we do not use. Raises InputError for a known kind under another name."""
    found = KINDS.get((api_version, kind))
    if found is not None:
        return found
    wanted = API_VERSION_OF.get(kind)
    group = api_version.rpartition("/")[0]
    # Groups without a dot and *.k8s.io are Kubernetes' own; another project may well have a "Service" of its own.
    if wanted is not None and ("." not in group or group.endswith(".k8s.io")):
        raise InputError(f'there is no {kind} in "{api_version}"', expected=wanted)
    return Other


def is_custom(api_version: str) -> bool:
    """Whether the API group is none of Kubernetes' own."""
    return api_version.rpartition("/")[0] not in GROUPS


def remark(api_version: str, kind: str) -> tuple[str, str]:
    """What there is to report about a kind that has no type, and its id: it is not modelled, or nothing knows it; "" for neither."""
    if is_custom(api_version):
        what = f"kind {kind} of {api_version} is a custom resource, which is not modelled: nothing acts on it"
        return what, CUSTOM
    treatment = OTHER_KINDS.get(kind)
    if isinstance(treatment, NotModelled):
        return f"kind {kind} is not modelled: {treatment.what}", "kind-not-modelled"
    if treatment is None:
        meant = nearest(kind, {*OTHER_KINDS, *API_VERSION_OF})
        hint = f' (expected "{meant}"?)' if meant else ""
        return f'unknown kind "{kind}" in {api_version}{hint}', "unknown-kind"
    return "", ""
