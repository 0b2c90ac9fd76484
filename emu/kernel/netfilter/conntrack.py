"""The connection table of one namespace: finds or makes the connection of each packet, confirms it at the end.

One dict holds both tuples of every confirmed connection. Nothing is timed: an entry past its deadline
counts as gone and is removed when met. Must not know NAT's rules, devices or routing
(net/netfilter/nf_conntrack_core.c, nf_conntrack_proto_udp.c, nf_conntrack_proto_generic.c).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Protocol

from emu.clock import SECOND, TICK_NS, Clock
from emu.kernel.netfilter import conntrack_list
from emu.kernel.netfilter.conn import (
    ASSURED,
    CONFIRMED,
    DEFAULT_ZONE,
    DIR_ORIGINAL,
    DYING,
    EXPECTED,
    FIXED_TIMEOUT,
    ICMP_OPENS,
    INVALID_FACT,
    IP_CT_ESTABLISHED,
    IP_CT_ESTABLISHED_REPLY,
    IP_CT_NEW,
    IP_CT_RELATED,
    IP_CT_RELATED_REPLY,
    IP_CT_UNTRACKED,
    NAT_CLASH,
    NAT_MASK,
    SEEN_REPLY,
    SRC_NAT,
    TEMPLATE,
    ZONE_SHIFT,
    Conn,
    Template,
    Tuple5,
    Zone,
    inverse,
    source_key,
)
from emu.kernel.netfilter.conntrack_icmp import NR_ICMP_TYPES
from emu.kernel.netfilter.conntrack_sctp import sctp_packet
from emu.kernel.netfilter.conntrack_tcp import set_closing, tcp_packet, timeouts_of
from emu.kernel.netfilter.conntrack_tcp_window import ACCEPT, INVALID, REPEAT, UNCOUNTED
from emu.kernel.netfilter.hooks import (
    LOCAL_IN,
    LOCAL_OUT,
    POST_ROUTING,
    PRE_ROUTING,
    PRI_CONFIRM,
    PRI_CONNTRACK,
    Drop,
    Hooks,
    HookState,
    Verdict,
)
from emu.trail import CONNTRACK, Note, Recorder, Tracked
from emu.wire import quote
from emu.wire.frame import AF_INET, GRE, ICMP, SCTP, TCP, UDP, UDPLITE, Frame
from emu.wire.icmp import ERRORS
from emu.wire.sound import checksum_right, well_formed

SPLITS = (0, 1 << 24, 2 << 24)  # beside zone and family: both directions in one zone, the original one, the reply one
STREAM_AFTER_NS = 2 * SECOND + TICK_NS  # behind two seconds: time_after
STREAM_OR_FIXED = SEEN_REPLY | FIXED_TIMEOUT
# Of these the packet that comes second is dropped; of all others both go on (allow_clash of a nf_conntrack_l4proto)
ONE_OF_TWO = frozenset((TCP, ICMP, SCTP))
CLASH_NS = SECOND
NETFILTER_DROP = "NETFILTER_DROP"
_TCP_TIMEOUTS = (
    "syn_sent", "syn_sent", "syn_recv", "established", "fin_wait", "close_wait", "last_ack", "time_wait", "close",
    "syn_sent", "max_retrans", "unacknowledged",
)  # fmt: skip
_SCTP_TIMEOUTS = (
    "closed", "closed", "cookie_wait", "cookie_echoed", "established", "shutdown_sent", "shutdown_recd",
    "shutdown_ack_sent", "heartbeat_sent",
)  # fmt: skip


Receives = Callable[[Callable[[Frame], None]], bool]


def receives_nothing(_receive: Callable[[Frame], None]) -> bool:
    """For a connection tracking without devices: no frame of the backlog is for its host."""
    return False


class Sysctl(Protocol):
    """What conntrack reads of the namespace's sysctls."""

    def number(self, name: str) -> int: ...

    def on_change(self, listener: Callable[[str], None]) -> None: ...


class Stat:
    """`conntrack -S`: struct ip_conntrack_stat."""

    __slots__ = ("found", "invalid", "insert", "insert_failed", "drop", "early_drop", "clash_resolve", "delete")

    def __init__(self) -> None:
        self.found = self.invalid = self.insert = self.insert_failed = 0
        self.drop = self.early_drop = self.clash_resolve = self.delete = 0


