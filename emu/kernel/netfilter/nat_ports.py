"""What NAT may choose and how it chooses: a range of addresses and ports, and a reply tuple that is free.

Port choice is the kernel's: kept if free, else random within the range of its like. Must not know
frames or hooks (net/netfilter/nf_nat_core.c: get_unique_tuple and what it calls).
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from emu.kernel.netfilter.conn import Conn, Tuple5, inverse, source_key
from emu.wire.frame import ICMP, PORTS

MANIP_SRC, MANIP_DST = 0, 1

# NF_NAT_RANGE_*
MAP_IPS, PROTO_SPECIFIED, PROTO_RANDOM, PERSISTENT, PROTO_RANDOM_FULLY, PROTO_OFFSET = (1 << bit for bit in range(6))
PROTO_RANDOM_ALL = PROTO_RANDOM | PROTO_RANDOM_FULLY
_MAX_ATTEMPTS = 128
_M32 = 0xFFFFFFFF


class Draws(Protocol):
    """A source of random numbers: the namespace's, of purpose "nat"."""

    def randrange(self, stop: int, /) -> int: ...


class NatRange(NamedTuple):
    """struct nf_nat_range2: addresses and ports, both ends included, and NF_NAT_RANGE_* flags.

    With MAP_IPS the addresses count, with PROTO_SPECIFIED the ports; `base_port` is for PROTO_OFFSET.
    """

    min_addr: int = 0
    max_addr: int = 0
    min_port: int = 0
    max_port: int = 0
    flags: int = 0
    base_port: int = 0

    @classmethod
    def of(cls, addr: int, max_addr: int = 0, min_port: int = 0, max_port: int = 0, flags: int = 0) -> NatRange:
        """The range of an address (or two), and ports if `min_port` is given."""
        flags |= MAP_IPS | (PROTO_SPECIFIED if min_port else 0)
        return cls(addr, max_addr or addr, min_port, max_port or min_port, flags)


def _port(t: Tuple5, manip: int) -> int:
    return t[4] if manip == MANIP_DST and t[0] != ICMP else t[3]


def _with_port(t: Tuple5, manip: int, port: int) -> Tuple5:
    if manip == MANIP_DST and t[0] != ICMP:
        return t[0], t[1], t[2], t[3], port
    return t[0], t[1], t[2], port, t[4]


def _port_fits(t: Tuple5, manip: int, span: NatRange) -> bool:
    if t[0] == ICMP or t[0] in PORTS:
        return span.min_port <= _port(t, manip) <= span.max_port
    return True


def _source_fits(t: Tuple5, span: NatRange) -> bool:
    """nf_nat_in_range, for the source half."""
    if span.flags & MAP_IPS and not span.min_addr <= t[1] <= span.max_addr:
        return False
    return not span.flags & PROTO_SPECIFIED or _port_fits(t, MANIP_SRC, span)


def _taken(t: Tuple5, conn: Conn) -> bool:
    """nf_nat_used_tuple: the tuple of the answers to `t` belongs to another connection."""
    reply = inverse(t)
    return reply is not None and conn.table.taken(reply, conn)


def unique_tuple(t: Tuple5, conn: Conn, manip: int, span: NatRange, random: Draws) -> Tuple5:
    """The tuple that `t` becomes when its `manip` half must lie in `span`.

    When every port that was tried is in use the last one is returned, and the clash is found at confirmation.
    """
    wanted = t
    if manip == MANIP_SRC and not span.flags & PROTO_RANDOM_ALL:
        if _source_fits(t, span):
            if not _taken(t, conn):
                return t
        else:
            mapped = _known_source(t, conn, span)
            if mapped is not None and not _taken(mapped, conn):
                return mapped
    if span.flags & MAP_IPS:
        wanted = _best_address(t, conn, manip, span)
    if not span.flags & PROTO_RANDOM_ALL:
        if span.flags & PROTO_SPECIFIED:
            if (
                not span.flags & PROTO_OFFSET
                and _port_fits(wanted, manip, span)
                and (span.min_port == span.max_port or not _taken(wanted, conn))
            ):
                return wanted
        elif not _taken(wanted, conn):
            return wanted
    return _free_port(wanted, conn, manip, span, random)


