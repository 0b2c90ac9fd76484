"""An interface as captures know it: its name and number, and what is known of the device behind it.

Remembers what a device was (a bridge's port, its addresses) after it is gone. Must not know frames.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from emu.kernel.link.device import Device
from emu.wire.addr import BROADCAST_MAC, ZERO_MAC, mask


class Interface:
    """Interface `number`, called `name` (`node-1/cbr0`). `device` None: a pseudo-interface for dropped frames.

    `owner` is the namespace's display name, `bridge` the name of the bridge that the device is (or was) a port of.
    """

    __slots__ = (
        "addresses", "bridge", "described", "device", "device_name", "kind", "mac", "name", "number", "owner",
    )  # fmt: skip

    def __init__(self, number: int, name: str, device: Device | None, description: str = "") -> None:
        self.number, self.name, self.device = number, name, device
        owner, slash, last = name.rpartition("/")
        self.owner, self.device_name = (owner, last) if slash else (name, name)
        self.kind = "drop" if device is None else device.kind
        self.mac = None if device is None or device.mac == ZERO_MAC else device.mac
        self.described = description
        self.bridge = ""
        self.addresses: tuple[tuple[int, int], ...] = ()
        self.refresh()

    def refresh(self) -> None:
        """Look at the device again; what it no longer has is kept."""
        device = self.device
        if device is None:
            return
        if device.mac != ZERO_MAC:
            self.mac = device.mac
        master: Any = device.master
        if master is not None:
            self.bridge = master.bridge.name
        addresses = () if device.net is None else device.net.ipv4.addresses
        found = tuple((each.addr, mask(each.length)) for each in addresses if each.device is device)
        self.addresses = found or self.addresses

    @property
    def description(self) -> str:
        """As given, else from what the device is."""
        if self.described:
            return self.described
        if self.device is None:
            return f"frames that {self.owner} dropped, each with the reason"
        if self.bridge:
            return f"{self.kind}, a port of {self.owner}'s bridge {self.bridge}"
        return f"{self.kind} of {self.owner}"

    def __repr__(self) -> str:
        return f"<interface {self.number} {self.name}>"


def roles(interfaces: Iterable[Interface]) -> dict[bytes, str]:
    """MACs by short names: `client` for its eth0, `cbr0` for a bridge, `node-1.cbr0` where two are called alike.

    A bridge's MAC may be a port's too: the bridge has it.
    """
    owners: dict[bytes, Interface] = {}
    for interface in sorted(interfaces, key=lambda each: each.kind != "bridge"):
        if interface.mac is not None:
            owners.setdefault(interface.mac, interface)
    short = {mac: _short(interface) for mac, interface in owners.items()}
    times: dict[str, int] = {}
    for name in short.values():
        times[name] = times.get(name, 0) + 1
    named = {
        mac: name if times[name] == 1 else f"{owners[mac].owner}.{owners[mac].device_name}"
        for mac, name in short.items()
    }
    return {BROADCAST_MAC: "bcast", ZERO_MAC: "zero", **named}


def _short(interface: Interface) -> str:
    return interface.owner.rpartition("/")[2] if interface.device_name == "eth0" else interface.device_name
