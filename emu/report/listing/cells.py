"""What a table of objects consists of, and the words that several kinds print. Must not know a kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from emu.kube.api.meta import LabelSelector
from emu.kube.store import Store

NONE = "<none>"


class Columns(NamedTuple):
    """What a kind shows: the headings, the further ones of `wide`, and a row of one object. AGE stands where kubectl has it,
    "" in these lists. `qualified`: how kubectl writes the kind where it lists several. `of`: the kind of the objects that a table is made of."""

    headings: tuple[str, ...]
    wide: tuple[str, ...]
    row: Callable[[Any, Store], Sequence[str]]
    qualified: str = ""
    of: str = ""


def labels(pairs: dict[str, str]) -> str:
    """FormatLabels of apimachinery."""
    return ",".join(f"{key}={value}" for key, value in sorted(pairs.items())) or NONE


def selector(chosen: LabelSelector) -> str:
    """FormatLabelSelector of apimachinery."""
    words = [f"{key}={value}" for key, value in chosen.match_labels.items()]
    for each in chosen.match_expressions:
        values = f"({','.join(sorted(each.values))})"
        words.append({
            "In": f"{each.key} in {values}", "NotIn": f"{each.key} notin {values}", "Exists": each.key, "DoesNotExist": f"!{each.key}",
        }[each.operator])  # fmt: skip
    return ",".join(sorted(words)) or NONE
