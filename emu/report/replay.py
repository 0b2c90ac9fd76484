"""A replay as people read it: each flow, what became of each recorded packet, and whether all is as recorded.

It keeps so many packets as it may show, those that differ before others, and counts all. Must not know commands or terminals.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from emu.kube.flow.replay.engine import Totals
from emu.kube.flow.replay.paired import VERDICTS, FlowResult, Paired
from emu.report import Report, columns

SHOWN, SHOWN_FLOWS = 100, 100
HELD, DIFFERS, UNDECIDED = 0, 1, 3
FLOW_HEADINGS = ("FLOW", "CLIENT", "SERVER", "RECORDED", "OUTCOME", "AT", "NAT", "ARRIVED", "PAYLOAD")
FLOW_KEYS = ("flow", "client", "server", "words", "outcome", "at", "nat", "arrived", "payload")
PACKET_HEADINGS = ("NO", "FLOW", "", "PACKET", "BECAME", "AT", "TTL", "WHAT")
PACKET_KEYS = ("number", "flow", "way", "packet", "became", "at", "ttl", "what")


@dataclass
class Collected:
    """A sink of a replay. `shown`: how many packets and flows it keeps of each sort (0: of packets none)."""

    shown: int = SHOWN
    different: list[Paired] = field(default_factory=list)
    others: list[Paired] = field(default_factory=list)
    flows: list[FlowResult] = field(default_factory=list)
    left: int = 0
    left_flows: int = 0

    def packet(self, found: Paired) -> None:
        kept = self.different if found.differences else self.others
        if len(kept) < self.shown:
            kept.append(found)
        else:
            self.left += 1

    def flow(self, found: FlowResult) -> None:
        if len(self.flows) < SHOWN_FLOWS:
            self.flows.append(found)
        elif found.differences and (alike := next((each for each in self.flows if not each.differences), None)):
            self.flows[self.flows.index(alike)] = found
            self.left_flows += 1
        else:
            self.left_flows += 1

    @property
    def packets(self) -> list[Paired]:
        """What is shown, in the recording's order; all that differ have their place first."""
        room = max(self.shown - len(self.different), 0)
        return sorted([*self.different, *self.others[:room]], key=lambda each: each.number)


def exit_status(totals: Totals) -> int:
    """3: the outcome of a flow depends on what is not modelled; 1: something is not as recorded, or nothing was replayed."""
    if totals.undecided:
        return UNDECIDED
    return DIFFERS if totals.differences or not totals.flows else HELD


def replay(name: str, mode: str, totals: Totals, collected: Collected, notes: Sequence[str] = ()) -> Report:
    """The flows, the packets, and one sentence that agrees with the exit status."""
    flows = [_flow(each) for each in sorted(collected.flows, key=lambda each: each.number)]
    packets = [_packet(each) for each in collected.packets]
    notes = [*notes, *totals.notes]
    if totals.cut_sleeps:
        notes.append(f"{totals.cut_sleeps} gaps between packets were longer than --maxsleep, and cut")
    data = {
        "capture": name,
        "mode": mode,
        "packets": totals.packets,
        "flows": totals.flows,
        "verdicts": {verdict: totals.counts[verdict] for verdict in VERDICTS},
        "leftOut": dict(totals.left_out),
        "differences": totals.differences,
        "undecided": totals.undecided,
        "virtualNs": totals.elapsed_ns,
        "flowList": flows,
        "packetList": packets,
        "notListed": {"packets": totals.packets - len(packets), "flows": totals.flows - len(flows)},
        "notes": notes,
        "exitStatus": exit_status(totals),
    }
    return Report(data, _text(data, collected, totals))


