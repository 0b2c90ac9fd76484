"""A trail's entries as plain values for the page: `k` names the kind, the other keys are its facts as text and numbers.

`KINDS` is the whole list: a new type of entry is one row. Must not know frames or how entries are shown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from emu.capture.words import decided_by
from emu.kernel.net.fib_semantics import Route
from emu.report.html.facts import Stated
from emu.rule import AnyRule
from emu.trail import (
    Answered,
    Asked,
    Born,
    Bridged,
    Carried,
    Decapsulated,
    Delivered,
    Dropped,
    Encapsulated,
    Forbidden,
    Learned,
    Natted,
    Note,
    Policy,
    Probed,
    Tracked,
    Waited,
)
from emu.wire.addr import ip4_text, mac_text

Value = dict[str, Any]


def plain(entry: Any) -> Value:
    """One entry as a JSON object."""
    make = KINDS.get(entry.__class__)
    if make is None:
        make = KINDS[AnyRule] if isinstance(entry, AnyRule) else _other
    return make(entry)


def _end(half: tuple[int, int]) -> str:
    return f"{ip4_text(half[0])}:{half[1]}" if half[1] else ip4_text(half[0])


def _addr(addr: int) -> str:
    return ip4_text(addr) if addr else ""


def _conn(conn: Any) -> int | None:
    """The number that `Tables` shows of a connection."""
    number = getattr(conn, "number", None)
    return number if isinstance(number, int) else None


def _rule(rule: AnyRule) -> Value:
    found = {"k": "rule", "table": rule.table, "chain": rule.chain, "n": rule.number, "spec": rule.spec}
    found["jump"] = rule.jump
    return found | ({"comment": rule.comment} if rule.comment else {}) | ({"line": rule.line} if rule.line else {})


def _natted(entry: Natted) -> Value:
    return {
        "k": "nat",
        "kind": entry.kind,
        "before": _end(entry.before),
        "after": _end(entry.after),
        "ct": _conn(entry.conn),
    }


def _bridged(entry: Bridged) -> Value:
    return {"k": "bridge", "bridge": entry.bridge, "port": entry.port, "flooded": entry.flooded, "up": entry.up}


def _carried(entry: Carried) -> Value:
    found = {"k": "carried", "who": entry.who, "between": entry.between, "way": entry.way}
    if entry.half:
        found |= {"half": entry.half, "before": _addr(entry.before), "after": _addr(entry.after)}
    return found


def _into(entry: Encapsulated) -> Value:
    ends = {"src": ip4_text(entry.src), "dst": ip4_text(entry.dst)}
    return {"k": "tunnel", "dev": entry.device, "out": True, "vni": entry.vni, **ends}


def _out_of(entry: Decapsulated) -> Value:
    return {"k": "tunnel", "dev": entry.device, "out": False, "vni": entry.vni, "src": ip4_text(entry.src)}


def _route(entry: Route) -> Value:
    device = entry.device.name if entry.device is not None else ""
    return {"k": "route", "text": entry.text(), "type": entry.kind, "via": _addr(entry.gateway), "dev": device}


def ended(entry: Delivered, port: int) -> Value:
    """Where a packet ended; `port` is its destination port, 0 for none."""
    return {"k": "delivered", "netns": entry.netns, "to": f"{entry.to} :{port}" if port else entry.to}


def forbidden(way: str, pod: str, reason: str, rule: str) -> Value:
    """What policies a packet died of: the side of which pod, why, and the place of the rule ("": none allows it)."""
    return {"k": "forbidden", "way": way, "pod": pod, "reason": reason, "rule": rule}


def _other(entry: Any) -> Value:
    return {"k": "note", "text": str(entry)}


KINDS: Mapping[type, Callable[[Any], Value]] = {
    AnyRule: _rule,
    Policy: lambda e: {"k": "policy", "table": e.table, "chain": e.chain, "verdict": e.verdict},
    Natted: _natted,
    Tracked: lambda e: {"k": "ct", "ct": _conn(e.conn), "state": e.state, "new": e.new},
    Dropped: lambda e: {"k": "drop", "reason": e.reason, "place": e.place, "by": decided_by(e.by)},
    Bridged: _bridged,
    Learned: lambda e: {"k": "learn", "bridge": e.bridge, "port": e.port, "mac": mac_text(e.mac)},
    Carried: _carried,
    Encapsulated: _into,
    Decapsulated: _out_of,
    Waited: lambda e: {"k": "waited", "addr": ip4_text(e.addr), "dev": e.device},
    Asked: lambda e: {"k": "asked", "addr": ip4_text(e.addr), "dev": e.device, "dst": _addr(e.dst), "why": e.why},
    Answered: lambda e: {"k": "answered", "addr": ip4_text(e.addr), "dev": e.device, "proxy": e.proxy},
    Born: lambda e: {"k": "born", "what": e.what},
    Delivered: lambda e: {"k": "delivered", "netns": e.netns, "to": e.to},
    Note: lambda e: {"k": "note", "text": e.text},
    Forbidden: lambda e: forbidden(e.way, e.pod, e.reason, e.rule),
    Probed: lambda e: {"k": "note", "text": str(e)},
    Route: _route,
    Stated: lambda e: dict(e.value),
}
