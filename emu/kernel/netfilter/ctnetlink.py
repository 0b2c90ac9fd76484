"""A connection that comes from outside, as `conntrack -I` makes one (nf_conntrack_netlink.c, ctnetlink_create_conntrack).

Must not know the text that it was read from.
"""

from __future__ import annotations

from emu.clock import SECOND
from emu.kernel.netfilter.conn import ASSURED, DST_NAT, NAT_DONE_MASK, SEEN_REPLY, SRC_NAT, Conn, Tuple5, inverse
from emu.kernel.netfilter.conntrack import Conntrack
from emu.kernel.netfilter.conntrack_tcp_window import NAMES, TcpState
from emu.kernel.netfilter.nat import prepare
from emu.kernel.netfilter.nat_ports import MANIP_DST, MANIP_SRC
from emu.wire.frame import AF_INET, TCP

DEFAULT_NS = 120 * SECOND  # where no time is stated


def create(
    table: Conntrack,
    orig: Tuple5,
    reply: Tuple5,
    *,
    seconds: int = 0,
    state: str = "",
    replied: bool = True,
    assured: bool = False,
    mark: int = 0,
    family: int = AF_INET,
) -> Conn | None:
    """Enter a confirmed connection that ends in `seconds`; its NAT is the difference of the tuples. Of TCP `state` is
    the word of `conntrack -L`; the windows are learnt from its next packets. No rule chooses its NAT any more. None if a
    tuple is taken."""
    conn = table.insert(orig, reply, seconds * SECOND or DEFAULT_NS, family)
    if conn is None:
        return None
    conn.status |= NAT_DONE_MASK | (SEEN_REPLY if replied else 0) | (ASSURED if assured else 0)
    conn.mark = mark
    if orig[0] == TCP:
        conn.tcp = TcpState()
        conn.tcp.state = NAMES.index(state) if state in NAMES else 0
    there = inverse(reply)
    if there is not None and (there[2], there[4]) != (orig[2], orig[4]):
        conn.status |= DST_NAT
        prepare(conn, MANIP_DST)
    if there is not None and (there[1], there[3]) != (orig[1], orig[3]):
        conn.status |= SRC_NAT
        prepare(conn, MANIP_SRC)
        table.note_source(conn)
    table.changed(conn)
    return conn
