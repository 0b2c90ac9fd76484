"""IP protocols by number and by name (IANA's registry, in the spelling that iptables-save prints).

A short literal table on purpose: /etc/protocols differs from host to host. Must not know headers.
"""

from __future__ import annotations

from emu.wire import frame
from emu.wire.frame import SCTP, TCP, UDP

IPIP, DCCP, GRE, ESP, AH, ICMPV6, UDPLITE = 4, 33, frame.GRE, 50, 51, 58, frame.UDPLITE  # IPIP: IPv4 in IPv4
# the protocols whose first two words are the ports
WITH_PORTS = frozenset((TCP, UDP, DCCP, SCTP, UDPLITE))

PROTOCOLS: dict[str, int] = {
    "all": 0, "icmp": 1, "igmp": 2, "ipencap": 4, "tcp": 6, "egp": 8, "igp": 9, "udp": 17, "dccp": 33, "ipv6": 41,
    "rsvp": 46, "gre": 47, "esp": 50, "ah": 51, "ipv6-icmp": 58, "eigrp": 88, "ospf": 89, "ipip": 94, "pim": 103,
    "ipcomp": 108, "vrrp": 112, "l2tp": 115, "sctp": 132, "udplite": 136,
}  # fmt: skip
PROTOCOL_NAMES = {number: name for name, number in PROTOCOLS.items()}
PROTOCOLS |= {"icmpv6": 58, "ipv6-auth": 51, "ipv6-crypt": 50}
