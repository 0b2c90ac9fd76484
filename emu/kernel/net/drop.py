"""The end of a packet: counted, noted in its trail, reported to the listeners (net/core/drop_monitor.c's view).

Each packet that a namespace originates or copies ends exactly once: delivered, dropped with one of the
kernel's reasons (include/net/dropreason-core.h, without SKB_DROP_REASON_), or absorbed (a flood's copy
for another host). Must not know why a packet is dropped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol

from emu.kernel.link.device import Device
from emu.trail import Dropped
from emu.wire.frame import Frame

# a flooded copy at a host that it is not for: absorbed, not counted as a drop
ABSORBED = frozenset(("OTHERHOST",))

DropListener = Callable[[Frame, Dropped], None]


class Netns(Protocol):
    """What a drop reads of its namespace. `drop_listeners` are called with each dropped frame and its `Dropped` entry."""

    name: str
    absorbed: int
    drops: Counter[str]
    drop_listeners: list[DropListener]


def drop(net: Netns, frame: Frame, reason: str, by: Any = None, device: Device | None = None) -> None:
    """End a frame in `net`. `by` is the rule, route or entry that decided; `device` is where the frame was (default: its indev)."""
    if reason in ABSORBED:
        net.absorbed += 1
        return
    net.drops[reason] += 1
    listeners = net.drop_listeners
    if listeners:
        where = device or frame.indev or frame.outdev
        fact = Dropped(reason, net.name, "" if where is None else where.name, by)
        if frame.trail is not None:
            frame.trail.append(fact)
        for listener in listeners:
            listener(frame, fact)


def device_drop(device: Device, frame: Frame, reason: str) -> None:
    """How the devices of a namespace drop frames."""
    drop(device.net, frame, reason, None, device)
