"""VXLAN's header (RFC 7348 section 5), and what a tunnel reads of the frame that it carries: TOS, TTL, DF.

The header is a word of flags and a word with the network's identifier (VNI). Must not know UDP, devices or routes.
"""

from __future__ import annotations

from emu.wire.frame import ETH_HLEN, ETH_P_IP, ETH_P_IPV6, IP_HLEN, Frame

UDP_HLEN = 8
HLEN = 8
HEADROOM = IP_HLEN + UDP_HLEN + HLEN + ETH_HLEN  # what encapsulation adds to the inner packet, bytes (vxlan_headroom)
PORTS = (4789, 8472)  # IANA's, and the kernel's, which is older
MAX_VNI = (1 << 24) - 1
HAS_VNI = 0x08000000  # the only flag that RFC 7348 knows: the header has a VNI
_IPV6_HLEN = 40
NETWORK_HLEN = {ETH_P_IP: IP_HLEN, ETH_P_IPV6: _IPV6_HLEN}  # by EtherType, bytes
ECN, CE, ECT_0 = 3, 3, 2  # the bits of congestion notification in a TOS, and two of their values (RFC 3168)


def header(vni: int) -> bytes:
    """The header of a frame of network `vni`."""
    return HAS_VNI.to_bytes(4, "big") + (vni << 8).to_bytes(4, "big")


def words(data: bytes | bytearray, at: int) -> tuple[int, int]:
    """The header's two words, flags first."""
    return int.from_bytes(data[at : at + 4], "big"), int.from_bytes(data[at + 4 : at + 8], "big")


def inner(frame: Frame, end: int) -> bytes:
    """The frame that a UDP packet carries behind its VXLAN header; `end` is where its datagram ends."""
    return bytes(frame.buf[frame.l4 + UDP_HLEN + HLEN : end])


def inner_tos(frame: Frame) -> int:
    """The TOS (traffic class) of the packet in a frame, 0 without one (ip_tunnel_get_dsfield)."""
    buf = frame.buf
    if frame.ethertype == ETH_P_IP and len(buf) >= ETH_HLEN + IP_HLEN:
        return buf[15]
    if frame.ethertype == ETH_P_IPV6 and len(buf) >= ETH_HLEN + _IPV6_HLEN:
        return (buf[14] << 4 | buf[15] >> 4) & 255
    return 0


def inner_ttl(frame: Frame) -> int:
    """The TTL (hop limit) of the packet in a frame, 0 without one (ip_tunnel_get_ttl)."""
    buf = frame.buf
    if frame.ethertype == ETH_P_IP and len(buf) >= ETH_HLEN + IP_HLEN:
        return buf[22]
    if frame.ethertype == ETH_P_IPV6 and len(buf) >= ETH_HLEN + _IPV6_HLEN:
        return buf[21]
    return 0


def inner_df(frame: Frame) -> bool:
    """May the packet in a frame not be cut? That is IPv4 with DF, and all of IPv6."""
    buf = frame.buf
    if frame.ethertype == ETH_P_IP and len(buf) >= ETH_HLEN + IP_HLEN:
        return bool(buf[20] & 0x40)
    return frame.ethertype == ETH_P_IPV6


def cut_short(frame: Frame) -> bool:
    """Does the frame end within the network header that its EtherType promises (pskb_inet_may_pull)?"""
    return len(frame.buf) < ETH_HLEN + NETWORK_HLEN.get(frame.ethertype, 0)


def outer_tos(tos: int, inner: int) -> int:
    """INET_ECN_encapsulate (RFC 6040 section 4.1, compatibility mode for CE): `tos` with the inner packet's ECN, where CE
    becomes ECT(0)."""
    ecn = inner & ECN
    return tos & ~ECN & 255 | (ECT_0 if ecn == CE else ecn)
