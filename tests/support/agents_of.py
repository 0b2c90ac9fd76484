"""The node agents of a running cluster, for tests."""

from __future__ import annotations

from emu.kube.cluster import Cluster
from emu.kube.proxy.kube_proxy import KubeProxy
from emu.kube.proxy.proxier import Proxier


def proxiers(cluster: Cluster) -> list[Proxier]:
    """Each node's kube-proxy, in the order of nodes."""
    agent = cluster.loops.agents["kube-proxy"]
    assert isinstance(agent, KubeProxy)
    return [*agent.proxiers.values()]
