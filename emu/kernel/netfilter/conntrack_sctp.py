"""SCTP as connection tracking sees it from the middle: the state table, verification tags, the timeouts.

Laid out to be read beside net/netfilter/nf_conntrack_proto_sctp.c; section numbers are those of RFC 9260. Must not know
hooks, NAT or what an endpoint does.
"""

from __future__ import annotations

from typing import Protocol

from emu.clock import Clock
from emu.kernel.netfilter.conn import ASSURED, CONFIRMED, Conn
from emu.kernel.netfilter.conntrack_sctp_state import CE, CL, CW, ES, HEARTBEAT_FAILED, HS, IV, SA, SR, SS, SctpState
from emu.kernel.netfilter.conntrack_tcp_window import ACCEPT, INVALID
from emu.trail import Tracked
from emu.wire import sctp as wire
from emu.wire.frame import Frame
from emu.wire.sctp import Chunk

# By direction, chunk and state. Chunks that have no row (DATA, SACK and all others) change no state.
TABLE = (
    {  # original
        #                        NO  CL  CW  CE  ES  SS  SR  SA  HS
        wire.INIT:              (CL, CL, CW, CE, ES, CL, CL, SA, CW),
        wire.INIT_ACK:          (CL, CL, CW, CE, ES, SS, SR, SA, CL),
        wire.ABORT:             (CL, CL, CL, CL, CL, CL, CL, CL, CL),
        wire.SHUTDOWN:          (CL, CL, CW, CE, SS, SS, SR, SA, CL),
        wire.SHUTDOWN_ACK:      (SA, CL, CW, CE, ES, SA, SA, SA, SA),
        wire.ERROR:             (CL, CL, CW, CE, ES, SS, SR, SA, CL),
        wire.COOKIE_ECHO:       (CL, CL, CE, CE, ES, SS, SR, SA, CL),
        wire.COOKIE_ACK:        (CL, CL, CW, ES, ES, SS, SR, SA, CL),
        wire.SHUTDOWN_COMPLETE: (CL, CL, CW, CE, ES, SS, SR, CL, CL),
        wire.HEARTBEAT:         (HS, CL, CW, CE, ES, SS, SR, SA, HS),
        wire.HEARTBEAT_ACK:     (CL, CL, CW, CE, ES, SS, SR, SA, HS),
    },
    {  # reply
        #                        NO  CL  CW  CE  ES  SS  SR  SA  HS
        wire.INIT:              (IV, CL, CW, CE, ES, SS, SR, SA, IV),
        wire.INIT_ACK:          (IV, CW, CW, CE, ES, SS, SR, SA, IV),
        wire.ABORT:             (IV, CL, CL, CL, CL, CL, CL, CL, IV),
        wire.SHUTDOWN:          (IV, CL, CW, CE, SR, SS, SR, SA, IV),
        wire.SHUTDOWN_ACK:      (IV, CL, CW, CE, ES, SA, SA, SA, IV),
        wire.ERROR:             (IV, CL, CW, CL, ES, SS, SR, SA, IV),
        wire.COOKIE_ECHO:       (IV, CL, CE, CE, ES, SS, SR, SA, IV),
        wire.COOKIE_ACK:        (IV, CL, CW, ES, ES, SS, SR, SA, IV),
        wire.SHUTDOWN_COMPLETE: (IV, CL, CW, CE, ES, SS, SR, CL, IV),
        wire.HEARTBEAT:         (IV, CL, CW, CE, ES, SS, SR, SA, HS),
        wire.HEARTBEAT_ACK:     (IV, CL, CW, CE, ES, SS, SR, SA, ES),
    },
)  # fmt: skip

_FIRST = frozenset((wire.COOKIE_ECHO, wire.COOKIE_ACK))  # may stand at the head of a packet only
_ALONE = frozenset((wire.INIT, wire.INIT_ACK, wire.SHUTDOWN_COMPLETE))  # may stand in a packet of their own only
_OUT_OF_THE_BLUE = frozenset((wire.ABORT, wire.SHUTDOWN_COMPLETE, wire.COOKIE_ACK))  # never open an entry (8.4)
# Packets with one of these have a tag check of their own; others must have the direction's tag (8.5)
_OWN_CHECK = frozenset((
    wire.INIT, wire.SHUTDOWN_COMPLETE, wire.COOKIE_ECHO, wire.ABORT, wire.SHUTDOWN_ACK, wire.HEARTBEAT, wire.HEARTBEAT_ACK,
))  # fmt: skip


class Tracker(Protocol):
    """What SCTP uses of the connection table: the clock and the sysctls, ns by state."""

    clock: Clock
    sctp_timeouts: tuple[int, ...]

    def changed(self, conn: Conn) -> None: ...


