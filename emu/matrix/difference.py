"""What differs between the matrices of two clusters: outcome, endpoints, NAT or road of a flow, and the first hop that differs.

Sources are the same by name and kind, targets by Service, port and way; roads are in the words of `roads.py`, so that other names of pods and nodes
are no difference. Must not know how cells are found.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

from emu.matrix.ask import NOT_ASKED, Answer
from emu.matrix.ends import Column
from emu.matrix.table import LEGEND, Cell, Table

U = TypeVar("U")
Road = tuple[str, ...]


class Side(NamedTuple):
    """A flow in one of the clusters. `letter` "": the source or the target is not there."""

    letter: str = ""
    outcomes: tuple[str, ...] = ()
    cause: str = ""
    sentence: str = ""
    endpoints: tuple[str, ...] = ()
    nat: tuple[tuple[str, ...], ...] = ()
    roads: tuple[Road, ...] = ()

    @property
    def words(self) -> str:
        return f"{self.letter} {LEGEND[self.letter]}" if self.letter else "not there"


class Change(NamedTuple):
    """A flow that differs. `what` lists outcome, endpoints, nat and path; `hop` is the first hop that differs, before and after, "" for a road
    that has ended."""

    source: str
    target: str
    what: tuple[str, ...]
    before: Side
    after: Side
    hop: tuple[str, str] | None = None


class Difference(NamedTuple):
    """`flows` is how many were compared; `missing` are sources and targets that one side does not have, a sentence each."""

    changes: list[Change]
    missing: list[str]
    flows: int


def difference(before: Table, after: Table) -> Difference:
    """Every flow of either cluster, compared."""
    tables = before, after
    rows = [{(row.name, row.kind): number for number, row in enumerate(table.rows)} for table in tables]
    columns = [{_key(column): number for number, column in enumerate(table.columns)} for table in tables]
    missing = [
        *_missing("source", [[name for name, _ in each] for each in rows]),
        *_missing("target", [[_name(key) for key in each] for each in columns]),
    ]
    changes, flows = [], 0
    for row in dict.fromkeys((*rows[0], *rows[1])):
        for column in dict.fromkeys((*columns[0], *columns[1])):
            sides = [
                _side(table, each_row.get(row), each_column.get(column))
                for table, each_row, each_column in zip(tables, rows, columns, strict=True)
            ]
            if any(each.letter not in ("", NOT_ASKED) for each in sides):
                flows += 1
                found = _compared(row[0], _name(column), *sides)
                changes += [found] if found is not None else []
    return Difference(changes, missing, flows)


def _key(column: Column) -> tuple[str, str, str, int, str, str]:
    return column.namespace, column.service, column.port_name, column.number, column.protocol, column.by


def _name(key: tuple[str, str, str, int, str, str]) -> str:
    namespace, service, _, number, protocol, by = key
    text = f"{namespace}/{service}:{number}/{protocol.lower()}"
    return text if by in ("clusterIP", "headless") else f"{text} {by}"


def _missing(what: str, names: Sequence[Sequence[str]]) -> Iterator[str]:
    for own, other, where in ((names[0], names[1], "BEFORE"), (names[1], names[0], "AFTER")):
        for name in dict.fromkeys(own):
            if name not in other:
                yield f"{what} {name} is only in {where}"


def _side(table: Table, row: int | None, column: int | None) -> Side:
    if row is None or column is None:
        return Side()
    cell: Cell = table.cells[row][column]
    answers = [answer for answer, _ in cell.answers]
    return Side(
        cell.letter, _unique(map(_outcome, answers)), cell.first.cause if cell.first is not None else "",
        cell.first.sentence if cell.first is not None else "", tuple(sorted(table.endpoints[column])), _unique(each.nat for each in answers),
        _unique(each.path for each in answers),
    )  # fmt: skip


def _unique(found: Iterable[U]) -> tuple[U, ...]:
    return tuple(sorted(set(found), key=repr))


def _outcome(answer: Answer) -> str:
    return f"{answer.outcome} ({answer.detail})" if answer.detail else answer.outcome


def _compared(source: str, target: str, before: Side, after: Side) -> Change | None:
    pairs = (
        ("outcome", (before.letter, before.outcomes, before.cause), (after.letter, after.outcomes, after.cause)),
        ("endpoints", before.endpoints, after.endpoints), ("nat", before.nat, after.nat), ("path", before.roads, after.roads),
    )  # fmt: skip
    what = tuple(name for name, one, other in pairs if one != other)
    return Change(source, target, what, before, after, _first_hop(before.roads, after.roads)) if what else None


def _first_hop(before: Sequence[Road], after: Sequence[Road]) -> tuple[str, str] | None:
    """Of the first road that only one side has and the other side's that is most like it: where they part."""
    gone, come = [each for each in before if each not in after], [each for each in after if each not in before]
    if not gone and not come:
        return None
    if not before or not after:
        return (before[0][0], "") if before and before[0] else ("", after[0][0]) if after and after[0] else None
    one = gone[0] if gone else max(before, key=lambda each: _common(each, come[0]))
    other = max(come or after, key=lambda each: _common(each, one))
    at = _common(one, other)
    return (one[at] if at < len(one) else ""), (other[at] if at < len(other) else "")


