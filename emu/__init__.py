"""emu: the network of a Kubernetes cluster in one Python process.

The public names: a cluster, its objects from manifests or typed, a bench without Kubernetes, scenarios and their runs. Names are
imported when they are first used (PEP 562), so that `import emu` is fast. Must not import Scapy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from emu import compiled as compiled  # first: it decides what the imports below find
from emu.version import VERSION

if TYPE_CHECKING:
    from emu.capture.capture import Capture
    from emu.clock import Clock
    from emu.errors import EmuError, InputError, SocketError, Undecided
    from emu.fork import Snapshot
    from emu.kernel.boot import namespace, veth
    from emu.kernel.link.bridge import Bridge
    from emu.kernel.net.fib import Fib
    from emu.kernel.net.fib_semantics import Route
    from emu.kernel.net.netns import Netns
    from emu.kernel.netfilter.conntrack import Conntrack
    from emu.kernel.netfilter.table import Tables
    from emu.kube.api.apps import DaemonSet, Deployment, ReplicaSet, StatefulSet
    from emu.kube.api.batch import CronJob, Job, ReplicationController
    from emu.kube.api.core import (
        Container,
        ContainerPort,
        Endpoints,
        Namespace,
        Node,
        Pod,
        PodSpec,
        Service,
        ServicePort,
        ServiceSpec,
    )  # fmt: skip
    from emu.kube.api.discovery import EndpointSlice
    from emu.kube.api.loader import Loaded, Objects
    from emu.kube.api.meta import Object, ObjectMeta
    from emu.kube.api.networking import NetworkPolicy
    from emu.kube.api.sources import load, objects
    from emu.kube.cluster import Cluster, ClusterConfig, NodeConfig
    from emu.kube.flow.flow import Flow
    from emu.kube.flow.outcome import Outcome
    from emu.lab import Lab
    from emu.scenario.run import Run, run
    from emu.scenario.script import Scenario

__version__ = VERSION

_CORE = (
    "Container", "ContainerPort", "Endpoints", "Namespace", "Node", "Pod", "PodSpec", "Service", "ServicePort",
    "ServiceSpec",
)  # fmt: skip

_WHERE = {
    # a cluster
    "Cluster": "emu.kube.cluster",
    "ClusterConfig": "emu.kube.cluster",
    "NodeConfig": "emu.kube.cluster",
    "Snapshot": "emu.fork",
    "Flow": "emu.kube.flow.flow",
    "Outcome": "emu.kube.flow.outcome",
    # objects, from manifests or typed
    "load": "emu.kube.api.sources",
    "objects": "emu.kube.api.sources",
    "Loaded": "emu.kube.api.loader",
    "Objects": "emu.kube.api.loader",
    "Object": "emu.kube.api.meta",
    "ObjectMeta": "emu.kube.api.meta",
    **dict.fromkeys(_CORE, "emu.kube.api.core"),
    **dict.fromkeys(("DaemonSet", "Deployment", "ReplicaSet", "StatefulSet"), "emu.kube.api.apps"),
    **dict.fromkeys(("CronJob", "Job", "ReplicationController"), "emu.kube.api.batch"),
    "EndpointSlice": "emu.kube.api.discovery",
    "NetworkPolicy": "emu.kube.api.networking",
    # the parts by themselves
    "Lab": "emu.lab",
    "Netns": "emu.kernel.net.netns",
    "namespace": "emu.kernel.boot",
    "Bridge": "emu.kernel.link.bridge",
    "veth": "emu.kernel.boot",
    "Tables": "emu.kernel.netfilter.table",
    "Conntrack": "emu.kernel.netfilter.conntrack",
    "Fib": "emu.kernel.net.fib",
    "Route": "emu.kernel.net.fib_semantics",
    "Capture": "emu.capture.capture",
    "Clock": "emu.clock",
    # scenarios
    "Scenario": "emu.scenario.script",
    "Run": "emu.scenario.run",
    "run": "emu.scenario.run",
    # what may go wrong
    "EmuError": "emu.errors",
    "InputError": "emu.errors",
    "SocketError": "emu.errors",
    "Undecided": "emu.errors",
}

__all__ = [
    "Bridge", "Capture", "Clock", "Cluster", "ClusterConfig", "Conntrack", "Container", "ContainerPort", "CronJob",
    "DaemonSet", "Deployment", "EmuError", "EndpointSlice", "Endpoints", "Fib", "Flow", "InputError", "Job", "Lab",
    "Loaded", "Namespace", "Netns", "NetworkPolicy", "Node", "NodeConfig", "Object", "ObjectMeta", "Objects",
    "Outcome", "Pod", "PodSpec", "ReplicaSet", "ReplicationController", "Route", "Run", "Scenario", "Service",
    "ServicePort", "ServiceSpec", "Snapshot", "SocketError", "StatefulSet", "Tables", "Undecided", "load", "namespace",
    "objects", "run", "veth",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    try:
        return getattr(import_module(_WHERE[name]), name)
    except KeyError:
        raise AttributeError(f"module 'emu' has no attribute {name!r}") from None


def __dir__() -> list[str]:
    return sorted(__all__)
