"""The outcomes of one packet on a real node, as text and data: every rule that matched with its line, routes, NAT, the end.

Three details: `minimal` shows the outcomes only, `summary` leaves out rules that did nothing to the packet, `detailed`
shows every rule. Must not know how packets walk.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

from emu.capture.words import decided_by
from emu.errors import InputError
from emu.kernel.link.edge import Edge
from emu.kernel.net.fib_semantics import Route
from emu.pasted.ip_json import Item
from emu.report import Report, balancers
from emu.report.node import Node
from emu.report.outcomes import DELIVERED, LEAVES, MAX_OUTCOMES, UNDECIDED, Outcome, Probe, Trace, outcomes
from emu.rule import AnyRule
from emu.trail import Dropped, Forbidden, Natted, Note, Policy, Tracked
from emu.wire.addr import ip4_text
from emu.wire.proto import PROTOCOL_NAMES

Detail = Literal["minimal", "summary", "detailed"]
_PLACES = 6


@dataclass
class Group:
    """Outcomes with the same end; `first` is the first of them."""

    probability: float
    first: Outcome

    @property
    def trace(self) -> Trace:
        return self.first.there

    @property
    def ending(self) -> str:
        return ending(self.first.there)


@dataclass(frozen=True)
class Traced:
    """`undecided`: some outcome met what is not modelled. `head` is the packet in one line, `groups` are the outcomes."""

    report: Report
    undecided: bool
    head: str
    groups: list[Group]


def trace(node: Node, probe: Probe, detail: Detail = "detailed") -> Traced:
    """Every possible outcome of the packet, and the way of its answer. Raises InputError."""
    probe = complete(node, probe)
    groups = _groups(_judged(node, outcome) for outcome in outcomes(node, probe))
    total = sum(group.probability for group in groups)
    data: dict[str, Any] = {
        "protocol": PROTOCOL_NAMES[probe.proto],
        "source": _end(probe.src, probe.sport),
        "destination": _end(probe.dst, probe.dport),
        "inInterface": probe.device or None,
        "state": probe.state,
        "assumed": list(node.assumed),
        "outcomes": [_outcome(group) for group in groups],
    }
    entered = f"in on {probe.device}" if probe.device else "from the node itself"
    lines = [f"{data['protocol']} {data['source']} -> {data['destination']}, {probe.state}, {entered}", "", "outcomes:"]
    lines += [f"{group.probability:8.4%}  {ending(group.first.there)}" for group in groups]
    if total < 1 - 1e-6:
        data["notFollowed"] = round(1 - total, _PLACES)
        lines.append(f"{1 - total:8.4%}  not followed: more than {MAX_OUTCOMES} ways")
    if detail != "minimal":
        shown: list[str] = []
        for number, group in enumerate(groups, 1):
            lines += ["", f"outcome {number}: {group.probability:.4%}"]
            there = _trace_lines(group.first.there, f"{number}/", 1, detail)
            same = _common(shown, there)
            lines += [f"  (as outcome 1 for {same} lines)"] * (same > 2) + there[same if same > 2 else 0 :]
            shown = shown or there
            back = group.first.back
            if group.first.past:
                lines += ["  back:", f"  -> {group.first.past}"]
            if back is not None:
                lines += ["  back:", *_trace_lines(back, f"{number}/", 3, detail), f"  {'-> ' + ending(back)}"]
    undecided = any(group.first.there.word == UNDECIDED for group in groups)
    return Traced(Report(data, "\n".join(lines)), undecided, lines[0], groups)


def _judged(node: Node, outcome: Outcome) -> Outcome:
    """The outcome with what the texts show of a packet that other programs than the rules decide about, and of an answer
    that takes another way."""
    there = outcome.there
    doubt = balancers.doubt(node, there)
    if doubt:
        there.word, there.detail, there.by = UNDECIDED, "", None
        there.trail.append(Note(doubt))
        return replace(outcome, back=None)
    past = _past(node, there) if outcome.back is not None else ""
    return replace(outcome, back=None, past=past) if past else outcome


def _past(node: Node, there: Trace) -> str:
    """Why the answer does not come by this node: its receiver is where the packet went, and is not the node itself."""
    if there.word != LEAVES or not there.entered:
        return ""
    net, _sent = node.build()
    source, _port, target, _port_of_target = there.ended
    route = None if net.ipv4.is_local(source) else net.ipv4.fib.lookup(source)
    if route is None or route.device is None or route.device.name != there.device:
        return ""
    text = f"the answer does not come by this node: {ip4_text(source)} is not masqueraded, and lies out of {there.device}, too"
    if there.began[2:] == there.ended[2:]:
        return text
    return f"{text}; it comes from {_end(target, there.ended[3])}, which the client did not ask: the connection fails"


def _groups(found: Iterable[Outcome]) -> list[Group]:
    """Outcomes with the same end are one; the most probable first, then in the order of the rules."""
    groups: dict[tuple[Any, ...], Group] = {}
    for outcome in found:
        trace = outcome.there
        back = outcome.back.word if outcome.back is not None else ""
        route = _route(trace) if trace.word == LEAVES else None
        next_hop = route.gateway if route is not None else 0
        key = trace.word, trace.detail, trace.device, next_hop, trace.ended, trace.by, back
        group = groups.get(key)
        if group is None:
            groups[key] = Group(outcome.probability, outcome)
        else:
            group.probability += outcome.probability
    return sorted(groups.values(), key=lambda group: -round(group.probability, _PLACES))


def ending(trace: Trace) -> str:
    """How a packet ended, in one line."""
    src, sport, dst, dport = trace.ended
    changed = [] if trace.ended[2:] == trace.began[2:] else [f"to {_end(dst, dport)}"]
    changed += [] if trace.ended[:2] == trace.began[:2] else [f"from {_end(src, sport)}"]
    text = " ".join([trace.word, f"({trace.detail})" if trace.detail else "", *changed]).replace("  ", " ").strip()
    if trace.word == LEAVES:
        route = _route(trace)
        hop = f" to the next hop {ip4_text(route.gateway)}" if route is not None and route.gateway else ""
        return f"{text} out of {trace.device}{hop}"
    if trace.word == DELIVERED:
        return f"{text} on the node itself"
    by = decided_by(trace.by, lines=True)
    why = next((entry.text for entry in reversed(trace.trail) if isinstance(entry, Note)), "")
    return text + (f" by {by}" if by else "") + (f": {why}" if trace.word == UNDECIDED and why else "")


def _route(trace: Trace) -> Route | None:
    return next((entry for entry in reversed(trace.trail) if isinstance(entry, Route)), None)


def _end(addr: int, port: int) -> str:
    return f"{ip4_text(addr)}:{port}" if port else ip4_text(addr)


def _trace_lines(trace: Trace, flow: str, hop: int, detail: Detail) -> list[str]:
    """A packet's way, a line a decision; the hops are numbered as in captures: flow, then hop."""
    src, sport, dst, dport = trace.began
    lines = [
        f"  {flow}{hop} {trace.entered + ' in' if trace.entered else 'from here'}: {_end(src, sport)} -> {_end(dst, dport)}"
    ]
    rewritten: set[int] = set()
    for entry in trace.trail:
        text = _entry_text(entry, detail)
        if isinstance(entry, Natted):
            if (
                id(entry) in rewritten
            ):  # behind lo the packet meets the same translation once more, which changes nothing
                continue
            rewritten.add(id(entry))
        if text:
            lines.append(f"    {text}")
    src, sport, dst, dport = trace.ended
    if trace.word == LEAVES:
        lines.append(f"  {flow}{hop + 1} {trace.device} out: {_end(src, sport)} -> {_end(dst, dport)}")
    elif trace.word == DELIVERED:
        lines.append(f"  {flow}{hop + 1} local delivery: {_end(src, sport)} -> {_end(dst, dport)}")
    else:
        lines.append(f"  {flow}{hop + 1} {ending(trace)}")
    return lines


