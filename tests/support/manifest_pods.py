"""The pods that a cluster makes of manifests, and what it refuses or emu leaves out: from their YAML alone, by Kubernetes' own rules of names and
counts. Must not import emu.

Manifests lie in `tests/data/manifests`, beside the project in `shared/manifests` and `shared/findings/inputs/manifests`, and in the
folders that EMU_MANIFESTS names.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).parents[2]
FOLDERS = [
    ROOT / "tests" / "data" / "manifests",
    *(ROOT.parent / "shared" / each for each in ("manifests", "findings/inputs/manifests")),
    *(Path(each) for each in os.environ.get("EMU_MANIFESTS", "").split(os.pathsep) if each),
]
NODES = {
    f"node-{number}": {
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/hostname": f"node-{number}",
    }
    for number in (1, 2, 3)
}
# The alphabet of apimachinery's rand.String, in which a ReplicaSet's hash is written, too
LETTERS = "[bcdfghjklmnpqrstvwxz2456789]"
MAKERS = ("Pod", "Deployment", "ReplicaSet", "ReplicationController", "StatefulSet", "DaemonSet", "Job", "CronJob")
# What no packet depends on, or what is at work without pods
QUIET = {
    "Service", "Endpoints", "EndpointSlice", "Node", "Namespace", "ConfigMap", "Secret", "ServiceAccount", "Role", "RoleBinding", "ClusterRole",
    "ClusterRoleBinding", "PersistentVolume", "PersistentVolumeClaim", "StorageClass", "PriorityClass", "CustomResourceDefinition", "LimitRange",
}  # fmt: skip
# Versions that today's API server has no more, and where their kinds are now (Deprecated API Migration Guide)
_APPS = {
    "extensions/v1beta1": ("Deployment", "DaemonSet", "ReplicaSet"),
    "apps/v1beta1": ("Deployment", "StatefulSet"),
    "apps/v1beta2": ("Deployment", "DaemonSet", "ReplicaSet", "StatefulSet"),
}
REMOVED = {
    **{(group, kind): "apps/v1" for group, kinds in _APPS.items() for kind in kinds},
    ("extensions/v1beta1", "NetworkPolicy"): "networking.k8s.io/v1",
    ("extensions/v1beta1", "Ingress"): "networking.k8s.io/v1",
    ("networking.k8s.io/v1beta1", "Ingress"): "networking.k8s.io/v1",
    ("batch/v1beta1", "CronJob"): "batch/v1",
    ("policy/v1beta1", "PodDisruptionBudget"): "policy/v1",
    ("autoscaling/v2beta2", "HorizontalPodAutoscaler"): "autoscaling/v2",
    ("rbac.authorization.k8s.io/v1beta1", "ClusterRole"): "rbac.authorization.k8s.io/v1",
}


class Group(NamedTuple):
    """Pods of one manifest: their namespace, a pattern for their names, how many, the nodes that they may run on, and whether there is
    one on each."""

    namespace: str
    name: str
    size: int
    nodes: frozenset[str]
    one_each: bool = False


def files() -> list[Path]:
    """Each manifest once, by its contents: several folders may have it."""
    found: dict[bytes, Path] = {}
    for folder in FOLDERS:
        for path in sorted(folder.rglob("*.yaml")) if folder.is_dir() else ():
            found.setdefault(path.read_bytes(), path)
    return list(found.values())


def documents(path: Path) -> list[dict[str, Any]]:
    found = [each for each in yaml.load_all(path.read_text(encoding="utf-8"), yaml.CSafeLoader) if each]
    return [item for each in found for item in (each["items"] if each.get("kind") == "List" else [each])]


def refused(found: Sequence[Mapping[str, Any]]) -> str:
    """What an error has to name, where a cluster cannot take these as they are; "" where it can."""
    if any("kustomize" in each.get("apiVersion", "") or "resources" in each for each in found):
        return "kubectl kustomize"
    return ""


def old(found: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """The objects in a version that today's API server has no more: `KIND of VERSION`, and where that is now."""
    named = [(each["apiVersion"], each["kind"]) for each in found]
    return [(f"{kind} of {version}", REMOVED[version, kind]) for version, kind in named if (version, kind) in REMOVED]


def left_out(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """The kinds that have to be named on stderr. A network may enforce policies: nothing is asked about them."""
    kinds = {each["kind"] for each in found}
    return sorted(kinds - QUIET - {*MAKERS, "NetworkPolicy"})


def groups(found: Sequence[Mapping[str, Any]]) -> Iterator[Group]:
    for each in found:
        kind, meta, spec = each["kind"], each["metadata"], each.get("spec", {})
        namespace, name = meta.get("namespace", "default"), re.escape(meta["name"])
        if kind == "Pod":
            yield Group(namespace, name, 1, _nodes(spec))
        if kind not in MAKERS or kind in ("Pod", "CronJob"):  # a CronJob's schedule has not come yet
            continue
        nodes, drawn = _nodes(spec["template"]["spec"]), f"{name}-{LETTERS}{{5}}"
        replicas = spec.get("replicas", 1)
        if kind == "Deployment":
            yield Group(namespace, f"{name}-{LETTERS}{{8,10}}-{LETTERS}{{5}}", replicas, nodes)
        elif kind == "StatefulSet":
            first = spec.get("ordinals", {}).get("start", 0)
            for number in range(first, first + replicas):
                yield Group(namespace, f"{name}-{number}", 1, nodes)
        elif kind == "DaemonSet":
            yield Group(namespace, drawn, len(nodes), nodes, True)
        elif kind == "Job":
            yield Group(namespace, drawn, min(spec.get("parallelism", 1), spec.get("completions", 1)), nodes)
        else:
            yield Group(namespace, drawn, replicas, nodes)


def _nodes(spec: Mapping[str, Any]) -> frozenset[str]:
    wanted = spec.get("nodeSelector", {})
    fitting = {name for name, labels in NODES.items() if wanted.items() <= labels.items()}
    return frozenset(fitting & {spec["nodeName"]} if "nodeName" in spec else fitting)


def differences(found: Sequence[Mapping[str, Any]], pods: Sequence[Mapping[str, Any]]) -> list[str]:
    """What of `pods` (namespace, name, node, status, ready) is not as a cluster would have it."""
    wrong, left = list[str](), list(pods)
    for group in groups(found):
        pattern = re.compile(group.name)
        own = [pod for pod in left if pod["namespace"] == group.namespace and pattern.fullmatch(pod["name"])]
        left = [pod for pod in left if pod not in own]
        if len(own) != group.size:
            wrong.append(f"{group.name}: {len(own)} pods, not {group.size}")
        homes = Counter(pod["node"] for pod in own)
        wrong += [f"{group.name}: on {node}" for node in homes if node not in group.nodes]
        if group.one_each and set(homes.values()) - {1}:
            wrong.append(f"{group.name}: {dict(homes)}")
        wrong += [f"{pod['name']}: {pod['status']}" for pod in own if pod["status"] != "Running" or not pod["ready"]]
    return [*wrong, *(f"{pod['name']}: of no manifest" for pod in left)]
