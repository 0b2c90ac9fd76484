"""NAT as a property of a connection: rules choose once, the reply tuple remembers, every packet is rewritten by it.

`setup` is what targets call (nf_nat_setup_info); `Nat` sits in the four hooks, walks the nat table for
packets that still need a choice, and rewrites. Must not know tables, devices beyond their ifindex, or
routing (net/netfilter/nf_nat_core.c, nf_nat_proto.c, nf_nat_masquerade.c).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from emu.kernel.netfilter.conn import (
    CONFIRMED,
    DST_NAT,
    DST_NAT_DONE,
    IP_CT_ESTABLISHED_REPLY,
    IP_CT_NEW,
    NAT_DONE_MASK,
    NAT_MASK,
    SRC_NAT,
    SRC_NAT_DONE,
    Conn,
    Manip,
    inverse,
)
from emu.kernel.netfilter.hooks import (
    LOCAL_IN,
    LOCAL_OUT,
    POST_ROUTING,
    PRE_ROUTING,
    PRI_DSTNAT,
    PRI_SRCNAT,
    Drop,
    HookFn,
    Hooks,
    HookState,
    Verdict,
)
from emu.kernel.netfilter.nat_ports import (
    MANIP_DST,
    MANIP_SRC,
    MAP_IPS,
    NatRange,
    unique_tuple,
)
from emu.trail import Natted
from emu.wire import quote
from emu.wire.frame import GRE, ICMP, Frame
from emu.wire.gre import translatable
from emu.wire.rewrite import set_destination, set_source
from emu.wire.sound import sound

_DONE = (SRC_NAT_DONE, DST_NAT_DONE)
_STATUS = (SRC_NAT, DST_NAT)
_MANIP = (MANIP_DST, MANIP_SRC, -1, MANIP_DST, MANIP_SRC)  # the half that each hook rewrites; FORWARD none
_NETFILTER_DROP = "NETFILTER_DROP"
_REDIRECT = 5
_LOOPBACK = 127


NatListener = Callable[[Frame, Natted], None]


class NatTables(Protocol):
    """What `Nat` uses of the namespace's rule tables."""

    def nat_chain(self, hook: int) -> HookFn | None:
        """The walk of the nat table's base chain at `hook`; None if it has none."""
        ...


def setup(frame: Frame, state: HookState, manip: int, span: NatRange) -> Verdict:
    """nf_nat_setup_info: fix one half (MANIP_SRC or MANIP_DST) of the frame's connection, which is not confirmed yet.

    Draws a port from the namespace's source "nat" if the wanted one is taken. A half is decided once; doing it
    again is the kernel's warning and drop. None accepts.
    """
    conn: Conn | None = frame.ct
    if conn is None or conn.status & CONFIRMED:
        return None
    if conn.status & _DONE[manip]:
        return Drop(_NETFILTER_DROP, conn)
    now = inverse(conn.reply)
    if now is not None:
        new = unique_tuple(now, conn, manip, span, state.net.random("nat"))
        reply = inverse(new)
        if new != now and reply is not None:
            conn.reply = reply
            conn.status |= _STATUS[manip]
            prepare(conn, manip)
    conn.status |= _DONE[manip]
    return None


def masquerade(frame: Frame, state: HookState, span: NatRange = NatRange()) -> Verdict:  # noqa: B008  # immutable
    """nf_nat_masquerade_ipv4: source NAT to the address that the outgoing device shows the next hop.

    `span` gives ports and flags only. Drops when the device has no address.
    """
    conn: Conn | None = frame.ct
    if conn is None or not conn.orig[1]:
        return None
    route = frame.route
    nexthop = (route.gateway if route is not None else 0) or frame.dst
    addr = state.family.select_addr(frame.outdev, nexthop)
    if not addr:
        return Drop(_NETFILTER_DROP, "MASQUERADE: the outgoing device has no address")
    conn.masq_ifindex = frame.outdev.ifindex
    return setup(frame, state, MANIP_SRC, span._replace(min_addr=addr, max_addr=addr, flags=span.flags | MAP_IPS))


def null_binding(frame: Frame, state: HookState, manip: int) -> Verdict:
    """nf_nat_alloc_null_binding: no rule wanted this half, so it stays; but a clash may still move the port."""
    conn: Conn = frame.ct
    reply = conn.reply
    if not conn.status & (CONFIRMED | _DONE[manip]) and not conn.table.taken(reply, conn):
        conn.status |= _DONE[manip]  # what `setup` comes to, for a half that may stay
        return None
    addr = reply[2] if manip == MANIP_SRC else reply[1]
    return setup(frame, state, manip, NatRange(addr, addr, flags=MAP_IPS))


def prepare(conn: Conn, manip: int) -> None:
    """Work out once what each direction's packets get, and the facts of it."""
    orig, reply = conn.orig, conn.reply
    icmp = orig[0] == ICMP
    new = inverse(reply)
    back = inverse(orig)
    assert new is not None and back is not None
    nat = conn.nat
    if nat is None:
        nat = conn.nat = [None] * 4
        conn.nat_flows = [-1, -1]

    def half(direction: int, which: int, kind: str) -> Manip:
        before, after = (orig, new) if direction == 0 else (reply, back)
        at, port = (1, 3) if which == MANIP_SRC else (2, 4)
        # the id of an ICMP query is of both halves
        seen = 3 if icmp else port
        fact = Natted(kind, (before[at], before[seen]), (after[at], after[seen]), conn)
        return after[at], after[seen], fact

    # a half undone in the answer is the other half of the packet
    if manip == MANIP_DST:
        nat[MANIP_DST] = half(0, MANIP_DST, "DNAT")
        nat[2 + MANIP_SRC] = half(1, MANIP_SRC, "un-DNAT")
    else:
        nat[MANIP_SRC] = half(0, MANIP_SRC, "SNAT")
        nat[2 + MANIP_DST] = half(1, MANIP_DST, "un-SNAT")


