"""The fates of one packet on a real node, as text and data: every rule that matched with its line, routes, NAT, the end.

Three details: `minimal` says only what may become of it, `summary` leaves out rules that did nothing to it, `detailed`
tells every rule. Must not know how packets walk.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from emu.capture.words import decided_by
from emu.kernel.net.fib import Route
from emu.kernel.netfilter.ruleset import Rule
from emu.report import Report
from emu.report.fate import DELIVERED, LEAVES, MAX_FATES, UNDECIDED, Ask, Fate, Leg, fates, usable
from emu.report.node import Node
from emu.trail import Dropped, Natted, Note, Policy, Tracked
from emu.wire.addr import ip4_text
from emu.wire.proto import PROTOCOL_NAMES

Detail = Literal["minimal", "summary", "detailed"]
_PLACES = 6


@dataclass
class Group:
    """Fates that end alike; `fate` is the first of them."""

    probability: float
    fate: Fate


@dataclass(frozen=True)
class Trace:
    """`undecided`: some fate met what is not modelled."""

    report: Report
    undecided: bool


def trace(node: Node, ask: Ask, detail: Detail = "detailed") -> Trace:
    """Send the packet in every way that the lots may fall, and its answer back. Raises InputError."""
    ask = usable(node, ask)
    groups = _groups(fates(node, ask))
    total = sum(group.probability for group in groups)
    data: dict[str, Any] = {
        "protocol": PROTOCOL_NAMES[ask.proto],
        "source": _end(ask.src, ask.sport),
        "destination": _end(ask.dst, ask.dport),
        "inInterface": ask.device or None,
        "state": ask.state,
        "assumed": list(node.assumed),
        "outcomes": [_outcome(group) for group in groups],
    }
    entered = f"in by {ask.device}" if ask.device else "from the node itself"
    lines = [f"{data['protocol']} {data['source']} -> {data['destination']}, {ask.state}, {entered}", "", "outcomes:"]
    lines += [f"{group.probability:8.4%}  {ending(group.fate.there)}" for group in groups]
    if total < 1 - 1e-6:
        data["notFollowed"] = round(1 - total, _PLACES)
        lines.append(f"{1 - total:8.4%}  not followed: more than {MAX_FATES} ways")
    if detail != "minimal":
        shown: list[str] = []
        for number, group in enumerate(groups, 1):
            lines += ["", f"outcome {number}: {group.probability:.4%}"]
            there = _leg(group.fate.there, f"{number}/", 1, detail)
            same = _common(shown, there)
            lines += [f"  (as outcome 1 for {same} lines)"] * (same > 2) + there[same if same > 2 else 0 :]
            shown = shown or there
            back = group.fate.back
            if back is not None:
                lines += ["  back:", *_leg(back, f"{number}/", 3, detail), f"  {'-> ' + ending(back)}"]
    return Trace(Report(data, "\n".join(lines)), any(g.fate.there.word == UNDECIDED for g in groups))


def _groups(found: Iterable[Fate]) -> list[Group]:
    """Fates that end alike are one; the most probable first, then in the order of the rules."""
    groups: dict[tuple[Any, ...], Group] = {}
    for fate in found:
        leg = fate.there
        back = fate.back.word if fate.back is not None else ""
        key = leg.word, leg.detail, leg.device, leg.ended, leg.by, back
        group = groups.get(key)
        if group is None:
            groups[key] = Group(fate.probability, fate)
        else:
            group.probability += fate.probability
    return sorted(groups.values(), key=lambda group: -round(group.probability, _PLACES))


def ending(leg: Leg) -> str:
    """How a packet ended, in one line."""
    src, sport, dst, dport = leg.ended
    changed = [] if leg.ended[2:] == leg.began[2:] else [f"to {_end(dst, dport)}"]
    changed += [] if leg.ended[:2] == leg.began[:2] else [f"from {_end(src, sport)}"]
    text = " ".join([leg.word, f"({leg.detail})" if leg.detail else "", *changed]).replace("  ", " ").strip()
    if leg.word == LEAVES:
        route = _route(leg)
        hop = f" to the next hop {ip4_text(route.gateway)}" if route is not None and route.gateway else ""
        return f"{text} by {leg.device}{hop}"
    if leg.word == DELIVERED:
        return f"{text} on the node itself"
    by = decided_by(leg.by, lines=True)
    why = next((entry.text for entry in reversed(leg.trail) if isinstance(entry, Note)), "")
    return text + (f" by {by}" if by else "") + (f": {why}" if leg.word == UNDECIDED and why else "")


def _route(leg: Leg) -> Route | None:
    return next((entry for entry in reversed(leg.trail) if isinstance(entry, Route)), None)


def _end(addr: int, port: int) -> str:
    return f"{ip4_text(addr)}:{port}" if port else ip4_text(addr)


def _leg(leg: Leg, flow: str, hop: int, detail: Detail) -> list[str]:
    """A packet's way, a line a decision; the hops are numbered as in captures: flow, then hop."""
    src, sport, dst, dport = leg.began
    lines = [
        f"  {flow}{hop} {leg.entered + ' in' if leg.entered else 'from here'}: {_end(src, sport)} -> {_end(dst, dport)}"
    ]
    for entry in in_order(leg.trail):
        told = _told(entry, detail)
        if told:
            lines.append(f"    {told}")
    src, sport, dst, dport = leg.ended
    if leg.word == LEAVES:
        lines.append(f"  {flow}{hop + 1} {leg.device} out: {_end(src, sport)} -> {_end(dst, dport)}")
    elif leg.word == DELIVERED:
        lines.append(f"  {flow}{hop + 1} local delivery: {_end(src, sport)} -> {_end(dst, dport)}")
    else:
        lines.append(f"  {flow}{hop + 1} {ending(leg)}")
    return lines


