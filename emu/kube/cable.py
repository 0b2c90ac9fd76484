"""The cable of a device is changed: it is pulled or plugged, slow, lossy, or has another MTU. Must not know clusters or names."""

from __future__ import annotations

from collections.abc import Iterable

from emu.clock import MS
from emu.kernel.link.device import Device
from emu.kernel.link.netem import Netem
from emu.kernel.link.veth import Veth
from emu.kube.flow import given

LEAST_MTU = 68  # ETH_MIN_MTU


def change(
    near: Device,
    *,
    down: bool | None = None,
    delay_ms: float | None = None,
    loss: float | None = None,
    mtu: int | None = None,
    lose: Iterable[int] = (),
) -> None:
    """Change both ends of the veth pair of `near`; of another device that one alone.

    `loss` is a probability for each direction; `lose` numbers the frames to lose among those that `near` sends. Raises InputError.
    """
    if delay_ms is not None:
        given.seconds(delay_ms, "delay_ms")
    if loss is not None:
        given.chance(loss, "loss")
    if mtu is not None:
        given.whole(mtu, "mtu", LEAST_MTU, 65535)
    numbers = frozenset(given.whole(number, "lose", 0) for number in lose)
    far = near.peer if isinstance(near, Veth) else None
    ends: list[Device] = [near] if far is None else [near, far]
    for end in ends:
        if down is not None:
            end.net.set_carrier(end.name, on=not down)
        if mtu is not None:
            end.set_mtu(mtu)
        if delay_ms is not None or loss is not None or numbers:
            old = end.netem or Netem()
            chosen = Netem(
                int(delay_ms * MS) if delay_ms is not None else old.delay_ns,
                old.jitter_ns,
                loss if loss is not None else old.loss,
                numbers if end is near else frozenset(),
            )
            end.netem = chosen if chosen.delay_ns or chosen.loss or chosen.lose else None
