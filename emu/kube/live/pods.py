"""How pods come into a store: with their status, if they are those of a running cluster, else without. Must not know kubelets."""

from __future__ import annotations

from collections.abc import Container, Iterable

from emu.kube.api.core import Pod, PodStatus
from emu.kube.api.meta import Object, replace
from emu.kube.live.ports import Listening, listening
from emu.kube.node.found import Found, found
from emu.kube.store import Store


class Arrivals:
    """`as_found` is how the pods of a running cluster are found, by uid; empty for manifests."""

    def __init__(
        self, store: Store, objects: Iterable[Object], *, live: bool, only: Container[str] | None = None
    ) -> None:
        self.store, self.live, self.only = store, live, only
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
