"""ICMP as connection tracking sees it: queries are connections, errors belong to what they quote.

Must not know hooks or NAT (net/netfilter/nf_conntrack_proto_icmp.c; RFC 792).
"""

from __future__ import annotations

# destination unreachable, source quench, redirect, time exceeded, parameter problem
ICMP_ERRORS = frozenset((3, 4, 5, 11, 12))
NR_ICMP_TYPES = 18