def _known_source(t: Tuple5, conn: Conn, span: NatRange) -> Tuple5 | None:
    """find_appropriate_src: the mapping that the same source has in another connection, newest first."""
    for other in reversed(conn.table.by_source.get(source_key(conn, t), ())):
        mapped = inverse(other.reply)
        if mapped is not None:
            candidate = t[0], mapped[1], t[2], mapped[3], t[4]
            if _source_fits(candidate, span):
                return candidate
    return None


def _best_address(t: Tuple5, conn: Conn, manip: int, span: NatRange) -> Tuple5:
    """find_best_ips_proto: spread over the addresses by a hash, so that a client keeps its address."""
    addr = span.min_addr
    if span.max_addr != addr:
        spread = jhash2_ipv4(t[1], 0 if span.flags & PERSISTENT else t[2])
        addr += spread * (span.max_addr - span.min_addr + 1) >> 32
    return (t[0], t[1], addr, t[3], t[4]) if manip == MANIP_DST else (t[0], addr, t[2], t[3], t[4])


def _free_port(t: Tuple5, conn: Conn, manip: int, span: NatRange, random: Draws) -> Tuple5:
    """nf_nat_l4proto_unique_tuple."""
    proto = t[0]
    if proto != ICMP and proto not in PORTS:
        return t
    port = _port(t, manip)
    if span.flags & PROTO_SPECIFIED:
        low, high = sorted((span.min_port, span.max_port))
    elif proto == ICMP:
        low, high = 0, 65535
    elif manip == MANIP_DST:
        return t
    elif port < 512:
        low, high = 1, 511
    elif port < 1024:
        low, high = 600, 1023
    else:
        low, high = 1024, 65535
    size = high - low + 1
    if span.flags & PROTO_OFFSET:
        offset = port - span.base_port & 0xFFFF
    elif span.flags & PROTO_RANDOM_ALL or manip != MANIP_DST:
        offset = random.randrange(65536)
    else:
        offset = 0
    attempts = min(size, _MAX_ATTEMPTS)
    while True:
        for step in range(offset, offset + attempts):
            t = _with_port(t, manip, low + (step & 0xFFFF) % size)
            if not _taken(t, conn):
                return t
        if attempts >= size or attempts < 16:
            return t
        attempts //= 2
        offset = random.randrange(65536)


def jhash2_ipv4(addr: int, initval: int) -> int:
    """jhash2 of a union nf_inet_addr that holds an IPv4 address, seeded with another one (include/linux/jhash.h).

    Both are given in host order and hashed as a little-endian machine sees them: 32 bits of network order.
    """
    first = int.from_bytes(addr.to_bytes(4, "big"), "little")
    seed = int.from_bytes(initval.to_bytes(4, "big"), "little")
    a = b = c = 0xDEADBEEF + (4 << 2) + seed & _M32
    # four words: one mixing round of three, then the last word alone
    a = a + first & _M32
    a, b, c = _mix(a, b, c)
    return _final(a, b, c)


def _rol(word: int, bits: int) -> int:
    return (word << bits | word >> 32 - bits) & _M32


def _mix(a: int, b: int, c: int) -> tuple[int, int, int]:
    a = a - c & _M32 ^ _rol(c, 4)
    c = c + b & _M32
    b = b - a & _M32 ^ _rol(a, 6)
    a = a + c & _M32
    c = c - b & _M32 ^ _rol(b, 8)
    b = b + a & _M32
    a = a - c & _M32 ^ _rol(c, 16)
    c = c + b & _M32
    b = b - a & _M32 ^ _rol(a, 19)
    a = a + c & _M32
    c = c - b & _M32 ^ _rol(b, 4)
    b = b + a & _M32
    return a, b, c


def _final(a: int, b: int, c: int) -> int:
    c = (c ^ b) - _rol(b, 14) & _M32
    a = (a ^ c) - _rol(c, 11) & _M32
    b = (b ^ a) - _rol(a, 25) & _M32
    c = (c ^ b) - _rol(b, 16) & _M32
    a = (a ^ c) - _rol(c, 4) & _M32
    b = (b ^ a) - _rol(a, 14) & _M32
    return (c ^ b) - _rol(b, 24) & _M32
