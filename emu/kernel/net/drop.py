"""The end of a packet: counted, told to the trail, shown to the drop tap (net/core/drop_monitor.c's view).

Each packet that a namespace originates or copies ends exactly once: delivered, dropped with one of the
kernel's reasons (include/net/dropreason-core.h, without SKB_DROP_REASON_), or absorbed (a flood copy
nobody wanted). Must not know why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from emu.trail import Dropped
from emu.wire.frame import Frame

if TYPE_CHECKING:
    from emu.kernel.link.device import Device
    from emu.kernel.net.netns import Netns

# copies that a flood brings to bystanders end here without a word
ABSORBED = frozenset(("OTHERHOST",))


def drop(net: Netns, frame: Frame, reason: str, by: Any = None, device: Device | None = None) -> None:
    """End a frame in `net`. `by` is the rule, route or entry that decided; `device` where it was (else its indev)."""
    if reason in ABSORBED:
        net.absorbed += 1
        return
    net.drops[reason] += 1
    tap = net.drop_tap
    if tap is not None:
        where = device or frame.indev or frame.outdev
        place = net.name if where is None else f"{net.name}/{where.name}"
        if frame.trail is not None:
            frame.trail.append(Dropped(reason, place, by))
        tap(frame, reason, place)


def device_drop(device: Device, frame: Frame, reason: str) -> None:
    """The drop door of a namespace's devices."""
    drop(device.net, frame, reason, None, device)
