"""An interface of a capture: its name and number, and the facts about its device.

Keeps the facts about a device (a bridge's port, its addresses) after it is deleted. Must not know frames.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from emu.kernel.link.device import Device
from emu.wire.addr import BROADCAST_MAC, ZERO_MAC, mask

_DRAWN = re.compile(r"veth[0-9a-f]{8}")  # of the host's end of a pair that a CNI plugin makes


class Interface:
    """Interface `number`: device `device_name` of the namespace `owner` (its display name). `device` None: a
    pseudo-interface for dropped frames.

    `incarnation` counts the devices of this name that this owner had, from 1: a pod that comes back has a second eth0.
    `bridge` is the name of the bridge that the device is (or was) a port of, `peer` the number of the interface at the other end
    of its cable (None: it has none, or that end is not captured; read by `Capture.mark`). `role` is what the owner is: pod, node,
    underlay, outside; in a lab host or router. `node` is the node of a pod, of which a capture knows no more than its name.
    """

    __slots__ = (
        "addresses", "bridge", "described", "device", "device_name", "incarnation", "kind", "mac", "node", "number", "owner",
        "peer", "role",
    )  # fmt: skip

    def __init__(
        self,
        number: int,
        owner: str,
        device_name: str,
        device: Device | None,
        description: str = "",
        incarnation: int = 1,
        role: str = "host",
        node: str = "",
    ) -> None:
        self.number, self.owner, self.device_name, self.device = number, owner, device_name, device
        self.incarnation = incarnation
        self.role, self.node = role, node
        self.peer: int | None = None
        self.kind = "drop" if device is None else device.kind
        self.mac = None if device is None or device.mac == ZERO_MAC else device.mac
        self.described = description
        self.bridge = ""
        self.addresses: tuple[tuple[int, int], ...] = ()
        self.refresh()

    def refresh(self) -> None:
        """Read the device again; facts that no longer hold are kept."""
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

    def find_peer(self, numbers: Mapping[int, int]) -> None:
        """Read the other end of the cable: `numbers` has the interfaces by the identity of their devices."""
        peer: Device | None = getattr(self.device, "peer", None)
        if peer is not None:
            self.peer = numbers.get(id(peer), self.peer)

    @property
    def path(self) -> str:
        """`node-1/cbr0`: all interfaces of this name, whichever incarnation."""
        return f"{self.owner}/{self.device_name}"

    @property
    def name(self) -> str:
        """The name in files: `node-1/cbr0`, and from the second incarnation on `default/web-0/eth0#2`."""
        return self.path + self._ordinal

    @property
    def _ordinal(self) -> str:
        return "" if self.incarnation == 1 else f"#{self.incarnation}"

    @property
    def short(self) -> str:
        """For one line of text: a pod's or node's own name for its eth0 (`web-0`), else the device's (`cbr0`)."""
        return (self.owner.rpartition("/")[2] if self.device_name == "eth0" else self.device_name) + self._ordinal

    @property
    def long(self) -> str:
        """The name to use when two interfaces have the same short name: `node-1.cbr0`."""
        return f"{self.owner}.{self.device_name}{self._ordinal}"

    @property
    def description(self) -> str:
        """The given description, else one from the kind of device."""
        if self.described:
            return self.described
        if self.device is None:
            return f"frames that {self.owner} dropped, each with the reason"
        if self.bridge:
            return f"{self.kind}, a port of {self.owner}'s bridge {self.bridge}"
        return f"{self.kind} of {self.owner}"

    def __repr__(self) -> str:
        return f"<interface {self.number} {self.name}>"


def roles(interfaces: Iterable[Interface], others: Iterable[str] = ()) -> dict[bytes, str]:
    """The short name of each MAC: `client` for its eth0, `cbr0` for a bridge, `node-1.cbr0` where two names are equal.
    `others` are short names of MACs beside these.

    A bridge's MAC may be a port's too: then it has the bridge's name. A MAC that several other devices share has none. That two names which
    were drawn are equal is so unlikely that they count as different, whether their devices are there or come later.
    """
    interfaces = list(interfaces)
    places: dict[bytes, set[str]] = {}
    for interface in interfaces:
        if interface.mac is not None and not interface.bridge and interface.kind != "bridge":
            places.setdefault(interface.mac, set()).add(interface.path)
    owners: dict[bytes, Interface] = {}
    for interface in sorted(interfaces, key=lambda each: each.kind != "bridge"):
        if interface.mac is not None and len(places.get(interface.mac, ())) < 2:
            owners.setdefault(interface.mac, interface)
    times = Counter(others)
    times.update(interface.short for interface in owners.values())
    named = {
        mac: interface.short if times[interface.short] == 1 or _DRAWN.fullmatch(interface.short) else interface.long
        for mac, interface in owners.items()
    }
    return {BROADCAST_MAC: "bcast", ZERO_MAC: "zero", **named}
