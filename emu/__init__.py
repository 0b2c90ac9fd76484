"""emu: the network of a Kubernetes cluster in one Python process.

The public names: a cluster from manifests or in code, a bench without Kubernetes, scenarios and their runs. Names are
imported when they are first used (PEP 562), so that `import emu` is fast. Must not import Scapy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from emu.version import VERSION

if TYPE_CHECKING:
    from emu.capture.capture import Capture
    from emu.clock import Clock
    from emu.errors import EmuError, InputError, SocketError, Undecided
    from emu.kernel.boot import namespace, veth
    from emu.kernel.link.bridge import Bridge
    from emu.kernel.net.fib import Fib, Route
    from emu.kernel.net.netns import Netns
    from emu.kernel.netfilter.conntrack import Conntrack
    from emu.kernel.netfilter.table import Tables
    from emu.kube.api.loader import load
    from emu.kube.cluster import Cluster, ClusterConfig, NodeConfig
    from emu.kube.flow.flow import Flow
    from emu.kube.flow.outcome import Outcome
    from emu.lab import Lab
    from emu.scenario.run import Run, run
    from emu.scenario.script import Scenario

__version__ = VERSION

_WHERE = {
    # a cluster
    "Cluster": "emu.kube.cluster",
    "ClusterConfig": "emu.kube.cluster",
    "NodeConfig": "emu.kube.cluster",
    "load": "emu.kube.api.loader",
    "Flow": "emu.kube.flow.flow",
    "Outcome": "emu.kube.flow.outcome",
    # the parts by themselves
    "Lab": "emu.lab",
    "Netns": "emu.kernel.net.netns",
    "namespace": "emu.kernel.boot",
    "Bridge": "emu.kernel.link.bridge",
    "veth": "emu.kernel.boot",
    "Tables": "emu.kernel.netfilter.table",
    "Conntrack": "emu.kernel.netfilter.conntrack",
    "Fib": "emu.kernel.net.fib",
    "Route": "emu.kernel.net.fib",
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
    "Bridge", "Capture", "Clock", "Cluster", "ClusterConfig", "Conntrack", "EmuError", "Fib", "Flow", "InputError",
    "Lab", "Netns", "NodeConfig", "Outcome", "Route", "Run", "Scenario", "SocketError", "Tables", "Undecided", "load",
    "namespace", "run", "veth",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    try:
        return getattr(import_module(_WHERE[name]), name)
    except KeyError:
        raise AttributeError(f"module 'emu' has no attribute {name!r}") from None


def __dir__() -> list[str]:
    return sorted(__all__)
