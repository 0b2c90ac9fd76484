"""A veth pair: what one end transmits the other receives, through the backlog (drivers/net/veth.c).

The receiver's namespace sees a scrubbed frame. A cable between two machines is a veth pair, too,
with impairments (`netem`) on its ends. Must not know IP.
"""

from __future__ import annotations

from collections.abc import Callable

from emu.clock import Clock
from emu.kernel.link.device import OUT, Device
from emu.wire.addr import BROADCAST_MAC
from emu.wire.frame import BROADCAST, HOST, MULTICAST, OTHERHOST, Frame

ETH_HEADER_AND_VLAN = 18


class Veth(Device):
    """One end of a pair; `peer` is the other. `plugged` False: the cable that the pair stands for is pulled at this end.
    `cable`: it stands for a cable between two machines, which carries bytes alone."""

    __slots__ = ("arrive", "cable", "peer", "plugged")

    def __init__(self, clock: Clock, name: str, mac: bytes, mtu: int = 1500) -> None:
        super().__init__(clock, name, mac, mtu, kind="veth")
        self.peer: Veth | None = None
        self.plugged, self.cable = True, False
        self.arrive: Callable[[Frame], None] = self.receive  # what the backlog calls, made once

    @property
    def has_carrier(self) -> bool:
        """Both ends are up, and the cable is in at both."""
        peer = self.peer
        return self.plugged and self.up and peer is not None and peer.up and peer.plugged

    def xmit(self, frame: Frame) -> None:
        if frame.partial and not self.offload:
            self.without_offload(frame)
            return
        tap = self.tap
        if tap is not None:
            tap(frame, OUT)
        peer = self.peer
        if peer is None or not peer.up:
            self.drop(self, frame, "DEV_READY")
            return
        if len(frame.buf) > peer.mtu + ETH_HEADER_AND_VLAN and not frame.gso_size:
            peer.drop(peer, frame, "PKT_TOO_BIG")
            return
        # skb_scrub_packet and eth_type_trans, in place: this runs once for each cable that a frame crosses
        frame.mark = frame.ctinfo = frame.ctdir = frame.frag_max_size = 0
        frame.ct = frame.route = frame.outdev = frame.physin = frame.physout = frame.sock = None
        frame.bridged_dnat = frame.ignore_df = False
        if self.cable:
            frame.confirms = False
        dmac = frame.dmac
        if dmac == peer.mac:
            frame.pkt_type = HOST
        elif dmac[0] & 1:
            frame.pkt_type = BROADCAST if dmac == BROADCAST_MAC else MULTICAST
        else:
            frame.pkt_type = OTHERHOST
        self.clock.backlog.append((peer.arrive, frame))  # clock.enqueue, found faster


def pair(clock: Clock, name: str, mac: bytes, peer_name: str, peer_mac: bytes, mtu: int = 1500) -> tuple[Veth, Veth]:
    """Both ends of a new pair, in no namespace yet."""
    one, other = Veth(clock, name, mac, mtu), Veth(clock, peer_name, peer_mac, mtu)
    one.peer, other.peer = other, one
    return one, other
