"""A cluster whose flows and changes run on both sides: in the kernel first, then, with its draws, in the emulator.

It is a `Cluster`, so that the scenario's runner drives it. Must not know how the sides are compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

from emu.clock import SECOND
from emu.errors import Undecided
from emu.kernel.net.netns import Netns
from emu.kube.api.meta import Object
from emu.kube.cluster import Cluster
from emu.kube.flow.flow import Flow, Talk
from emu.kube.flow.programs import Start
from emu.kube.flow.replay.engine import Ended, Replay, Settings
from emu.kube.flow.replay.hosts import Roles
from emu.kube.flow.replay.paired import Sink
from emu.kube.proxy.kube_proxy import KubeProxy
from emu.kube.underlay.underlay import Underlay
from emu.twin.changes import Moment, Synced, foresee
from emu.twin.twin import Twin
from emu.wire.record import Record

SEND_S = 0.02  # how long the frames of a user's own packet are collected: no socket reports its outcome
AHEAD_NS = 300 * SECOND  # how far the control loops are foreseen: longer than a flow takes
O = TypeVar("O", bound=Object)


class TwinCluster(Cluster):
    """A cluster whose flows and changes run in the kernel, too, once `twin` is set."""

    twin: Twin | None = None

    @property
    def synced(self) -> dict[str, Synced]:
        """How often each node's kube-proxy has synced, and the last snapshot."""
        agent = self.loops.agents.get("kube-proxy")
        proxiers = agent.proxiers if isinstance(agent, KubeProxy) else {}
        return {name: (each.syncs, each.state.synced) for name, each in proxiers.items()}

    # -- flows ----------------------------------------------------------------------------------

    def replay(
        self, records: Iterable[Record], roles: Roles, settings: Settings, sink: Sink, ended: Ended | None = None
    ) -> Replay:
        """Raises Undecided: no kernel is asked about a replay."""
        if self._judged() is not None:
            raise Undecided("a replay is not run on the kernel")
        return super().replay(records, roles, settings, sink, ended)

    def _run(self, made: Flow, talk: Talk, timeout_s: float, *, answered: bool = True) -> Flow:
        emulated = partial(super()._run, made, talk, timeout_s, answered=answered)
        twin = self._judged()
        if twin is None:
            return emulated()
        timeout_ns = int((SEND_S if made.kind == "send" else timeout_s) * SECOND)
        real, ran = partial(talk, timeout_ns=timeout_ns), list[Flow]()

        def once() -> Flow:
            ran.append(emulated())
            return ran[0]

        def both() -> None:
            twin.prepare()
            twin.flow(made, real, once, answered=answered)

        self._try(both)
        return ran[0] if ran else emulated()

    def foreseen(self) -> Sequence[Moment]:
        """What the control loops are going to do."""
        twin = self.twin
        if twin is None or not self.under_way:
            return ()
        limit_ns = self.clock.now + AHEAD_NS
        return foresee(self.namespaces, lambda: twin.watch.run(lambda: not self.under_way, limit_ns))

    # -- changes --------------------------------------------------------------------------------

    def put(self, obj: O, *, settle: bool) -> O:
        self._try(self._ready)
        return super().put(obj, settle=settle)

    def delete(self, kind: str, namespace: str, name: str, *, grace_s: int | None = None, settle: bool = True) -> None:
        self._try(self._ready)
        super().delete(kind, namespace, name, grace_s=grace_s, settle=settle)

    def scale(self, kind: str, namespace: str, name: str, replicas: int, *, settle: bool = True) -> None:
        self._try(self._ready)
        super().scale(kind, namespace, name, replicas, settle=settle)

    def cordon(self, name: str, *, unschedulable: bool = True, settle: bool = True) -> None:
        self._try(self._ready)
        super().cordon(name, unschedulable=unschedulable, settle=settle)

    def _follow(self, settle: bool) -> None:
        super()._follow(False)
        self._carry_over("", ())
        if settle:
            self.settle()

    def settle(self) -> None:
        moments: list[Moment] = []

        def follow() -> None:
            if self.twin is not None:
                self.act()
                self.clock.drain()
                moments.extend(self.twin.watch.run(lambda: not self.under_way))

        self._try(self._ready)
        self._try(follow)
        super().settle()
        self._carry_over("the cluster settles", moments)

    def wait(self, seconds: float) -> None:
        twin, end_ns = self._judged(), self.clock.now + int(seconds * SECOND)

        def kernel() -> None:
            if twin is not None:
                with twin.together():
                    twin.loop.run_until(max(twin.loop.now, end_ns - twin.offset_ns))

        self._try(kernel)
        super().wait(max(0, end_ns - self.clock.now) / SECOND)

    def together(self, starts: Sequence[Start] | Iterator[Start]) -> None:
        """One after the other: two clocks, of which one is real, have no order of programs in common."""
        if self.twin is not None:
            self.twin.report.leave_out("the overlap of flows of traffic: they run one after the other", False)
        for start_ns, call in sorted(starts, key=lambda start: start[0]):
            self.wait(max(0, start_ns - self.clock.now) / SECOND)
            call()

    def link(self, where: str, **changes: Any) -> None:
        self._try(self._ready)
        super().link(where, **changes)
        self._carry_over(f"link of {where}", ())

    def configure(self, where: str, change: Callable[[Netns], None]) -> None:
        self._try(self._ready)
        super().configure(where, change)
        self._carry_over(f"the configuration of {where}", ())

    def reshape(self, change: Callable[[Underlay], None]) -> None:
        self._try(self._ready)
        super().reshape(change)
        self._carry_over("the underlay", ())

    # -- both sides -----------------------------------------------------------------------------

    def _judged(self) -> Twin | None:
        """The kernel's side, as long as it can be judged."""
        return None if self.twin is None or self.twin.report.undecided else self.twin

    def _try(self, call: Callable[[], None]) -> None:
        """Do it, if the kernel's side is judged; what cannot be judged ends that."""
        twin = self._judged()
        if twin is not None:
            try:
                call()
            except Undecided as reason:
                twin.report.undecided = str(reason)

    def _ready(self) -> None:
        twin = self._judged()
        if twin is not None:
            twin.prepare()

    def _carry_over(self, name: str, moments: Sequence[Moment]) -> None:
        """Change the kernel's side as the emulated cluster has changed, and with a `name` compare."""
        twin = self._judged()
        if twin is None:
            return

        def both() -> None:
            now = twin.watch.look()
            every = [*moments, *([now] if now is not None else [])]
            twin.change(name, every)

        self._try(both)