def in_order(trail: Sequence[Any]) -> list[Any]:
    """The trail with the route where it was decided: before FORWARD, though it is noted behind it."""
    entries = list(trail)
    route = next((entry for entry in entries if isinstance(entry, Route)), None)
    first = next((n for n, entry in enumerate(entries) if getattr(entry, "chain", "") == "FORWARD"), None)
    if route is not None and first is not None and first < entries.index(route):
        entries.remove(route)
        entries.insert(first, route)
    return entries


def _told(entry: Any, detail: Detail) -> str:
    match entry:
        case Rule():
            if detail == "summary" and entry.target is None:
                return ""
            return f"{entry.table} {entry.chain} rule {entry.number}, line {entry.line}: {entry}"
        case Policy():
            return decided_by(entry, lines=True)
        case Route():
            return f"route {entry.text()}"
        case Natted():
            return f"{entry.kind} {_end(*entry.before)} -> {_end(*entry.after)}"
        case Tracked():
            return f"conntrack {entry.state}" if detail == "detailed" or not entry.new else ""
        case Note():
            return entry.text
    return ""


def _entry(entry: Any) -> dict[str, Any] | None:
    match entry:
        case Rule():
            place = {"table": entry.table, "chain": entry.chain, "number": entry.number, "line": entry.line}
            return {"rule": str(entry), **place}
        case Policy():
            return {"policy": entry.verdict, "table": entry.table, "chain": entry.chain}
        case Route():
            return {"route": entry.text()}
        case Natted():
            return {"nat": entry.kind, "from": _end(*entry.before), "to": _end(*entry.after)}
        case Tracked():
            return {"conntrack": entry.state}
        case Note():
            return {"note": entry.text}
        case Dropped():
            return {"dropped": entry.reason, "by": decided_by(entry.by, lines=True)}
    return None


def _way(leg: Leg) -> dict[str, Any]:
    src, sport, dst, dport = leg.ended
    return {
        "outcome": leg.word,
        "detail": leg.detail,
        "inInterface": leg.entered or None,
        "outInterface": leg.device or None,
        "source": _end(src, sport),
        "destination": _end(dst, dport),
        "by": decided_by(leg.by, lines=True),
        "line": leg.by.line if isinstance(leg.by, Rule) else None,
        "decisions": [told for entry in in_order(leg.trail) if (told := _entry(entry)) is not None],
    }


def _outcome(group: Group) -> dict[str, Any]:
    back = group.fate.back
    return {
        "probability": round(group.probability, _PLACES),
        "told": ending(group.fate.there),
        "there": _way(group.fate.there),
        "back": _way(back) if back is not None else None,
    }


def _common(one: list[str], other: list[str]) -> int:
    """How many lines two texts begin with alike."""
    count = 0
    for mine, theirs in zip(one, other, strict=False):
        if mine.partition("/")[2] != theirs.partition("/")[2] if count == 0 else mine != theirs:
            break
        count += 1
    return count
