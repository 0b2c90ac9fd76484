"""A policy index that follows an agent's view of the objects, or a store: only what has changed is given to it.

Must not know an agent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from emu.clock import SECOND
from emu.kube.api.meta import Key, Object
from emu.kube.policy.dataplane import Dataplane, enforcing
from emu.kube.policy.index import KINDS, PolicyIndex
from emu.kube.policy.named import Dies, Named
from emu.kube.policy.used import Flowed, Usage

LONG_AGO_NS = -3600 * SECOND


class Followed:
    """`index` has the objects that `update` was called with last."""

    def __init__(self) -> None:
        self.index = PolicyIndex()
        self._seen: dict[Key, Object] = {}

    def update(self, objects: Iterable[Object]) -> PolicyIndex:
        """Follow to these objects. Objects are frozen: one that is the same has not changed."""
        now = {obj.key: obj for obj in objects}
        for key in [key for key in self._seen if key not in now]:
            self.index.remove(key)
        for key, obj in now.items():
            if self._seen.get(key) is not obj:
                self.index.put(obj)
        self._seen = now
        return self.index


class Watched(Protocol):
    """What objects are there, and who is called when one changes: with the old one and the new one (None: there is none)."""

    def follow(self, callback: Callable[[Object | None, Object | None], None], /) -> Callable[[], None]: ...

    def list(self, kind: type[Object], /) -> list[Object]: ...


class Now(Protocol):
    """A clock."""

    now: int


def index_of(objects: Watched) -> PolicyIndex:
    """The index of what there is now."""
    return PolicyIndex(obj for kind in KINDS for obj in objects.list(kind))


class Live:
    """The index of a running cluster. It is made when it is asked for, and follows from then on. `changed_ns` is when something that it
    knows changed last, since the cluster began to run. `named` is a listener of drops that states which policy a packet died of, to its
    flow among others; `usage` counts which rules flows used, where something enforces them."""

    def __init__(self, objects: Watched, clock: Now, flows: Mapping[int, Dies]) -> None:
        self._objects, self._clock = objects, clock
        self._index: PolicyIndex | None = None
        self.changed_ns, self.enforced = LONG_AGO_NS, False
        self.named = Named(lambda: self.index, flows)
        self.usage = Usage()
        objects.follow(self._changed)

    def begin(self) -> None:
        """The cluster runs: what there is now is enforced."""
        self.changed_ns = LONG_AGO_NS

    def enforced_by(self, name: str, network: str) -> Dataplane | None:
        """The dataplane of this name, whose drops are `named` from now on; None for "", one that is not modelled. Raises InputError."""
        found = enforcing(name, network)
        self.named.chains = found.chains if found is not None else ()
        self.enforced = found is not None and bool(found.kinds)
        return found

    def ended(self, flow: Flowed) -> None:
        """A flow has ended: which rules it used is counted."""
        if self.enforced and self.index.policed:
            self.usage.count(self.index, flow)

    @property
    def index(self) -> PolicyIndex:
        if self._index is None:
            self._index = index_of(self._objects)
        return self._index

    def _changed(self, old: Object | None, new: Object | None) -> None:
        if not isinstance(old if new is None else new, KINDS):
            return
        self.changed_ns = self._clock.now
        if self._index is None:
            return
        if new is not None:
            self._index.put(new)
        elif old is not None:
            self._index.remove(old.key)
