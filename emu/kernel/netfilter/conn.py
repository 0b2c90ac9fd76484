"""A tracked connection: two tuples, status bits, a deadline. NAT is a reply tuple that is not the inverse.

A tuple is `(proto, src, dst, sport, dport)` of ints, as `Frame` caches them: for ICMP queries `sport` is
the id and `dport` is `type << 8 | code`; for GRE of PPTP they are keys; for protocols without ports both are 0. Must not know hooks,
rules or how a protocol moves its state (include/net/netfilter/nf_conntrack.h).
"""

from __future__ import annotations

from typing import Protocol

from emu.kernel.netfilter.conntrack_sctp_state import SctpState
from emu.kernel.netfilter.conntrack_tcp_window import TcpState
from emu.trail import Natted, Tracked
from emu.wire.addr import ip4_text
from emu.wire.frame import AF_INET, ICMP, TCP, UDP, Frame
from emu.wire.proto import ICMPV6

Tuple5 = tuple[int, int, int, int, int]

# enum ip_conntrack_info; a frame with `ct` None and not UNTRACKED is INVALID to the rules
IP_CT_ESTABLISHED, IP_CT_RELATED, IP_CT_NEW, IP_CT_ESTABLISHED_REPLY, IP_CT_RELATED_REPLY = range(5)
IP_CT_UNTRACKED = 7
DIR_ORIGINAL = 0

# enum ip_conntrack_status
EXPECTED, SEEN_REPLY, ASSURED, CONFIRMED, SRC_NAT, DST_NAT = (1 << bit for bit in range(6))
SRC_NAT_DONE, DST_NAT_DONE, DYING, FIXED_TIMEOUT = 1 << 7, 1 << 8, 1 << 9, 1 << 10
TEMPLATE = 1 << 11  # no connection: what the CT target asks for those that are made
NAT_CLASH = 1 << 12  # its original tuple is another's: only answers find it
NAT_MASK, NAT_DONE_MASK = SRC_NAT | DST_NAT, SRC_NAT_DONE | DST_NAT_DONE

# The answer to each ICMP query (nf_conntrack_proto_icmp.c, invmap); the queries that open a connection: ICMP_OPENS
ICMP_INVERSE = {8: 0, 0: 8, 13: 14, 14: 13, 15: 16, 16: 15, 17: 18, 18: 17}
ICMP_OPENS = frozenset((8, 13, 15, 17))

Zone = tuple[int, int]  # the ids for the original and the reply tuple, 0 to 65535
DEFAULT_ZONE: Zone = (0, 0)
ZONE_SHIFT = 8  # zone << 8 | address family: tuples of one mean nothing in another

Manip = tuple[int, int, Natted]  # the new address and port of one half in one direction, and the fact of it


def inverse(t: Tuple5) -> Tuple5 | None:
    """The tuple of the answer; None for an ICMP message that has none. ICMPv6 in IPv4 counts as such a message: its two queries,
    which Linux would track, are not modelled."""
    proto, src, dst, sport, dport = t
    if proto != ICMP:
        return (proto, dst, src, dport, sport) if proto != ICMPV6 else None
    answer = ICMP_INVERSE.get(dport >> 8)
    return None if answer is None else (proto, dst, src, sport, answer << 8 | dport & 255)


class ConnTable(Protocol):
    """The table that a connection belongs to (the kernel's ct->ct_net), as NAT and words use it."""

    net_name: str
    by_source: dict[tuple[int, int, int, int], list[Conn]]

    def taken(self, reply: Tuple5, ignored: Conn) -> bool: ...

    def kill(self, conn: Conn) -> None: ...

    def set_closing(self, conn: Conn) -> None: ...

    def changed(self, conn: Conn) -> None: ...


