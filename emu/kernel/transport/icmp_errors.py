"""What an ICMP error means to a socket (icmp_err_convert in net/ipv4/icmp.c): errno, and whether it is fatal.

Must not know sockets.
"""

from __future__ import annotations

import errno

from emu.wire.icmp import DEST_UNREACH, FRAG_NEEDED, PARAMETER_PROBLEM, TIME_EXCEEDED

REASSEMBLY_TIME = 1  # ICMP_EXC_FRAGTIME

# by code of a destination unreachable: (errno, fatal)
UNREACHABLE: tuple[tuple[int, bool], ...] = (
    (errno.ENETUNREACH, False),  # network unreachable
    (errno.EHOSTUNREACH, False),  # host unreachable
    (errno.ENOPROTOOPT, True),  # protocol unreachable
    (errno.ECONNREFUSED, True),  # port unreachable
    (errno.EMSGSIZE, False),  # fragmentation needed
    (errno.EOPNOTSUPP, False),  # source route failed
    (errno.ENETUNREACH, True),  # network unknown
    (errno.EHOSTDOWN, True),  # host unknown
    (errno.ENONET, True),  # source host isolated
    (errno.ENETUNREACH, True),  # network prohibited
    (errno.EHOSTUNREACH, True),  # host prohibited
    (errno.ENETUNREACH, False),  # network unreachable for the TOS
    (errno.EHOSTUNREACH, False),  # host unreachable for the TOS
    (errno.EHOSTUNREACH, True),  # packet filtered
    (errno.EHOSTUNREACH, True),  # precedence violation
    (errno.EHOSTUNREACH, True),  # precedence cut off
)


def meaning(kind: int, code: int) -> tuple[int, bool] | None:
    """(errno, fatal) of an ICMP error; None for kinds that mean nothing to a socket."""
    if kind == DEST_UNREACH and code < len(UNREACHABLE):
        return UNREACHABLE[code]
    if kind == TIME_EXCEEDED and code != REASSEMBLY_TIME:  # of which icmp_unreach only counts
        return errno.EHOSTUNREACH, False
    if kind == PARAMETER_PROBLEM:
        return errno.EPROTO, True
    return None


def is_frag_needed(kind: int, code: int) -> bool:
    return kind == DEST_UNREACH and code == FRAG_NEEDED
