"""What of an export's objects is not modelled, one sentence for all objects that it concerns. Must not know the objects."""

from __future__ import annotations

import re
from collections.abc import Iterable

from emu.kube.api.fields import PLACEMENT
from emu.kube.api.loader import LEFT_OUT
from emu.modelled import Finding

_INDEX = re.compile(r"\[\d+\]")


def gathered(found: Iterable[Finding]) -> list[Finding]:
    """The findings, those of one text together; what only decides where pods are placed is left out, for all have their place."""
    together: dict[str, list[Finding]] = {}
    for each in found:
        if not each.what.endswith(PLACEMENT):
            apart = each.about if each.what.startswith(LEFT_OUT) else ""  # who is missing is named
            together.setdefault(apart + _INDEX.sub("[]", each.what), []).append(each)
    return [_one(of_a_kind) for of_a_kind in together.values()]


def _one(found: list[Finding]) -> Finding:
    first, more = found[0], len({each.about for each in found}) - 1
    return first if not more else first._replace(about=f"{first.about} and {more} more")
