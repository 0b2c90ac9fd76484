"""The rules that a packet visited, as DOT: a chain is a cluster, its visited rules stand in order, the one that decided is marked.

Each possible outcome is a way through the graph, in a colour of its own, its steps numbered. Must not know how packets walk.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from emu.kernel.net.fib_semantics import Route
from emu.report.ladders.dot import RED, VIOLET, quoted
from emu.report.outcomes import DELIVERED, LEAVES, Trace
from emu.rule import AnyRule
from emu.trail import Natted, Note, Policy

COLOURS = ("#1f5fa8", "#b0461e", "#2e7d32", "#7b3fa0", "#8a6d00", "#00727a")
GREEN, AMBER = "#bfe8c4", "#ffe0a3"
LINE = 72  # letters of a line of a rule's text


class Way(Protocol):
    """One possible outcome: its share, the packet's trace, and how it ended in one line."""

    @property
    def probability(self) -> float: ...
    @property
    def trace(self) -> Trace: ...
    @property
    def ending(self) -> str: ...


@dataclass
class _Graph:
    """Chains with the lines of their nodes, the other nodes, and the edges."""

    chains: dict[tuple[str, str], dict[str, tuple[int, str]]] = field(default_factory=dict)
    others: dict[str, str] = field(default_factory=dict)
    edges: list[str] = field(default_factory=list)
    deciders: dict[str, str] = field(default_factory=dict)  # a node's colour


def graph(head: str, ways: Sequence[Way]) -> str:
    """A directed graph. `head` names the packet, `ways` are its outcomes, the most probable first."""
    found = _Graph()
    found.others["packet"] = f"{quoted('packet')} [shape=cds, label={quoted(head)}];"
    for number, way in enumerate(ways, 1):
        _add(found, number, way, len(ways))
    return "\n".join(["digraph emu {", *_lines(found), "}"])


def _add(found: _Graph, number: int, way: Way, of: int) -> None:
    """One way: its nodes, and an edge from each to the next."""
    nodes = ["packet"]
    for entry in way.trace.trail:
        node = _node(found, entry)
        if node and node != nodes[-1]:
            nodes.append(node)
    for node, colour in _deciders(way.trace):
        found.deciders[node] = colour
    end = f"outcome {number}"
    share = f"{way.probability:.4%}\n" if of > 1 else ""
    colour = GREEN if way.trace.word in (LEAVES, DELIVERED) else AMBER if way.trace.word == "undecided" else RED
    label = quoted(share + _wrapped(way.ending))
    found.others[end] = f"{quoted(end)} [shape=box, style=filled, fillcolor={quoted(colour)}, label={label}];"
    line = COLOURS[(number - 1) % len(COLOURS)]
    for step, (one, other) in enumerate(zip(nodes, [*nodes[1:], end], strict=True), 1):
        text = f"{number}/{step}" if of > 1 else str(step)
        found.edges.append(
            f"    {quoted(one)} -> {quoted(other)} [label={quoted(text)}, color={quoted(line)}, fontcolor={quoted(line)}];"
        )


def _node(found: _Graph, entry: Any) -> str:
    """The node of a trail's entry, made if it is new; "" for what is no node."""
    match entry:
        case AnyRule():
            name = _rule(entry)
            chain = found.chains.setdefault((entry.table, entry.chain), {})
            line = f", line {entry.line}" if entry.line else ""
            chain.setdefault(name, (entry.number, f"rule {entry.number}{line}\n{_wrapped(entry.spec)}"))
            return name
        case Policy():
            name = f"{entry.table} {entry.chain} policy"
            found.chains.setdefault((entry.table, entry.chain), {}).setdefault(
                name, (1 << 30, f"policy {entry.verdict}")
            )
            return name
        case Route():
            name = f"route {entry.text()}"
            found.others.setdefault(name, f"{quoted(name)} [shape=hexagon, label={quoted(_wrapped(name))}];")
            return name
    return ""


def _rule(rule: AnyRule) -> str:
    return f"{rule.table} {rule.chain} {rule.number}"


def _deciders(trace: Trace) -> Iterator[tuple[str, str]]:
    """The nodes that decided, with their colours: the rule before each NAT, and what ended the packet."""
    last: AnyRule | None = None
    for entry in trace.trail:
        if isinstance(entry, AnyRule) and entry.table == "nat":
            last = entry
        elif isinstance(entry, Natted) and last is not None:
            yield _rule(last), VIOLET
            last = None
    if isinstance(trace.by, AnyRule):
        yield _rule(trace.by), RED if not any(isinstance(entry, Note) for entry in trace.trail[-1:]) else AMBER
    elif isinstance(trace.by, Policy):
        yield f"{trace.by.table} {trace.by.chain} policy", RED


def _lines(found: _Graph) -> Iterator[str]:
    yield '    node [shape=box, style=filled, fillcolor=white, fontname="monospace", fontsize=10];'
    yield '    edge [fontname="sans-serif", fontsize=10];'
    for text in found.others.values():
        yield f"    {text}"
    for (table, chain), rules in found.chains.items():
        yield f"    subgraph {quoted(f'cluster_{table} {chain}')} {{"
        yield f"        label={quoted(f'{table} {chain}')};"
        for name, (_, label) in sorted(rules.items(), key=lambda item: item[1][0]):
            colour = found.deciders.get(name, "")
            mark = f", fillcolor={quoted(colour)}, penwidth=3" if colour else ""
            yield f"        {quoted(name)} [label={quoted(label)}{mark}];"
        yield "    }"
    yield from found.edges


def _wrapped(text: str) -> str:
    """A text in lines of about LINE letters, cut between words."""
    lines = [""]
    for word in text.split(" "):
        if lines[-1] and len(lines[-1]) + len(word) >= LINE:
            lines.append("")
        lines[-1] += f" {word}" if lines[-1] else word
    return "\n".join(lines)
