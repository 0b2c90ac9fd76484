"""Objects of a cluster as `kubectl get` prints them.

The columns are those of pkg/printers/internalversion of Kubernetes; each kind has its row in `core.py` or `workloads.py`. An
age is counted from the youngest object. Must not know terminals.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from emu.errors import InputError
from emu.kube.api.kinds import kind_named
from emu.kube.api.meta import LabelSelector, Object, to_value
from emu.kube.store import Store
from emu.report import Report, columns
from emu.report.listing import core, workloads
from emu.report.listing.ages import age
from emu.report.listing.cells import Columns, labels

TABLES: dict[str, Columns] = core.TABLES | workloads.TABLES
# kubectl's category `all`, in its order
ALL = (
    "pod",
    "replicationcontroller",
    "service",
    "daemonset",
    "deployment",
    "replicaset",
    "statefulset",
    "cronjob",
    "job",
)


class Shown(NamedTuple):
    """How objects are printed: with the further columns of `wide`, with their `labels`, or only by `name`."""

    wide: bool = False
    labels: bool = False
    name: bool = False


AS_TABLES = Shown()


def listing(
    store: Store,
    kinds: str,
    names: Sequence[str] = (),
    *,
    namespace: str | None = "default",
    selector: LabelSelector | None = None,
    shown: Shown = AS_TABLES,
) -> Report:
    """The objects of a kind, of several with commas between, or of `all` kinds that kubectl counts among them, in one
    namespace (None: in all), those with these names, or those that `selector` selects. An object may be given as KIND/NAME.
    Raises InputError."""
    asked = _asked(kinds, names)
    if selector is not None and asked[0][1]:
        raise InputError("a selector and names are given", expected="one of them, as in kubectl")
    found = [(word, _found(store, word, some, namespace, selector)) for word, some in asked]
    items = [to_value(each) for _, objects in found for each in objects]
    if shown.name:
        text = "\n".join(f"{TABLES[word].qualified or word}/{each.name}" for word, objects in found for each in objects)
    else:
        tables = [_table(store, word, each, namespace, shown, several=len(asked) > 1) for word, each in found if each]
        text = "\n\n".join(tables) or _nothing(dict(asked), namespace)
    return Report({"apiVersion": "v1", "kind": "List", "items": items}, text)


def _asked(kinds: str, names: Sequence[str]) -> list[tuple[str, Sequence[str]]]:
    """Which kinds, and the names of each (none: all of them). `kinds` may be KIND/NAME, and so are the names then."""
    if "/" in kinds:
        pairs = [each.partition("/") for each in (kinds, *names)]
        for kind, slash, name in pairs:
            if not slash or not name:
                raise InputError(f'"{kind}{slash}" is not KIND/NAME', expected="each object as KIND/NAME")
        return [(_printed(kind), (name,)) for kind, _, name in pairs]
    return [
        (word, names)
        for each in kinds.split(",")
        if each
        for word in (ALL if each.lower() == "all" else [_printed(each)])
    ]


def _printed(kind: str) -> str:
    word = kind_named(kind.partition(".")[0])
    if word not in TABLES:
        raise InputError(f"emu get prints no {kind}", expected=", ".join(TABLES))
    return word


def _found(
    store: Store, word: str, names: Sequence[str], namespace: str | None, selector: LabelSelector | None
) -> list[Object]:
    where = None if word == "node" else namespace
    found = sorted(store.list(TABLES[word].of or word, where), key=lambda each: (each.namespace, each.name))
    if selector is not None:
        return [each for each in found if selector.matches(each.metadata.labels)]
    if not names:
        return found
    known = {each.name for each in found}
    for name in names:
        if name not in known:
            raise InputError(f'there is no {word} "{name}"', expected=", ".join(sorted(known)[:8]) or f"a {word}")
    return [each for each in found if each.name in names]


def _table(store: Store, word: str, found: Sequence[Object], namespace: str | None, shown: Shown, several: bool) -> str:
    """One table. Of `several`, a name has its kind before it."""
    table, now = TABLES[word], _now(store)
    heads = ("NAMESPACE", "NAME") if namespace is None and word != "node" else ("NAME",)
    headings = (*table.headings, *(table.wide if shown.wide else ()))
    rows = [_row(heads, headings, each, table.row(each, store), now) for each in found]
    if several:
        rows = [row | {"NAME": f"{table.qualified or word}/{row['NAME']}"} for row in rows]
    keys = [*heads, *(each or "AGE" for each in headings)]
    if shown.labels:
        rows = [row | {"LABELS": labels(each.metadata.labels)} for row, each in zip(rows, found, strict=True)]
        keys.append("LABELS")
    return columns(keys, rows, keys)


def _nothing(words: Collection[str], namespace: str | None) -> str:
    everywhere = namespace is None or "node" in words
    return "No resources found" if everywhere else f"No resources found in {namespace} namespace."


def _row(heads: Sequence[str], headings: Sequence[str], obj: Object, cells: Sequence[str], now: str) -> dict[str, str]:
    names = dict(zip(("NAMESPACE", "NAME")[-len(heads) :], (obj.namespace, obj.name)[-len(heads) :], strict=True))
    rest = iter(cells)
    since = age(obj.metadata.creation_timestamp or "", now)
    return names | {head or "AGE": next(rest) if head else since for head in headings}


def _now(store: Store) -> str:
    return max((each.metadata.creation_timestamp or "" for each in store), default="")