def _entry_text(entry: Any, detail: Detail) -> str:
    match entry:
        case AnyRule():
            if detail == "summary" and not entry.act:
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
        case AnyRule():
            place = {"table": entry.table, "chain": entry.chain, "number": entry.number, "line": entry.line}
            return {"rule": str(entry), **place}
        case Policy():
            return {"policy": entry.verdict, "table": entry.table, "chain": entry.chain}
        case Forbidden():
            decided = {"policies": list(entry.policies), "policyRule": entry.rule, "reason": entry.reason}
            return {"forbidden": entry.way, "pod": entry.pod, **decided}
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


def _way(trace: Trace) -> dict[str, Any]:
    src, sport, dst, dport = trace.ended
    return {
        "outcome": trace.word,
        "detail": trace.detail,
        "inInterface": trace.entered or None,
        "outInterface": trace.device or None,
        "source": _end(src, sport),
        "destination": _end(dst, dport),
        "by": decided_by(trace.by, lines=True),
        "line": trace.by.line if isinstance(trace.by, AnyRule) else None,
        "decisions": [found for entry in trace.trail if (found := _entry(entry)) is not None],
    }


def _outcome(group: Group) -> dict[str, Any]:
    back = group.first.back
    return {
        "probability": round(group.probability, _PLACES),
        "summary": ending(group.first.there),
        "there": _way(group.first.there),
        "back": _way(back) if back is not None else None,
        **({"past": group.first.past} if group.first.past else {}),
    }


def _common(one: list[str], other: list[str]) -> int:
    """How many lines two texts begin with alike."""
    count = 0
    for mine, theirs in zip(one, other, strict=False):
        if mine.partition("/")[2] != theirs.partition("/")[2] if count == 0 else mine != theirs:
            break
        count += 1
    return count


def complete(node: Node, probe: Probe) -> Probe:
    """The packet with what it leaves open filled in; each assumption is listed in the node's `assumed`. Raises
    InputError."""
    net, _sent = node.build()
    device = probe.device
    if not device and not net.ipv4.is_local(probe.src):
        route = net.ipv4.fib.lookup(probe.src)
        if route is None or not isinstance(route.device, Edge):
            raise InputError(f"no route to {ip4_text(probe.src)}", expected="--in-iface NAME, or --routes FILE")
        device = route.device.name
        node.assume(f"the packet comes in on {device}: the route to {ip4_text(probe.src)} is out of it")
    if device:
        if device not in node.links:
            node.link(device)
            node.assume(f"there is an interface {device}")
            net, _sent = node.build()
        way = net.ipv4.fib.lookup(probe.src)
        if way is None or way.device is not net.device(device):
            if not node.routes_given:
                node.extra.append(Item({"dst": ip4_text(probe.src), "dev": device, "scope": "link"}))
                node.assume(f"{ip4_text(probe.src)} is behind {device}: there is no such route")
    return replace(probe, device=device)