def _flow(found: FlowResult) -> dict[str, Any]:
    equal, compared = found.payload
    counts = Counter(found.counts)
    return {
        "flow": found.number,
        "kind": found.kind,
        "client": found.client,
        "server": found.server,
        "recorded": found.recorded,
        "outcome": found.outcome,
        "at": found.at,
        "nat": found.nat,
        "verdicts": {verdict: counts[verdict] for verdict in VERDICTS if counts[verdict]},
        "payloadBytes": compared,
        "payloadEqual": equal,
        "bytesThatTheFileLacks": counts["lacking"],
        "differences": list(found.differences),
        "moreDifferences": max(counts["differences"] - len(found.differences), 0),
        "undecided": found.undecided,
    }


def _packet(found: Paired) -> dict[str, Any]:
    return {
        "number": found.number,
        "flow": found.flow,
        "way": found.way,
        "packet": found.words,
        "verdict": found.verdict,
        "at": found.at,
        "why": found.why,
        "rewritten": [each._asdict() for each in found.changes],
        "ttl": found.ttl,
        "differences": list(found.differences),
        "notes": list(found.notes),
    }


def _text(data: dict[str, Any], collected: Collected, totals: Totals) -> str:
    parts = []
    if data["flowList"]:
        rows = [_flow_row(each) for each in data["flowList"]]
        parts.append(columns(FLOW_HEADINGS, rows, FLOW_KEYS))
        if data["notListed"]["flows"]:
            parts.append(f"... and {data['notListed']['flows']:,} more flows")
    if data["packetList"]:
        rows = [_packet_row(each) for each in data["packetList"]]
        parts.append(columns(PACKET_HEADINGS, rows, PACKET_KEYS))
        if data["notListed"]["packets"]:
            parts.append(f"... and {data['notListed']['packets']:,} more packets (--show N lists more)")
    beside = [
        f"flow {each['flow']}: {what}"
        for each in data["flowList"]
        for what in each["differences"]
        if not what.startswith("packet ")
    ]
    if beside:
        parts.append("\n".join(beside))
    parts.append(_sentence(totals))
    return "\n\n".join(parts)


def _flow_row(each: dict[str, Any]) -> dict[str, Any]:
    verdicts = each["verdicts"]
    arrived = verdicts.get("same", 0) + verdicts.get("rewritten", 0)
    sent = sum(verdicts.values())
    payload = f"{each['payloadEqual']:,}/{each['payloadBytes']:,}" if each["payloadBytes"] else ""
    words = f"{each['kind']} {each['recorded']}"
    return {**each, "words": words, "arrived": f"{arrived}/{sent}", "payload": payload}


def _packet_row(each: dict[str, Any]) -> dict[str, Any]:
    changes = [f"{one['name']} {one['before']} -> {one['after']}" for one in each["rewritten"]]
    found = [f"DIFFERS: {what}" for what in each["differences"] if not what.startswith(("not sent", "dropped"))]
    what = "; ".join([*changes, *([each["why"]] if each["why"] else []), *found, *each["notes"]])
    differs = bool(each["differences"])
    became = f"{each['verdict']} !" if differs else each["verdict"]
    return {**each, "flow": each["flow"] or "", "became": became, "ttl": each["ttl"] or "", "what": what}


def _sentence(totals: Totals) -> str:
    """`10 packets, 1 flow: 6 rewritten, 4 not sent; as recorded`."""
    counts = ", ".join(f"{totals.counts[verdict]:,} {verdict}" for verdict in VERDICTS if totals.counts[verdict])
    packets = f"{totals.packets:,} packet{'s' * (totals.packets != 1)}"
    flows = f"{totals.flows:,} flow{'s' * (totals.flows != 1)}"
    if totals.undecided:
        held = f"{totals.undecided:,} flow{'s' * (totals.undecided != 1)} undecided"
    elif not totals.flows:
        held = "nothing was replayed"
    elif totals.differences:
        held = f"{totals.differences:,} difference{'s' * (totals.differences != 1)}"
    else:
        held = "as recorded"
    return f"{packets}, {flows}: {counts or 'none'}; {held}"
