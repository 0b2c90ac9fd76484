"""A cluster whose control loops look at everything in every pass: what those that follow changes are compared with."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from emu.kube import loops
from emu.kube.agent import Agent, Objects
from emu.kube.api.meta import Object
from emu.kube.cluster import Cluster
from emu.kube.controllers import Controllers
from emu.kube.loops import Loops
from emu.kube.proxy.config import ProxyConfig
from emu.kube.proxy.iptables.compile import Compiler, ProxyRules
from emu.kube.proxy.iptables.mode import Iptables
from emu.kube.proxy.kube_proxy import KubeProxy, View
from emu.kube.proxy.services import Snapshot
from emu.kube.scheduler import Scheduler


class _Controllers(Controllers):
    def reconcile(self, *, slices: bool = True) -> bool:
        self.look_at_all()
        return super().reconcile(slices=slices)

    def reconcile_slices(self) -> None:
        self.look_at_all()
        super().reconcile_slices()


class _Scheduler(Scheduler):
    def schedule(self) -> bool:
        fresh = Scheduler(self.store)
        try:
            return fresh.schedule()
        finally:
            fresh.close()


class _Iptables(Iptables):
    """Forgets each snapshot before the next one."""

    def compile(self, snapshot: Snapshot, config: ProxyConfig) -> ProxyRules:
        if snapshot is not self._snapshot:
            self._compiler = Compiler()
        return super().compile(snapshot, config)


class _KubeProxy(KubeProxy):
    """Reads all objects each time, and syncs node by node."""

    follows: ClassVar[tuple[type[Object], ...]] = ()

    def view(self, objects: Objects, before: View | None) -> View:
        return super().view(objects, None)

    run = Agent.run


class _NodeByNode(KubeProxy):
    run = Agent.run


def node_by_node_cluster(*arguments: Any, **keywords: Any) -> Cluster:
    """As `Cluster(...)`, with kube-proxies that sync one by one after the first sync."""
    made = Cluster(*arguments, **keywords)
    proxy = made.loops.agents["kube-proxy"]
    assert isinstance(proxy, KubeProxy)
    proxy.__class__ = _NodeByNode
    return made


def full_pass_cluster(*arguments: Any, **keywords: Any) -> Cluster:
    """As `Cluster(...)`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loops, "Controllers", _Controllers)
        patch.setattr(loops, "Scheduler", _Scheduler)
        sync = Loops._sync_kubelets

        def sync_all(self: Loops) -> None:
            self.look_at_all_pods()
            sync(self)

        patch.setattr(Loops, "_sync_kubelets", sync_all)
        made = Cluster(*arguments, **keywords)
    proxy = made.loops.agents["kube-proxy"]
    assert isinstance(proxy, KubeProxy) and isinstance(proxy.mode, Iptables)
    proxy.__class__, proxy.mode.__class__ = _KubeProxy, _Iptables
    proxy.mode._compiler = Compiler()
    made.loops._sync_kubelets = sync_all.__get__(made.loops)  # type: ignore[method-assign]  # from now on too
    return made
