"""A device whose medium is a list: what a namespace or a bridge sends is kept with its time, nothing answers by itself."""

from __future__ import annotations

from emu.clock import Clock
from emu.kernel.link.edge import Edge
from emu.wire.addr import BROADCAST_MAC
from emu.wire.frame import BROADCAST, HOST, MULTICAST, OTHERHOST, Frame


def pkt_type(dmac: bytes, mac: bytes) -> int:
    """What a frame to `dmac` is to a device with the address `mac` (eth_type_trans)."""
    if dmac == mac:
        return HOST
    if dmac == BROADCAST_MAC:
        return BROADCAST
    return MULTICAST if dmac[0] & 1 else OTHERHOST


def sink(clock: Clock, name: str, mac: bytes, mtu: int = 1500) -> Edge:
    """`sent` lists (time in ns, device, frame) of everything transmitted."""
    return Edge(clock, name, mac, mtu, [], "sink")


def take(device: Edge) -> list[Frame]:
    """What was sent since the last call."""
    frames = [frame for _, _, frame in device.sent]
    device.sent.clear()
    return frames


def bring(device: Edge, data: bytes) -> Frame:
    """Bytes come in, as from the cable."""
    frame = Frame.parse(data)
    frame.pkt_type = pkt_type(frame.dmac, device.mac)
    if device.net is not None:
        device.net.born += 1
    device.receive(frame)
    return frame
