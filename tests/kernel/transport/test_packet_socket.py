"""Frames that a packet socket refuses, and what a device does with bytes that are no frame; Linux 6.18 case by case."""

from __future__ import annotations

import pytest

from emu import craft
from emu.errors import SocketError
from emu.lab import Lab
from emu.wire.frame import Frame


@pytest.mark.parametrize(
    ("device", "size", "vlan", "errno"),
    [
        *((device, size, False, "EINVAL") for device in ("lo", "eth0", "br0") for size in (0, 1, 6, 13)),
        ("lo", 14, False, ""),
        ("lo", 15, False, ""),
        ("lo", 65_550, False, ""),
        ("lo", 65_551, False, "EMSGSIZE"),
        ("lo", 70_000, False, "EMSGSIZE"),
        *((device, 14, False, "") for device in ("eth0", "br0")),
        *((device, 1514, vlan, "") for device in ("eth0", "br0") for vlan in (False, True)),
        *((device, 1515, False, "EMSGSIZE") for device in ("eth0", "br0")),
        *((device, 1518, True, "") for device in ("eth0", "br0")),
        *((device, 1519, True, "EMSGSIZE") for device in ("eth0", "br0")),
        ("down", 60, False, "ENETDOWN"),
    ],
)
def test_what_a_packet_socket_sends(device: str, size: int, vlan: bool, errno: str) -> None:
    lab = Lab()
    one = lab.host("one")
    lab.cable(one, "10.0.0.1/24", lab.host("other"), "10.0.0.2/24")
    lab.cable(lab.bridge(one), "", lab.host("third"), "")
    lab.bridge(one, "down").up = False
    data = (b"\xff" * 6 + b"\2" * 6 + (b"\x81\0" if vlan else b"\x88\xb5") + bytes(size))[:size]
    if not errno:
        one.sockets.send_packet(data, device=device)
        assert lab.frames(f"one/{device}")[0].data == data  # as it was sent: a receiver strips the tag
        return
    with pytest.raises(SocketError) as caught:
        one.sockets.send_packet(data, device=device)
    assert caught.value.name == errno
    assert one.born == 0, "nothing was sent"


def test_a_built_packet_is_held_to_the_same() -> None:
    lab = Lab()
    one = lab.host("one")
    lab.cable(one, "10.0.0.1/24", lab.host("other"), "10.0.0.2/24")
    with pytest.raises(SocketError, match="Message too long"):
        one.sockets.send_packet(craft.expression(f"Ether()/IP(dst='10.0.0.2')/UDP()/{'x' * 1500!r}"))


@pytest.mark.parametrize("size", range(14))
def test_a_device_drops_what_is_no_frame(size: int) -> None:
    """Out of every kind of device, and in at a port of a bridge, at a host and at lo."""
    lab = Lab()
    one, other = lab.host("one"), lab.router("other")
    bridge = lab.bridge(one, "br0", "10.0.1.1/24")
    near, far = lab.cable(one, "10.0.0.1/24", other, "10.0.0.2/24")
    port, end = lab.cable(bridge, "", other, "10.0.1.2/24")
    for device in (near, port, bridge, one.device("lo")):
        device.net.born += 1
        device.transmit(Frame.parse(b"\xff" * size))
        lab.clock.drain()
        assert one.drops["PKT_TOO_SMALL"] == 1, device
        one.drops.clear()
    for device in (near, far, port, end, bridge, one.device("lo")):
        device.net.born += 1
        device.receive(Frame.parse(b"\xff" * size))
        lab.clock.drain()
        assert sum(device.net.drops.values()) == 1, device
        device.net.drops.clear()
