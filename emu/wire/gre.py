"""GRE's header as far as connection tracking reads it: version 0 (RFC 2784), and version 1 of PPTP (RFC 2637).

Must not know tunnels.
"""

from __future__ import annotations

from emu.wire.frame import ETH_HLEN, GRE_PPP, Frame

PPTP_HLEN = 8  # flags, protocol, the payload's length, the call id
_VERSION = 7


def trackable(frame: Frame) -> bool:
    """Can conntrack name the packet's connection? Version 1 carries PPP and nothing else (nf_conntrack_proto_gre.c)."""
    buf, l4 = frame.buf, frame.l4
    if ETH_HLEN + frame.tot_len < l4 + PPTP_HLEN or buf[l4 + 1] & _VERSION != 1:
        return True
    return buf[l4 + 2 : l4 + 4] == GRE_PPP


def translatable(frame: Frame, destination: bool) -> bool:
    """Can NAT rewrite a half of the packet? It asks for the header of version 1 whatever the version is, and knows no
    destination of versions above 1 (gre_manip_pkt of nf_nat_proto.c)."""
    buf, l4 = frame.buf, frame.l4
    if ETH_HLEN + frame.tot_len < l4 + PPTP_HLEN:
        return False
    return not destination or buf[l4 + 1] & _VERSION <= 1
