"""What the emulated cluster's control loops change, moment by moment, so that the kernel's side changes at the same times.

A `Watch` looks at the cluster after each of its timers: which programs run, how the namespaces are configured, which
connections kube-proxy's rule calls stale. `foresee` asks a copy of this process what the control loops are going to do
while a flow runs, as the kernel's side of a flow comes first. Must not know the kernel's side.
"""

from __future__ import annotations

import io
import os
import pickle
import traceback
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from emu.capture.capture import Capture
from emu.clock import Clock
from emu.errors import Undecided
from emu.kernel.net.netns import Netns
from emu.kube.node.node import Node
from emu.kube.proxy.cleanup import CleanUp, Serving, serving
from emu.kube.proxy.services import Snapshot
from emu.twin.picture import Picture, take

Synced = tuple[int, Snapshot | None]


class Watched(Protocol):
    """The emulated cluster that is watched. `synced` has, by node, how often its kube-proxy has synced, and the last snapshot."""

    @property
    def clock(self) -> Clock: ...
    @property
    def nodes(self) -> Mapping[str, Node]: ...
    @property
    def namespaces(self) -> Mapping[str, Netns]: ...
    @property
    def capture(self) -> Capture | None: ...
    @property
    def synced(self) -> Mapping[str, Synced]: ...


class Moment(NamedTuple):
    """What is different after one timer of the cluster: the time (ns), how many frames were captured by then, the keys of the
    programs that run now, the namespaces by name, the pictures of all of them, and for each node whose kube-proxy looked for
    stale connections what it serves."""

    at_ns: int
    mark: int
    programs: frozenset[str]
    namespaces: dict[str, Netns]
    pictures: dict[Netns, Picture]
    stale: dict[Netns, Serving]


class Watch:
    """`look` gives what has changed since it was called last. `programs` gives the keys of the programs that run now."""

    def __init__(self, cluster: Watched, programs: Callable[[], frozenset[str]]) -> None:
        self._cluster, self._programs = cluster, programs
        self._clean_up = CleanUp()
        self._running: frozenset[str] = frozenset()
        self._pictures: dict[Netns, Picture] = {}
        self._synced: dict[str, Synced] = {}

    def look(self) -> Moment | None:
        """None if nothing has changed. Raises Undecided for what the twin cannot build."""
        running, namespaces = self._programs(), dict(self._cluster.namespaces)
        pictures = {net: take(net) for net in namespaces.values()}
        stale = dict(self._stale())
        if running == self._running and pictures == self._pictures and not stale:
            return None
        self._running, self._pictures = running, pictures
        capture = self._cluster.capture
        mark = capture.mark() if capture is not None else 0
        return Moment(self._cluster.clock.now, mark, running, namespaces, pictures, stale)

    def _stale(self) -> list[tuple[Netns, Serving]]:
        found = []
        for name, (syncs, snapshot) in self._cluster.synced.items():
            before, old = self._synced.get(name, (0, None))
            if syncs != before and snapshot is not None:
                if self._clean_up.needed(old, snapshot):
                    found.append((self._cluster.nodes[name].net, serving(snapshot)))
                self._synced[name] = syncs, snapshot
        return found

    def run(self, over: Callable[[], bool], limit_ns: int | None = None) -> list[Moment]:
        """Let the cluster's time pass until `over()` holds, at most until `limit_ns`; the changes on the way."""
        moments: list[Moment] = []

        def until() -> bool:
            moment = self.look()
            if moment is not None:
                moments.append(moment)
            return over()

        self._cluster.clock.run(limit_ns, until)
        until()
        return moments


# -- what is going to happen -------------------------------------------------------------------


class _Writer(pickle.Pickler):
    """Writes moments; a namespace that is there now is written by its number."""

    def __init__(self, file: io.BytesIO, known: Mapping[Netns, int]) -> None:
        super().__init__(file)
        self._known = known

    def persistent_id(self, obj: Any) -> int | None:
        if not isinstance(obj, Netns):
            return None
        if obj not in self._known:
            raise Undecided(f"{obj.name} starts while a flow runs, which the twin cannot do on the kernel's side")
        return self._known[obj]


class _Reader(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, known: Mapping[int, Netns]) -> None:
        super().__init__(file)
        self._known = known

    def persistent_load(self, pid: Any) -> Netns:
        return self._known[pid]


def foresee(namespaces: Mapping[str, Netns], run: Callable[[], list[Moment]]) -> list[Moment]:
    """What `run()` gives, without that anything happens here: a copy of this process runs it. Raises Undecided."""
    numbered = dict(enumerate(namespaces.values()))
    source, sink = os.pipe()
    child = os.fork()
    if not child:
        os.close(source)
        try:
            with os.fdopen(sink, "wb") as file:
                file.write(_answer(run, {net: number for number, net in numbered.items()}))
        finally:
            os._exit(0)
    os.close(sink)
    with os.fdopen(source, "rb") as answer:
        data = answer.read()
    os.waitpid(child, 0)
    found: list[Moment] | str = _Reader(io.BytesIO(data), numbered).load()
    if isinstance(found, str):
        raise Undecided(found)
    return found


def _answer(run: Callable[[], list[Moment]], known: Mapping[Netns, int]) -> bytes:
    """The moments, or the text of why there are none."""
    file = io.BytesIO()
    try:
        _Writer(file, known).dump(run())
    except Undecided as reason:
        return pickle.dumps(str(reason))
    except Exception:  # the copy of the process must not go on
        return pickle.dumps(traceback.format_exc())
    return file.getvalue()
