"""How pods come into a store: with their status, if they are those of a running cluster, else without. Must not know kubelets."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Sequence

from emu.kube.api.core import Pod, PodStatus
from emu.kube.api.meta import Object, replace
from emu.kube.live.ports import Listening, listening, pod_addresses
from emu.kube.node.found import Found, found
from emu.kube.node.node import Sandbox
from emu.kube.store import Store
from emu.modelled import Finding
from emu.wire.addr import Prefix


class Arrivals:
    """`as_found` is how the pods of a running cluster are found, by uid; empty for manifests."""

    def __init__(
        self,
        store: Store,
        objects: Sequence[Object],
        reserve: Callable[[Iterable[int]], None],
        *,
        live: bool,
        only: Container[str] | None = None,
    ) -> None:
        """`reserve` keeps the addresses of the export's pods from others. Of these `only` those of a name run (None: all)."""
        self.store, self.live, self.only = store, live, only
        if live:
            reserve(pod_addresses(objects))
        self.as_found: dict[str, Found] = {}
        self._listening: Listening = listening(objects) if live else {}

    def apply(self, obj: Object) -> None:
        """One of the objects. The API server takes no status from a manifest of a pod (podStrategy.PrepareForCreate)."""
        if isinstance(obj, Pod) and not self.live:
            obj = replace(obj, status=PodStatus())
        stored = self.store.apply(obj)
        if isinstance(stored, Pod) and self.live:
            state = found(stored, self._listening.get(stored.key, {}))
            if self.only is not None and f"{stored.namespace}/{stored.name}" not in self.only:
                state = state._replace(address="")
            self.as_found[stored.metadata.uid] = state

    def end(self, network: str, pods: Iterable[Sandbox], route: Callable[[Prefix, int], None]) -> list[Finding]:
        """All pods run: route to those that lie outside of their node's range where the network does. Gives what the export shows
        that is remarkable; nothing for manifests."""
        if not self.live:
            return []
        from emu.kube.live.read import ROUTED_CONFLIST
        from emu.kube.live.remarks import remarks
        from emu.kube.live.routes import route_each

        if network == ROUTED_CONFLIST:
            route_each(pods, route)
        return [*self._idle(), *remarks(self.store)]

    def _idle(self) -> Iterator[Finding]:
        """Each pod that has an address, and yet no node takes care of it. What a kubelet has left out is reported there."""
        for pod in self.store.list(Pod):
            state = self.as_found.get(pod.metadata.uid)
            if state is not None and state.address and not pod.spec.node_name and not pod.finished:
                what = f"has the address {state.address} and no node: it does not run here"
                yield Finding("", f"pod {pod.namespace}/{pod.name}", what, "left-out")
