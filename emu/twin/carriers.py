"""Carriers and ports of the kernel's side: a worker of the kernel brings them up, and what follows waits for it.

Must not know how links are made.
"""

from __future__ import annotations

import ctypes
import fcntl
import socket
import struct
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress

from emu.kernel.net.netns import Netns
from emu.twin.picture import Link, Picture
from emu.twin.space import Space, TwinError

SIOCETHTOOL, ETHTOOL_GLINK, SIOCGIFFLAGS, IFF_RUNNING = 0x8946, 0x0A, 0x8913, 0x40
LINK_UP_S = 5.0


def await_links(space: Space, picture: Picture, pictures: Mapping[Netns, Picture]) -> None:
    """Wait for carriers and ports: the kernel brings them up, and removes deleted ones, in a worker."""
    plugged = {name for name, link in picture.links.items() if link.up and link.kind == "veth"}
    want = {name for name in plugged if picture.links[name].carrier and _far_up(picture.links[name], pictures)}
    pulled = plugged - want  # or its other end is down
    lit = {port.bridge for port in picture.ports if port.device in want or _runs_alone(picture.links[port.device])}
    idle = {port.device for port in picture.ports if not picture.links[port.bridge].up}
    # a bridge loses its carrier with its last port that has one, and its neighbours with it
    dark = {name for name, link in picture.links.items() if link.kind == "bridge" and name not in lit}
    deadline = time.monotonic() + LINK_UP_S
    _await_carriers(space, want, deadline)
    while True:
        _ask_links(space, dark | pulled)
        found = space.links()
        left = want - {each["ifname"] for each in found if _ready(each, each["ifname"] in idle)}
        left |= pulled - {each["ifname"] for each in found if _gone(each, each["ifname"] in idle)}
        left |= dark - {each["ifname"] for each in found if each["operstate"] == "DOWN"}
        if not left:
            return
        if time.monotonic() > deadline:
            raise TwinError(f"{space.name}: carriers do not follow: {', '.join(sorted(left))}")
        time.sleep(0.01)


def _await_carriers(space: Space, names: Iterable[str], deadline: float) -> None:
    """Wait for devices to run: asking costs less than a process that shows them. Whether a link is there is asked first:
    Linux 6.18 then states the carrier at once, and does not leave it to its worker, which may come a quarter of a second later."""
    with _any_socket(space) as any_socket:
        for name in names:
            raw = name.encode(errors="surrogateescape")
            request = bytearray(struct.pack("16sh", raw, 0).ljust(40, b"\0"))
            while time.monotonic() < deadline:
                _ask_link(any_socket, raw)
                with suppress(OSError):  # it is not there
                    fcntl.ioctl(any_socket, SIOCGIFFLAGS, request)
                if struct.unpack_from("H", request, 16)[0] & IFF_RUNNING:
                    break
                time.sleep(0.002)


def _any_socket(space: Space) -> socket.socket:
    with space.inside():
        return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


def _ask_links(space: Space, names: Iterable[str]) -> None:
    with _any_socket(space) as any_socket:
        for name in names:
            _ask_link(any_socket, name.encode(errors="surrogateescape"))


def _ask_link(any_socket: socket.socket, raw: bytes) -> None:
    value = ctypes.create_string_buffer(struct.pack("II", ETHTOOL_GLINK, 0))
    with suppress(OSError):  # it is not there
        fcntl.ioctl(any_socket, SIOCETHTOOL, struct.pack("16sP", raw, ctypes.addressof(value)))


def _runs_alone(link: Link) -> bool:
    """Has it a carrier whatever is at its other end?"""
    return link.up and link.kind != "veth"


def _far_up(link: Link, pictures: Mapping[Netns, Picture]) -> bool:
    assert link.peer is not None
    far, name = link.peer
    return pictures[far].links[name].up


def _ready(link: Mapping[str, object], idle: bool) -> bool:
    """The device has its carrier, and as a port it forwards, unless it is `idle`: its bridge is down."""
    return link.get("operstate") == "UP" and (idle or _port_state(link) in ("", "forwarding"))


def _gone(link: Mapping[str, object], idle: bool) -> bool:
    """The device has no carrier, and its bridge, which forgets what it learned there, knows it: a worker states the two one after
    the other, and may wait in between."""
    return link.get("operstate") != "UP" and (idle or _port_state(link) in ("", "disabled"))


def _port_state(link: Mapping[str, object]) -> str:
    """Of a bridge's port; "": it is none."""
    info = link.get("linkinfo")
    return str(info.get("info_slave_data", {}).get("state", "")) if isinstance(info, dict) else ""
