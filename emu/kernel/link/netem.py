"""Impairments on a device's way out: delay, jitter, loss (net/sched/sch_netem.c).

A queueing discipline sits before the transmit tap: a delayed frame is captured when it leaves, and
a lost one never is. Must not know what it delays.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from emu.clock import Clock
from emu.trail import Note
from emu.wire.frame import Frame

LOST = Note("lost on the link (netem loss)")


class Outlet(Protocol):
    """What the discipline uses of its device: its clock and names, its medium and its drop door."""

    clock: Clock
    name: str
    net: Any
    drop: Callable[[Any, Frame, str], None]

    def xmit(self, frame: Frame) -> None: ...

    def leave(self, frame: Frame) -> None:
        """Send it, past the first queueing discipline."""
        ...


class Netem:
    """`delay_ns` for every frame plus up to `jitter_ns`; `loss` is a probability, 0.0 to 1.0.

    `lose` names frames to lose by their number on this device (0 is the next one), for stories that
    need a certain loss. Draws come from the random source `netem/NAMESPACE/DEVICE`.
    """

    __slots__ = ("count", "delay_ns", "jitter_ns", "lose", "loss")

    def __init__(
        self, delay_ns: int = 0, jitter_ns: int = 0, loss: float = 0.0, lose: frozenset[int] = frozenset()
    ) -> None:
        self.delay_ns, self.jitter_ns, self.loss, self.lose = delay_ns, jitter_ns, loss, lose
        self.count = 0

    def enqueue(self, frame: Frame, device: Outlet) -> None:
        number, self.count = self.count, self.count + 1
        draw = device.clock.random(f"netem/{getattr(device.net, 'name', '')}/{device.name}")
        if number in self.lose or (self.loss and draw.random() < self.loss):
            if frame.trail is not None:
                frame.trail.append(LOST)
            device.drop(device, frame, "QDISC_DROP")
            return
        delay_ns = self.delay_ns + (draw.randrange(self.jitter_ns + 1) if self.jitter_ns else 0)
        if delay_ns:
            device.clock.call_later(delay_ns, partial(device.xmit, frame))
        else:
            device.xmit(frame)
