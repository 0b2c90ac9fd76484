"""A cluster whose flows and changes run on both sides: in the kernel first, then, with its draws, in the emulator.

It is a `Cluster`, so that the scenario's runner drives it. Must not know how the sides are compared.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from emu.clock import SECOND
from emu.errors import Undecided
from emu.kube.cluster import Cluster
from emu.kube.flow.flow import Flow, Talk
from emu.twin.twin import Twin

# A kernel's timers are never early, and late by the timer wheel's granularity and the machine's load. A client on the
# kernel's side waits that much longer, so that an event that is due when it gives up comes first on both sides.
LATE = 1.065
LOOK_UP = "counters do not show which question drew which endpoint of the DNS Service"
SEND_S = 0.02  # how long the frames of a user's own packet are collected: no socket reports its outcome


class TwinCluster(Cluster):
    """A cluster whose flows and changes run in the kernel, too, once `twin` is set."""

    twin: Twin | None = None

    def _run(self, made: Flow, talk: Talk, timeout_s: float, *, answered: bool = True) -> Flow:
        emulated = partial(super()._run, made, talk, timeout_s, answered=answered)
        if self.twin is None or self.twin.report.undecided:
            return emulated()
        if made.target.host:
            self.twin.report.undecided = f"{made.target.name} is looked up: {LOOK_UP}"
            return emulated()
        try:
            self.twin.prepare()
        except Undecided as reason:
            self.twin.report.undecided = str(reason)
            return emulated()
        timeout_ns = int((SEND_S if made.kind == "send" else timeout_s * LATE) * SECOND)
        return self.twin.flow(made, partial(talk, timeout_ns=timeout_ns), emulated, answered=answered)

    def settle(self) -> None:
        super().settle()
        self._carry_over("the cluster settles")

    def wait(self, seconds: float) -> None:
        if self.twin is not None and not self.twin.report.undecided:
            self.twin.loop.run_until(self.twin.loop.now + int(seconds * SECOND))
        super().wait(seconds)

    def link(self, where: str, **changes: Any) -> None:
        super().link(where, **changes)
        self._carry_over(f"link of {where}")

    def _carry_over(self, name: str) -> None:
        if self.twin is not None and not self.twin.report.undecided:
            try:
                self.twin.change(name)
            except Undecided as reason:
                self.twin.report.undecided = str(reason)
