"""Where the pods of all nodes are: one prefix, found once for a view that many nodes have. Must not know which agents ask."""

from __future__ import annotations

from collections.abc import Iterable

from emu.wire.addr import Prefix, covering


class Within:
    """The smallest prefix that has the pod CIDRs of all views so far: routes to a node that left are removed, too."""

    def __init__(self) -> None:
        self._view: object = None
        self._prefix: Prefix | None = None

    def of(self, view: object, subnets: Iterable[Prefix]) -> Prefix:
        """`subnets` are those of `view`."""
        if view is not self._view:
            seen = () if self._prefix is None else (self._prefix,)
            held = (*subnets, *seen)
            self._view, self._prefix = view, covering(held) if held else None
        return self._prefix or Prefix(0, 0)
