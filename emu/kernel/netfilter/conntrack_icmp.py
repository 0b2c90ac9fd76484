"""ICMP as connection tracking sees it: queries are connections, errors belong to what they quote.

Must not know hooks or NAT (net/netfilter/nf_conntrack_proto_icmp.c; RFC 792).
"""

from __future__ import annotations

NR_ICMP_TYPES = 18
