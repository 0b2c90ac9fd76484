"""A namespace's connections, as `conntrack -L -o extended` lists them. Must not know rules."""

from __future__ import annotations

from typing import Any

from emu.kernel.net.netns import Netns
from emu.kernel.netfilter.conn import ASSURED, SEEN_REPLY, Conn
from emu.kernel.netfilter.conntrack_list import render, seconds_left
from emu.report import Report, views
from emu.wire.addr import ip4_text


@views.add("conntrack")
def conntrack(net: Netns) -> Report:
    """The connections, as `conntrack -L -o extended` lists them, the oldest first."""
    conns = list(net.conntrack) if net.conntrack is not None else []
    now_ns = net.clock.now
    return Report([_data(conn, now_ns) for conn in conns], "\n".join(render(conn, now_ns) for conn in conns))


def _data(conn: Conn, now_ns: int) -> dict[str, Any]:
    return {
        "number": conn.number,
        "protocol": conn.proto,
        "seconds": seconds_left(conn, now_ns),
        "state": conn.state or None,
        "original": _tuple(conn, 0),
        "reply": _tuple(conn, 1),
        "natted": conn.natted,
        "seenReply": bool(conn.status & SEEN_REPLY),
        "assured": bool(conn.status & ASSURED),
        "mark": conn.mark,
    }


def _tuple(conn: Conn, direction: int) -> dict[str, Any]:
    _proto, src, dst, sport, dport = conn.tuple_of(direction)
    return {"src": ip4_text(src), "dst": ip4_text(dst), "sport": sport, "dport": dport}
