"""Policies as tables: who may come in to a pod and go out of it, the truth table of all pods, and what differs between two sets.

By the pure function, so that it holds for every dataplane that does what the API states. Must not know packets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from emu.kube.policy.ends import End
from emu.kube.policy.index import PolicyIndex
from emu.kube.policy.reach import Span, breaks, ports_text, spans
from emu.kube.policy.rules import WAYS, Way
from emu.kube.policy.verdict import Packet
from emu.report import Report, columns

Ends = Mapping[str, End]
MOST_NAMES = 4  # peers that a line names


def explain(index: PolicyIndex, name: str, ends: Ends) -> Report:
    """Who may come in to a pod, and where it may go: peers with the same ports and reasons share a row."""
    own = ends[name]
    assert own.pod is not None
    cuts = breaks(index, ends.values())
    rows: list[dict[str, Any]] = []
    bound = {}
    for way in WAYS:
        selecting = index.selecting(own.pod, way)
        bound[way] = [str(each) for each in (*selecting.admin, *selecting.own, *selecting.baseline)]
        groups: dict[tuple[str, tuple[str, ...]], list[str]] = {}
        for other, end in ends.items():
            if other != name:
                found = [*spans(index, *((end, own) if way == "ingress" else (own, end)), cuts)]
                groups.setdefault(_of(found, way), []).append(other)
        for (ports, reasons), peers in groups.items():
            rows.append({"direction": way, "peers": peers, "ports": ports, "by": list(reasons)})
    lines = [f"{name} is selected for {way} by: {', '.join(bound[way]) or 'no policy'}" for way in WAYS]
    shown = [{**row, "peers": _short(row["peers"])} for row in rows]
    table = columns(("DIRECTION", "PEERS", "PORTS", "BY"), shown, ("direction", "peers", "ports", "by"))
    return Report({"pod": name, "policies": bound, "connections": rows}, "\n".join([*lines, "", table]))


def _of(found: Sequence[Span], way: Way) -> tuple[str, tuple[str, ...]]:
    """The ports that may be used in all, and why: of this pod's side, or of the other where that decides."""
    open_ = [span for span in found if span.verdict.allowed]
    reasons = []
    for span in open_ or found:
        verdict = span.verdict
        mine, other = (verdict.ingress, verdict.egress) if way == "ingress" else (verdict.egress, verdict.ingress)
        decides = mine.allowed and (not other.allowed or (other.policies and not mine.policies))
        reasons.append(f"their {other.way}: {other}" if decides else str(mine))
    return ports_text(open_), tuple(dict.fromkeys(reasons))


def _short(names: Sequence[str]) -> str:
    more = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def matrix(index: PolicyIndex, ends: Ends, ports: Sequence[tuple[str, int]]) -> Report:
    """The truth table of each port: `.` a connection is allowed, `X` it is not, `-` a thing with itself. Rows call columns."""
    names = [*ends]
    data, blocks = {}, []
    for protocol, port in ports:
        cells = {
            one: {
                other: "-"
                if one == other
                else "."
                if index.judge(Packet(ends[one], ends[other], protocol, port)).allowed
                else "X"
                for other in names
            }
            for one in names
        }
        data[f"{port}/{protocol}"] = cells
        rows = [{"": one, **cells[one]} for one in names]
        blocks.append(columns((f"{port}/{protocol}", *names), rows, ("", *names)))
    return Report(data, "\n\n".join(blocks))


def declared(index: PolicyIndex, ends: Ends) -> list[tuple[str, int]]:
    """The ports that policies name by number, or else 80/TCP: what a matrix is made of that names none."""
    found: dict[tuple[str, int], None] = {}
    for policy in index.policies:
        for each in (ports for rules in policy.rules.values() for rule in rules for ports in rule.ports or ()):
            if each.name:
                for end in ends.values():
                    found.update(dict.fromkeys((p.protocol, p.number) for p in (each.of(end.pod) if end.pod else ())))
            elif each.protocol and each.first:
                found[each.protocol, each.first] = None
    return sorted(found) or [("TCP", 80)]


def difference(before: tuple[PolicyIndex, Ends], after: tuple[PolicyIndex, Ends]) -> Report:
    """What may connect on other ports than before: a row for each pair, with the reason of the later verdict."""
    rows = []
    cuts = sorted({*breaks(before[0], before[1].values()), *breaks(after[0], after[1].values())})
    for one in after[1]:
        for other in after[1]:
            if one == other or one not in before[1] or other not in before[1]:
                continue
            old, new = ([*spans(index, ends[one], ends[other], cuts)] for index, ends in (before, after))
            ports = [ports_text(span for span in each if span.verdict.allowed) for each in (old, new)]
            if ports[0] != ports[1]:
                closed = [span for span in new if not span.verdict.allowed] or new
                by = dict.fromkeys(str(span.verdict.deciding) for span in closed)
                rows.append({"from": one, "to": other, "before": ports[0], "after": ports[1], "by": list(by)})
    if not rows:
        return Report([], "no pair may connect on other ports than before")
    return Report(rows, columns(("FROM", "TO", "BEFORE", "AFTER", "BY"), rows, ("from", "to", "before", "after", "by")))
