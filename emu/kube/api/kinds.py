"""Which kinds there are: (apiVersion, kind) to type, kubectl's short names, and what other kinds mean.

Must not know files.
"""

from __future__ import annotations

from difflib import get_close_matches

from emu.errors import InputError
from emu.kube.api.apps import DaemonSet, Deployment, ReplicaSet, StatefulSet
from emu.kube.api.core import Endpoints, Namespace, Node, Pod, Service
from emu.kube.api.discovery import EndpointSlice
from emu.kube.api.meta import Object, Other

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
    EndpointSlice,
)


def _default(kind: type[Object], field: str) -> str:
    index = kind.__struct_fields__.index(field) - len(kind.__struct_fields__)
    return str(kind.__struct_defaults__[index])


KINDS: dict[tuple[str, str], type[Object]] = {(_default(t, "api_version"), _default(t, "kind")): t for t in TYPES}
API_VERSION_OF: dict[str, str] = {kind: api_version for api_version, kind in KINDS}
CLUSTER_SCOPED = frozenset(
    (
        "APIService",
        "CSIDriver",
        "CSINode",
        "CertificateSigningRequest",
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
_SHORT = {"ns": "namespace", "no": "node", "po": "pod", "svc": "service", "ep": "endpoints", "deploy": "deployment"}
_SHORT |= {"rs": "replicaset", "sts": "statefulset", "ds": "daemonset", "endpointslices": "endpointslice"}
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