class Conntrack:
    """Connection tracking of one namespace; does nothing before `enable()`.

    `by_source` serves NAT alone: the source-translated connections by original source.
    """

    def __init__(
        self, net_name: str, clock: Clock, sysctl: Sysctl, hooks: Hooks, receives: Receives = receives_nothing
    ) -> None:
        self.net_name = net_name
        self.clock = clock
        self._receives = receives  # is a frame of the backlog for this host? Another CPU may handle it at the same time
        self.stat = Stat()
        self.by_source: dict[tuple[int, int, int, int], list[Conn]] = {}
        self._sysctl = sysctl
        self._hooks = hooks
        # by zone and address family: a tuple of one means nothing in another. Two connections whose directions lie in two
        # zones may have one tuple, each in its own direction: each direction of such has a table of its own.
        self._tables: defaultdict[int, dict[Tuple5, tuple[Conn, int]]] = defaultdict(dict)
        self._conns: dict[int, Conn] = {}
        self._split = False  # is there, or was there, a connection in two zones?
        self._made = 0
        self._sweep_at = 4096
        self.enabled = False
        self.recorder: Recorder | None = None
        self.reload("net.netfilter.nf_conntrack_")
        sysctl.on_change(self.reload)

    def reload(self, name: str) -> None:
        """Read the sysctls anew if `name` is one of conntrack's."""
        if not name.startswith("net.netfilter.nf_conntrack_"):
            return

        def get(variable: str) -> int:
            return self._sysctl.number(f"net.netfilter.nf_conntrack_{variable}")

        self.tcp_timeouts = timeouts_of([get(f"tcp_timeout_{state}") * SECOND for state in _TCP_TIMEOUTS])
        self.sctp_timeouts = tuple(get(f"sctp_timeout_{state}") * SECOND for state in _SCTP_TIMEOUTS)
        self.tcp_loose, self.tcp_be_liberal = get("tcp_loose"), get("tcp_be_liberal")
        self.tcp_max_retrans, self.tcp_ignore_invalid_rst = get("tcp_max_retrans"), get("tcp_ignore_invalid_rst")
        self.udp_ns, self.udp_stream_ns = get("udp_timeout") * SECOND, get("udp_timeout_stream") * SECOND
        self.gre_ns, self.gre_stream_ns = get("gre_timeout") * SECOND, get("gre_timeout_stream") * SECOND
        self.icmp_ns, self.generic_ns = get("icmp_timeout") * SECOND, get("generic_timeout") * SECOND
        self.max, self.checksum, self.acct = get("max"), get("checksum"), get("acct")

    def enable(self) -> None:
        """Register at the hooks. A namespace that no rule looks at the state of does not pay for it."""
        if self.enabled:
            return
        self.enabled = True
        register = self._hooks.register
        register(PRE_ROUTING, PRI_CONNTRACK, self.track)
        register(LOCAL_OUT, PRI_CONNTRACK, self.track)
        register(LOCAL_IN, PRI_CONFIRM, self.confirm)
        register(POST_ROUTING, PRI_CONFIRM, self.confirm)

    def changed(self, conn: Conn) -> None:
        """The line of a connection may read otherwise: call the recorder, if there is one."""
        if self.recorder is not None and conn.number in self._conns and not conn.status & NAT_CLASH:
            self.recorder.changed(CONNTRACK, conn, conntrack_list.render(conn, self.clock.jiffy_ns))

    def set_closing(self, conn: Conn) -> None:
        """A RST that this host makes itself ends the connection."""
        set_closing(conn, self)

    def track(self, frame: Frame, state: HookState) -> Verdict:
        """nf_conntrack_in. Only PREROUTING verifies checksums, and only of frames not known good."""
        template: Template | None = None
        if frame.ct is not None or frame.ctinfo == IP_CT_UNTRACKED:
            if frame.ct is None or not frame.ct.status & TEMPLATE:
                return None
            template = frame.ct
            frame.ct, frame.ctinfo = None, 0
        proto = frame.proto
        if (
            (proto == ICMP and frame.dport >> 8 in ERRORS)
            or frame.frag
            or proto < 0
            or not (frame.valid or self._sound(frame, state))
        ):
            return self._odd(frame, state, template)
        key = proto, frame.src, frame.dst, frame.sport, frame.dport
        if template is None:
            found = self._tables[frame.family].get(key)
        else:
            found = self._live(frame.family, key, template.zone_of(frame))
        if found is None and self._split and template is None:
            found = self._live(frame.family, key)
        if found is None:
            return self._open(frame, template)
        conn, direction = found
        now = self.clock.now
        if conn.expires_ns <= now:
            self.kill(conn)
            return self._open(frame, template)
        status = conn.status
        verdict = ACCEPT
        if proto == UDP:
            if status & STREAM_OR_FIXED and now >= conn.stream_ns:
                if not status & FIXED_TIMEOUT:
                    conn.expires_ns = now - now % TICK_NS + self.udp_stream_ns
                    if not status & ASSURED:
                        conn.status = status | ASSURED
                        self.changed(conn)
            else:
                conn.expires_ns = now - now % TICK_NS + self.udp_ns
        else:
            verdict = (
                tcp_packet(conn, frame, direction, self) if proto == TCP else self._l4_packet(conn, frame, direction)
            )
            if verdict and verdict != UNCOUNTED:
                return self._open(frame, template) if verdict == REPEAT else self._refuse(frame)
        frame.ct = conn
        frame.ctdir = direction
        if direction:
            frame.ctinfo = IP_CT_ESTABLISHED_REPLY
            if not status & SEEN_REPLY:
                conn.status |= SEEN_REPLY
                self.changed(conn)
        elif status & SEEN_REPLY:
            frame.ctinfo = IP_CT_ESTABLISHED
        else:
            frame.ctinfo = IP_CT_RELATED if status & EXPECTED else IP_CT_NEW
        if conn.packets is not None and conn.bytes is not None and verdict != UNCOUNTED:
            conn.packets[direction] += 1
            conn.bytes[direction] += frame.tot_len
            self.changed(conn)
        return None

    def _sound(self, frame: Frame, state: HookState) -> bool:
        """The lengths are right, and on the way in, unless net.netfilter.nf_conntrack_checksum is 0, the checksum too."""
        if not well_formed(frame):
            return False
        return state.hook != PRE_ROUTING or not self.checksum or checksum_right(frame)

    def _l4_packet(self, conn: Conn, frame: Frame, direction: int) -> int:
        """The protocol's part: state and deadline. Verdicts as `conntrack_tcp`'s. `track` does a known UDP flow itself."""
        proto = conn.orig[0]
        if proto == TCP:
            return tcp_packet(conn, frame, direction, self)
        if proto == SCTP:
            return sctp_packet(conn, frame, direction, self)
        if proto == ICMP:
            if not conn.status & CONFIRMED and frame.dport >> 8 not in ICMP_OPENS:
                return INVALID
            timeout_ns = self.icmp_ns
        elif proto == UDP:
            timeout_ns = self.udp_ns
            conn.stream_ns = self.clock.jiffy_ns + STREAM_AFTER_NS
        elif proto in (GRE, UDPLITE):
            timeout_ns = self.gre_ns if proto == GRE else self.udp_ns
            if conn.status & SEEN_REPLY:
                timeout_ns = self.gre_stream_ns if proto == GRE else self.udp_stream_ns
                if not conn.status & ASSURED:
                    conn.status |= ASSURED
                    self.changed(conn)
        else:
            timeout_ns = self.generic_ns
        if conn.status & FIXED_TIMEOUT:
            return ACCEPT
        conn.expires_ns = self.clock.jiffy_ns + timeout_ns if conn.status & CONFIRMED else timeout_ns
        return ACCEPT

    def _open(self, frame: Frame, template: Template | None = None) -> Verdict:
        """A packet of no known connection: make one (init_conntrack), unconfirmed."""
        orig = (frame.proto, frame.src, frame.dst, frame.sport, frame.dport)
        reply = inverse(orig)
        if reply is None:
            return self._refuse(frame)
        if len(self._conns) >= self.max > 0 and not self._early_drop():
            self.stat.drop += 1
            return Drop(NETFILTER_DROP, "nf_conntrack: table full")
        self._made += 1
        conn = Conn(self, self._made, orig, reply, self.clock.now, frame.family)
        if template is not None:
            conn.zone, conn.helper = template.zone_of(frame), template.helper
        verdict = self._l4_packet(conn, frame, DIR_ORIGINAL)
        if verdict and verdict != UNCOUNTED:
            return self._refuse(frame)
        frame.ct = conn
        frame.ctdir = DIR_ORIGINAL
        frame.ctinfo = IP_CT_NEW
        if self.acct:
            conn.packets, conn.bytes = ([1, 0], [frame.tot_len, 0]) if verdict == ACCEPT else ([0, 0], [0, 0])
        trail = frame.trail
        if trail is not None:
            trail.append(Tracked(conn, "NEW", True))
            if conn.helper:
                trail.append(Note(f"helper {conn.helper} is not modelled: it expects no connection"))
        return None

    def _odd(self, frame: Frame, state: HookState, template: Template | None) -> Verdict:
        """Fragments, errors, and what fails the checks."""
        if frame.proto < 0:
            return None
        if frame.frag:
            # whole datagrams only: a fragment gets here where nothing reassembles
            return self._refuse(frame)
        if not (frame.valid or self._sound(frame, state)):
            return self._refuse(frame)
        if frame.dport >> 8 > NR_ICMP_TYPES:
            return self._refuse(frame)
        quoted = quote.tuple_of(frame)
        wanted = inverse(quoted) if quoted is not None else None
        zone = DEFAULT_ZONE if template is None else template.zone_of(frame)
        found = self._live(frame.family, wanted, zone) if wanted is not None else None
        # the error must go to where the quoted packet came from
        if found is None or found[0].tuple_of(found[1])[2] != frame.dst:
            return self._refuse(frame)
        frame.ct, frame.ctdir = found
        frame.ctinfo = IP_CT_RELATED_REPLY if found[1] else IP_CT_RELATED
        return None

    def _refuse(self, frame: Frame) -> Verdict:
        """INVALID: no connection; rules may drop it, conntrack does not."""
        self.stat.invalid += 1
        trail = frame.trail
        if trail is not None:
            trail.append(INVALID_FACT)
        return None

    def confirm(self, frame: Frame, state: HookState) -> Verdict:
        """The packet leaves or is delivered: its new connection enters the table (__nf_conntrack_confirm)."""
        conn: Conn | None = frame.ct
        if conn is None or conn.status & CONFIRMED or frame.ctdir != DIR_ORIGINAL:
            return None
        if conn.status & DYING:
            return Drop(NETFILTER_DROP, conn)
        if self.clock.cpus > 1:
            self.clock.beside(self._receives)
        zone = conn.zone
        other = self._in_zone(zone[0], conn.family, conn.orig, zone) or self._in_zone(
            zone[1], conn.family, conn.reply, zone
        )
        if other is not None:
            return self._resolve_clash(conn, other[0], frame)
        self._enter(conn)
        if conn.status & SRC_NAT:
            # the kernel does this when the address is chosen; here a packet that was dropped since would not be noticed
            self.note_source(conn)
        if len(self._conns) > self._sweep_at:
            self.sweep()
            self._sweep_at = max(4096, 2 * len(self._conns))
        return None

    def _resolve_clash(self, conn: Conn, winner: Conn, frame: Frame) -> Verdict:
        """nf_ct_resolve_clash: two first packets of one flow were under way at one time, and the other one's entry is there.

        The same translation: the packet goes on with that entry. Another one: for protocols without a state the entry serves
        answers alone, for one second. Else the packet is dropped."""
        zone = conn.zone
        if conn.orig[0] not in ONE_OF_TWO:
            if winner.orig == conn.orig and winner.reply == conn.reply:
                self.stat.clash_resolve += 1
                frame.ct = winner
                return None
            if self._in_zone(zone[1], conn.family, conn.reply, zone) is None:
                self.stat.clash_resolve += 1
                conn.status |= CONFIRMED | FIXED_TIMEOUT | NAT_CLASH
                conn.expires_ns, conn.stream_ns = self.clock.jiffy_ns + CLASH_NS, 0
                self._tables[_keys(conn)[1]][conn.reply] = conn, 1
                self._conns[conn.number] = conn
                return None
        self.stat.insert_failed += 1
        self.stat.drop += 1
        return Drop(NETFILTER_DROP, conn)

    def insert(self, orig: Tuple5, reply: Tuple5, timeout_ns: int, family: int = AF_INET) -> Conn | None:
        """Enter a confirmed connection that no packet opened; None if one of its tuples is another's."""
        if self._live(family, orig) or self._live(family, reply):
            return None
        self._made += 1
        conn = Conn(self, self._made, orig, reply, self.clock.now, family)
        conn.expires_ns = timeout_ns
        self._enter(conn)
        return conn

    def _enter(self, conn: Conn) -> None:
        conn.expires_ns += self.clock.jiffy_ns
        conn.status |= CONFIRMED
        self._split = self._split or conn.zone[0] != conn.zone[1]
        first, second = _keys(conn)
        self._tables[first][conn.orig], self._tables[second][conn.reply] = (conn, 0), (conn, 1)
        self._conns[conn.number] = conn
        self.stat.insert += 1
        self.changed(conn)

    def note_source(self, conn: Conn) -> None:
        """Remember a source-translated connection by its source, for NAT's next choices."""
        self.by_source.setdefault(source_key(conn, conn.orig), []).append(conn)

    def _live(self, family: int, wanted: Tuple5, zone: Zone = DEFAULT_ZONE) -> tuple[Conn, int] | None:
        """The live connection that owns a tuple in the zone that `zone` names for that direction of it."""
        return self._in_zone(zone[0], family, wanted, zone) or (
            self._in_zone(zone[1], family, wanted, zone) if zone[1] != zone[0] else None
        )

    def _in_zone(self, number: int, family: int, wanted: Tuple5, zone: Zone) -> tuple[Conn, int] | None:
        """The same among the tuples that lie in one zone."""
        if not self._split and wanted not in self._tables[number << ZONE_SHIFT | family]:
            return None
        for split in SPLITS if self._split else (0,):
            found = self._tables[split | number << ZONE_SHIFT | family].get(wanted)
            if found is None or found[0].zone[found[1]] != zone[found[1]]:
                continue
            if found[0].expires_ns > self.clock.now:
                return found
            self.kill(found[0])
        return None

    def taken(self, reply: Tuple5, ignored: Conn) -> bool:
        """nf_conntrack_tuple_taken: a live connection other than `ignored` owns the tuple."""
        found = self._in_zone(ignored.zone[1], ignored.family, reply, ignored.zone)
        if found is None or found[0] is ignored or found[0].orig == ignored.orig:
            return False
        other = found[0]
        # nf_nat_used_tuple_new: the same connection seen from its other end (in another zone) is met when it is confirmed
        reverse = other.orig == ignored.reply == reply and other.reply == ignored.orig
        return not reverse or bool((other.status | ignored.status) & NAT_MASK)

    def find(self, wanted: Tuple5, family: int = AF_INET) -> Conn | None:
        """The live connection that owns this tuple, in either direction."""
        found = self._live(family, wanted)
        return None if found is None else found[0]

    def kill(self, conn: Conn) -> None:
        """Remove a connection now; frames that carry it keep it."""
        if self._conns.pop(conn.number, None) is not None:
            for direction, key in enumerate(_keys(conn)):
                if direction or not conn.status & NAT_CLASH:
                    del self._tables[key][conn.tuple_of(direction)]
            self._forget_source(conn)
            self.stat.delete += 1
            if self.recorder is not None:
                self.recorder.changed(CONNTRACK, conn, "", min(conn.expires_ns, self.clock.now))
        conn.status |= DYING

    def _forget_source(self, conn: Conn) -> None:
        if not conn.status & SRC_NAT:
            return
        source = source_key(conn, conn.orig)
        same = self.by_source[source]
        same.remove(conn)
        if not same:
            del self.by_source[source]

    def delete(self, matches: Callable[[Conn], bool]) -> int:
        """`conntrack -D`: remove the live connections for which `matches`; how many there were."""
        doomed = [conn for conn in self if matches(conn)]
        for conn in doomed:
            self.kill(conn)
        return len(doomed)

    def flush(self) -> None:
        """`conntrack -F`."""
        for conn in list(self._conns.values()):
            self.kill(conn)

    def sweep(self) -> int:
        """Remove what has expired; how much that was. No look-up differs for it."""
        now = self.clock.now
        gone = [conn for conn in self._conns.values() if conn.expires_ns <= now]
        for conn in gone:
            self.kill(conn)
        return len(gone)

    def _early_drop(self) -> bool:
        """The table is full: give up what has expired, else the oldest connection that is not ASSURED."""
        if self.sweep():
            return True
        for conn in self._conns.values():
            if not conn.status & ASSURED:
                self.kill(conn)
                self.stat.early_drop += 1
                return True
        return False

    def __iter__(self) -> Iterator[Conn]:
        """The live connections that own their original tuple, oldest first: what a dump lists (ctnetlink_dump_table)."""
        now = self.clock.now
        return iter([conn for conn in self._conns.values() if conn.expires_ns > now and not conn.status & NAT_CLASH])

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _keys(conn: Conn) -> tuple[int, int]:
    """The keys of the tables that hold the original and the reply tuple."""
    key, other = conn.zone[0] << ZONE_SHIFT | conn.family, conn.zone[1] << ZONE_SHIFT | conn.family
    return (key, key) if key == other else (SPLITS[1] | key, SPLITS[2] | other)