def _rewrite(frame: Frame, half: Manip, manip: int) -> None:
    """nf_nat_manip_pkt on the packet itself."""
    addr, port, fact = half
    if manip == MANIP_SRC:
        set_source(frame, addr, port)
    else:
        set_destination(frame, addr, port)
        if frame.proto == ICMP and frame.sport != port:
            set_source(frame, frame.src, port)
    trail = frame.trail
    if trail is not None:
        trail.append(fact)


class Nat:
    """The NAT hooks of one namespace. `tables.nat_chain(hook)` is called for each packet that needs a choice.

    `listeners` are called with the first packet of each flow that a half of a connection rewrites in the direction of
    its opener, and the fact.
    """

    def __init__(self, hooks: Hooks, tables: NatTables, listeners: Sequence[NatListener] = ()) -> None:
        self._hooks = hooks
        self._tables = tables
        self._listeners = listeners
        self.enabled = False

    def enable(self) -> None:
        """Register at the hooks; conntrack must be enabled too."""
        if not self.enabled:
            self.enabled = True
            for hook in (PRE_ROUTING, LOCAL_OUT, LOCAL_IN, POST_ROUTING):
                self._hooks.register(hook, PRI_DSTNAT if _MANIP[hook] == MANIP_DST else PRI_SRCNAT, self.translate)

    def translate(self, frame: Frame, state: HookState) -> Verdict:
        """nf_nat_inet_fn: let the nat table choose where nothing is chosen yet, then rewrite this hook's half."""
        conn: Conn | None = frame.ct
        if conn is None:
            return None
        ctinfo = frame.ctinfo
        if ctinfo and ctinfo != IP_CT_ESTABLISHED_REPLY:
            manip = _MANIP[state.hook]
            if ctinfo != IP_CT_NEW and frame.proto == ICMP:
                old = frame.dst
                verdict = _translate_error(frame, conn, manip)
                return _routed_anew(frame, state, conn) if verdict is None and frame.dst != old else verdict
            verdict = self._choose(frame, state, conn, manip)
            if verdict is not None:
                return verdict
        if conn.nat is None:
            return None
        hook = state.hook
        manip = _MANIP[hook]
        half = conn.nat[frame.ctdir * 2 + manip]
        if half is None:
            return None
        if frame.proto == GRE and not translatable(frame, manip == MANIP_DST):
            return Drop(_NETFILTER_DROP, conn)
        if hook == POST_ROUTING and not frame.ctdir and conn.masq_ifindex and conn.masq_ifindex != frame.outdev.ifindex:
            # nf_nat_oif_changed: the masqueraded connection has another outgoing device now
            conn.table.kill(conn)
            return Drop(_NETFILTER_DROP, conn)
        old = frame.dst
        _rewrite(frame, half, manip)
        if not frame.ctdir and conn.nat_flows[manip] != frame.flow:
            conn.nat_flows[manip] = frame.flow
            for listener in self._listeners:
                listener(frame, half[2])
        return _routed_anew(frame, state, conn) if frame.dst != old else None

    def _choose(self, frame: Frame, state: HookState, conn: Conn, manip: int) -> Verdict:
        """A NEW packet (or what is RELATED and no ICMP error): let the nat table decide the half, once."""
        done = _DONE[manip]
        if conn.status & done:
            return None
        walk = self._tables.nat_chain(state.hook)
        if walk is not None:
            verdict = walk(frame, state)
            if verdict is not None:
                return verdict
            if conn.status & done:
                return None
        return null_binding(frame, state, manip)


def _routed_anew(frame: Frame, state: HookState, conn: Conn) -> Verdict:
    """nf_nat_ipv4_pre_routing, nf_nat_ipv4_local_fn: the packet has another destination now."""
    if state.hook == PRE_ROUTING:
        frame.route = None
    elif state.hook == LOCAL_OUT and (error := state.family.reroute(frame)):
        return Drop(_NETFILTER_DROP, _unroutable(frame, error), error)
    return None


def _unroutable(frame: Frame, error: str) -> str:
    """Why a packet of this host cannot go to where a rule has sent it, in words."""
    if error == "EINVAL" and frame.src >> 24 == _LOOPBACK:
        return "the route behind DNAT: a packet from 127.0.0.0/8 leaves by lo alone where net.ipv4.conf.*.route_localnet is 0"
    return f"the route behind DNAT: {error}"


def _translate_error(frame: Frame, conn: Conn, manip: int) -> Verdict:
    """nf_nat_icmp_reply_translation: an error about a translated packet quotes it as its sender sent it.

    The quote's half opposite to the outer one changes with it; where no rule touched the half, nothing does.
    """
    direction = frame.ctdir
    if frame.dport >> 8 == _REDIRECT and (conn.status & NAT_DONE_MASK != NAT_DONE_MASK or conn.status & NAT_MASK):
        # a redirect for a translated (or undecided) connection would mislead its receiver
        return Drop(_NETFILTER_DROP, conn)
    half = conn.nat[direction * 2 + manip] if conn.nat is not None else None
    if half is None:
        return None
    if not frame.valid and not sound(frame):
        return Drop(_NETFILTER_DROP, conn)
    # the quoted packet went the other way: what it was before translation, its half mirrored
    addr, _, fact = half
    quote.rewrite(frame, addr, conn.tuple_of(1 - direction), 1 - manip)
    if manip == MANIP_SRC:
        set_source(frame, addr, frame.sport)
    else:
        set_destination(frame, addr, frame.dport)
    trail = frame.trail
    if trail is not None:
        trail.append(fact)
    return None