def sctp_packet(conn: Conn, frame: Frame, direction: int, tracker: Tracker) -> int:
    """Judge a packet whose checksum was verified, and move the connection: ACCEPT or INVALID."""
    chunks = list(wire.chunks(frame))
    if not _composed(chunks):
        return INVALID
    kinds = {chunk.kind for chunk in chunks}
    tag = wire.tag(frame)
    state = conn.sctp
    confirmed = bool(conn.status & CONFIRMED)
    if not confirmed or state is None:
        if kinds & _OUT_OF_THE_BLUE:
            return INVALID
        state = _new(frame, chunks, tag)
        if state is None:
            return INVALID
        conn.sctp = state
    if not kinds & _OWN_CHECK and tag != state.tags[direction]:
        return INVALID
    before = state.state
    refreshes = True
    for chunk in chunks:
        if not _tag_fits(state, chunk, tag, direction):
            return INVALID
        if chunk.kind == wire.COOKIE_ACK:
            state.init = [False, False]
        if chunk.kind in (wire.HEARTBEAT, wire.HEARTBEAT_ACK):
            blocked = wire.DATA in kinds or not refreshes
            if not _heartbeat(state, chunk.kind, tag, direction, blocked):
                if blocked or chunk.kind == wire.HEARTBEAT_ACK:
                    return INVALID
                state.flags |= HEARTBEAT_FAILED
                state.last_dir = direction
                refreshes = False
                continue
        old = state.state
        row = TABLE[direction].get(chunk.kind)
        new = old if row is None else row[old]
        if new == IV:
            return INVALID
        if chunk.kind in (wire.INIT, wire.INIT_ACK):
            asked = wire.initiate_tag(frame, chunk)
            if asked is None or not _note_tag(state, chunk.kind, asked, direction):
                return INVALID
            if chunk.kind == wire.INIT and new == old == CL and confirmed:
                refreshes = False  # an INIT that is sent again does not keep the entry alive
        state.state = new
        if new == ES and old != ES:
            conn.status |= ASSURED
    if confirmed and state.state != before and frame.trail is not None:
        frame.trail.append(Tracked(conn, state.name))
    if refreshes:
        timeout_ns = tracker.sctp_timeouts[state.state]
        conn.expires_ns = tracker.clock.jiffy_ns + timeout_ns if confirmed else timeout_ns
    if state.state != before:
        tracker.changed(conn)
    return ACCEPT


def _composed(chunks: list[Chunk]) -> bool:
    """do_basic_checks: at least one chunk, none of length 0, and those that stand first or alone do."""
    alone = False
    for count, chunk in enumerate(chunks):
        alone = alone or chunk.kind in _ALONE
        if not chunk.length or (count and (alone or chunk.kind in _FIRST)):
            return False
    return bool(chunks)


def _new(frame: Frame, chunks: list[Chunk], tag: int) -> SctpState | None:
    """sctp_new: the state of a connection that this packet opens; None refuses it."""
    state = SctpState()
    for chunk in chunks:
        if chunk.kind not in TABLE[0]:
            return None
        if chunk.kind == wire.INIT:
            asked = wire.initiate_tag(frame, chunk)
            if tag or asked is None:
                return None
            state.tags[1] = asked
        elif chunk.kind == wire.HEARTBEAT:
            state.tags[0] = tag
        elif chunk.kind == wire.SHUTDOWN_ACK:
            state.tags[1] = tag  # the answer reflects it (8.4)
    return state


def _tag_fits(state: SctpState, chunk: Chunk, tag: int, direction: int) -> bool:
    """The rules of 8.5.1 for the packet's tag."""
    if chunk.kind == wire.INIT:
        return not tag
    if chunk.kind in (wire.ABORT, wire.SHUTDOWN_COMPLETE):
        return tag == state.tags[1 - direction if chunk.flags & wire.FLAG_T else direction]
    return chunk.kind != wire.COOKIE_ECHO or tag == state.tags[direction]


def _heartbeat(state: SctpState, kind: int, tag: int, direction: int, blocked: bool) -> bool:
    """Is a heartbeat's tag right? It is taken where none is known yet.

    A HEARTBEAT ACK with another tag is right, if it answers a HEARTBEAT that had one: the association began anew.
    `blocked` forbids that.
    """
    known = state.tags[direction]
    if not known:
        state.tags[direction] = tag
    elif tag == known:
        state.flags &= ~HEARTBEAT_FAILED
    elif kind == wire.HEARTBEAT_ACK and not blocked and state.flags & HEARTBEAT_FAILED and state.last_dir != direction:
        state.flags &= ~HEARTBEAT_FAILED
        state.tags[direction] = tag
        state.tags[1 - direction] = 0
    else:
        return False
    return True


def _note_tag(state: SctpState, kind: int, asked: int, direction: int) -> bool:
    """Note which tag this end wants to see; False if an INIT ACK asks for another one than before."""
    mine, other = direction, 1 - direction
    if kind == wire.INIT:
        if state.init[mine] and state.init[other]:
            state.init[other] = False
        state.init[mine] = True
    else:
        known = state.tags[other]
        if not state.init[other] and known and known != asked:
            return False
        if state.init[mine] and state.init[other] and known != asked:
            return False  # two INITs crossed
    state.tags[other] = asked
    return True