class Conn:
    """One connection of one namespace, in `table`.

    `family` (AF_*) is that of its addresses, `zone` the ids of the zones that its tuples lie in (0: the default zone). `number` counts a namespace's connections from 1. `expires_ns` is a clock time once CONFIRMED, a
    duration before. `packets`/`bytes` count per direction if
    net.netfilter.nf_conntrack_acct was on when it began, else they are None. `helper` is the name of a conntrack helper.
    `nat[direction * 2 + manip]` is what NAT writes into that half, `nat` is None without NAT; with it,
    `nat_flows[manip]` is the flow whose rewriting was last reported.
    `master` is the connection whose expectation this one met (no helper is modelled: always None).
    """

    __slots__ = (
        "bytes", "created_ns", "expires_ns", "family", "helper", "labels", "mark", "masq_ifindex", "master", "nat", "nat_flows", "number",
        "orig", "packets", "reply", "sctp", "status", "stream_ns", "table", "tcp", "zone",
    )  # fmt: skip
    nat_flows: list[int]

    def __init__(
        self, table: ConnTable, number: int, orig: Tuple5, reply: Tuple5, created_ns: int, family: int = AF_INET
    ) -> None:
        self.table = table
        self.family = family
        self.number = number
        self.orig = orig
        self.reply = reply
        self.created_ns = created_ns
        self.status = self.expires_ns = self.mark = self.masq_ifindex = self.stream_ns = 0
        self.master: Conn | None = None
        self.tcp: TcpState | None = None
        self.sctp: SctpState | None = None
        self.nat: list[Manip | None] | None = None
        self.packets: list[int] | None = None
        self.bytes: list[int] | None = None
        self.labels = 0
        self.helper = ""
        self.zone = DEFAULT_ZONE

    @property
    def name(self) -> str:
        """`node-1#3`: the namespace, and the connection's number there."""
        return f"{self.table.net_name}#{self.number}"

    @property
    def state(self) -> str:
        """The name of TCP's or SCTP's state; "" for other protocols."""
        of = self.tcp or self.sctp
        return of.name if of is not None else ""

    @property
    def proto(self) -> int:
        return self.orig[0]

    @property
    def natted(self) -> bool:
        return self.reply != inverse(self.orig)

    def tuple_of(self, direction: int) -> Tuple5:
        return self.reply if direction else self.orig

    def __repr__(self) -> str:
        words = [_PROTOCOLS.get(self.proto, f"protocol {self.proto}"), *([self.state] if self.state else [])]
        there = _words(self.orig)
        answer = f", answered {_words(self.reply)}" if self.natted else ""
        return f"<{' '.join(words)} {there}{answer}, {self.name}>"


_PROTOCOLS = {ICMP: "icmp", TCP: "tcp", UDP: "udp"}


def _words(ends: Tuple5) -> str:
    """`10.244.1.2:40001 -> 10.96.0.10:80`."""
    proto, src, dst, sport, dport = ends
    if proto == ICMP:
        return f"{ip4_text(src)} -> {ip4_text(dst)}"
    return f"{ip4_text(src)}:{sport} -> {ip4_text(dst)}:{dport}"


class NoTable:
    """The table of a template: it holds nothing."""

    net_name = ""

    def __init__(self) -> None:
        self.by_source: dict[tuple[int, int, int, int], list[Conn]] = {}

    def taken(self, reply: Tuple5, ignored: Conn) -> bool:
        return False

    def kill(self, conn: Conn) -> None:
        """There is nothing to remove."""

    def set_closing(self, conn: Conn) -> None:
        """There is nothing to end."""

    def changed(self, conn: Conn) -> None:
        """It is in no list."""


class Template(Conn):
    """What a CT rule asks for the connections that begin with its packets: a zone and a helper. A packet carries it from
    table raw to connection tracking.

    `marked`: directions whose zone is the packet's mark.
    """

    __slots__ = ("marked",)

    def __init__(self, zone: Zone, marked: tuple[bool, bool], helper: str) -> None:
        super().__init__(NoTable(), 0, (0, 0, 0, 0, 0), (0, 0, 0, 0, 0), 0)
        self.status = TEMPLATE | CONFIRMED
        self.zone, self.marked, self.helper = zone, marked, helper

    def zone_of(self, frame: Frame) -> Zone:
        """nf_ct_zone_tmpl: the zone for one packet."""
        mark = frame.mark & 0xFFFF
        first, second = (mark if by_mark else given for given, by_mark in zip(self.zone, self.marked, strict=True))
        return first, second


def source_key(conn: Conn, t: Tuple5) -> tuple[int, int, int, int]:
    """Zone and family, protocol, address and port of a tuple's source: the key of `ConnTable.by_source`."""
    return conn.zone[0] << ZONE_SHIFT | conn.family, t[0], t[1], t[3]


def attach(frame: Frame, cause: Frame) -> None:
    """nf_ct_attach: a reset or ICMP error made because of `cause` belongs, reversed, to its connection."""
    if cause.ct is not None:
        frame.ct = cause.ct
        frame.ctdir = 1 - cause.ctdir
        frame.ctinfo = IP_CT_RELATED if cause.ctdir else IP_CT_RELATED_REPLY


INVALID_FACT = Tracked(None, "INVALID")  # the fact for a frame that conntrack refused to track