def _common(one: Road, other: Road) -> int:
    """How many hops two roads share from their beginning."""
    pairs = zip(one, other, strict=False)
    return next((number for number, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


# -- as people and programs read it -------------------------------------------------------------------------

NAMES = 3
WHAT = ("outcome", "endpoints", "nat", "path")


def data_of(found: Difference) -> dict[str, Any]:
    return {
        "flows": found.flows,
        "missing": found.missing,
        "changes": [
            {
                "source": each.source, "target": each.target, "what": list(each.what), "before": _plain(each.before), "after": _plain(each.after),
                "first_hop": {"before": each.hop[0] or None, "after": each.hop[1] or None} if each.hop is not None else None,
            }
            for each in found.changes
        ],
    }  # fmt: skip


def _plain(side: Side) -> dict[str, Any]:
    return {
        "letter": side.letter or None, "outcomes": list(side.outcomes), "cause": side.cause or None, "sentence": side.sentence or None,
        "endpoints": list(side.endpoints), "nat": [list(each) for each in side.nat], "paths": [list(each) for each in side.roads],
    }  # fmt: skip


def text_of(found: Difference) -> str:
    """Flows of one target whose outcomes and endpoints change alike together."""
    if not found.changes and not found.missing:
        return f"None of {found.flows} flows differs."
    groups: dict[tuple[Any, ...], list[Change]] = {}
    for each in found.changes:
        one, other = each.before, each.after
        decided = (one.outcomes, one.cause, other.outcomes, other.cause)
        groups.setdefault((each.target, *decided, one.endpoints, other.endpoints), []).append(each)
    lines = [f"{len(found.changes)} of {found.flows} flows differ.", *found.missing]
    for (target, *_), changes in groups.items():
        lines += ["", *_group(target, changes)]
    return "\n".join(lines)


def _group(target: str, changes: Sequence[Change]) -> Iterator[str]:
    before, after = changes[0].before, changes[0].after
    what = [word for word in WHAT if any(word in each.what for each in changes)]
    yield f"{target} from {_some([each.source for each in changes])}: {', '.join(what)}"
    if "outcome" in what:
        yield f"  before: {_outcome_of(before)}"
        yield f"  after:  {_outcome_of(after)}"
    if "endpoints" in what:
        yield from (f"  - {each}" for each in before.endpoints if each not in after.endpoints)
        yield from (f"  + {each}" for each in after.endpoints if each not in before.endpoints)
    if "nat" in what and "outcome" not in what:
        for one, other in dict.fromkeys(
            (_nat(each.before), _nat(each.after)) for each in changes if "nat" in each.what
        ):
            yield f"  NAT: {one} before, {other} after"
    hops = dict.fromkeys(each.hop for each in changes if each.hop is not None)
    for one, other in [*hops][:NAMES]:
        yield f"  first hop that differs: {one or 'the end'} before, {other or 'the end'} after"


def _some(names: Sequence[str]) -> str:
    more = len(names) - NAMES
    return ", ".join(names[:NAMES]) + (f" and {more} more" if more > 0 else "")


def _outcome_of(side: Side) -> str:
    words = ", ".join(side.outcomes) or side.words
    return f"{words}: {side.sentence} [{side.cause}]" if side.cause else words


def _nat(side: Side) -> str:
    return " | ".join("; ".join(each) or "none" for each in side.nat) or "none"
