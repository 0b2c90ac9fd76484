"""What tunnels over IPv4 share: congestion bits on decapsulation, and the path MTU of inner packets (net/ipv4/ip_tunnel_core.c).

Must not know a tunnel's header or its device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emu.kernel.net import route as learned
from emu.wire import captured, quote, templates
from emu.wire import icmp as wire
from emu.wire.addr import LIMITED_BROADCAST, is_loopback, is_multicast
from emu.wire.frame import AF_INET, ETH_HLEN, ETH_P_IP, ICMP, IP_DF, IP_HLEN, IP_MF, IP_OFFSET, Frame
from emu.wire.rewrite import set_tos
from emu.wire.vxlan import CE, ECN

if TYPE_CHECKING:
    from emu.kernel.net.netns import Netns

MIN_MTU = 576  # what every host takes (RFC 791): an error about less is not made
ERROR_TTL = 64


def ecn_decapsulate(frame: Frame, outer_tos: int) -> bool:
    """IP_ECN_decapsulate (RFC 6040 section 4.2): write the outer packet's CE into the inner one. False: drop it, as its flow
    does not know ECN."""
    if outer_tos & ECN != CE or frame.family != AF_INET:
        return True
    if not frame.tos & ECN:
        return False
    if frame.tos & ECN != CE:
        set_tos(frame, frame.tos | CE)
    return True


def check_pmtu(net: Netns, frame: Frame, mtu: int, *, reply: bool) -> bytes:
    """skb_tunnel_check_pmtu: the tunnel carries packets of up to `mtu` bytes. For a longer one, the route that brought it here
    learns that; if it was bridged here (`reply`), gives the frame of an ICMP error to its sender. Empty: send the packet."""
    if len(frame.buf) - ETH_HLEN <= mtu:
        return b""
    if frame.route is not None and frame.family == AF_INET:
        learned.update_pmtu(net, frame.dst, frame.src, mtu)
    return _error(frame, mtu) if reply and frame.ethertype == ETH_P_IP else b""


def _error(frame: Frame, mtu: int) -> bytes:
    """iptunnel_pmtud_check_icmp and iptunnel_pmtud_build_icmp: the error comes from the packet's destination, out of the tunnel."""
    if frame.family != AF_INET or mtu < MIN_MTU or frame.frag_word & (IP_DF | IP_MF | IP_OFFSET) != IP_DF:
        return b""
    src, dst = frame.src, frame.dst
    if dst == LIMITED_BROADCAST or is_multicast(dst):
        return b""
    if not src >> 24 or is_loopback(src) or src == LIMITED_BROADCAST or is_multicast(src):
        return b""
    if frame.proto == ICMP and (wire.type_code(frame) or (0, 0))[0] in wire.ERRORS:
        return b""
    error = wire.build(
        templates.ICMP_ERROR, dst, src, wire.DEST_UNREACH, wire.FRAG_NEEDED, mtu, quote.cut(frame, MIN_MTU - IP_HLEN - 8),
        ident=0, frag=IP_DF, ttl=ERROR_TTL, tos=0, flow=frame.flow, trail=None,
    )  # fmt: skip
    return frame.smac + frame.dmac + ETH_P_IP.to_bytes(2, "big") + captured.packet(bytes(error.buf))
