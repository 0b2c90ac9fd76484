"""A table's chains over those of an earlier moment: a change costs what it changes, not what is there.

Reads as the dict would that was copied and changed, in its order. What holds one never changes it, as with all rules.
Must not know what a chain is for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from emu.fork import itself
from emu.kernel.netfilter.ruleset import Chain

PART = 16  # a copy is made when more than one of so many chains has changed


class Layered(Mapping[str, Chain]):
    """`own` has the chains that changed, in the order of a dict; None: the chain is gone."""

    __slots__ = ("_base", "_count", "_own")
    __deepcopy__ = itself

    def __init__(self, base: dict[str, Chain], own: dict[str, Chain | None]) -> None:
        self._base, self._own = base, own
        more = sum(chain is not None for name, chain in own.items() if name not in base)
        gone = sum(chain is None for name, chain in own.items() if name in base)
        self._count = len(base) + more - gone

    def __getitem__(self, name: str) -> Chain:
        chain = self._own[name] if name in self._own else self._base[name]
        if chain is None:
            raise KeyError(name)
        return chain

    def __contains__(self, name: object) -> bool:
        return self._own[name] is not None if name in self._own else name in self._base

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Layered) and other._base is self._base and other._own == self._own:
            return True
        return super().__eq__(other)

    __hash__ = None  # type: ignore[assignment]  # compared by value, as dicts are

    def __iter__(self) -> Iterator[str]:
        own, base = self._own, self._base
        yield from (name for name in base if own.get(name, name) is not None)
        yield from (name for name, chain in own.items() if chain is not None and name not in base)

    def __len__(self) -> int:
        return self._count

    def changed(self, chains: Mapping[str, Chain | None]) -> Mapping[str, Chain]:
        """The same with these chains; None: that one goes."""
        own = dict(self._own)
        for name, chain in chains.items():
            if chain is not None and name in own and own[name] is None:
                return _copied(self, chains)  # what comes again stands at the end
            if chain is None and name not in self._base:
                own.pop(name, None)
            else:
                own[name] = chain
        return Layered(self._base, own) if len(own) * PART <= len(self._base) else _copied(self, chains)


def changed(chains: Mapping[str, Chain], other: Mapping[str, Chain | None]) -> Mapping[str, Chain]:
    """`chains` with others in place of these, further ones at the end, and without those that are None."""
    if isinstance(chains, Layered):
        return chains.changed(other)
    if isinstance(chains, dict) and len(other) * PART <= len(chains):
        return Layered(chains, {}).changed(other)
    return _copied(chains, other)


def _copied(chains: Mapping[str, Chain], other: Mapping[str, Chain | None]) -> dict[str, Chain]:
    both = dict(chains)
    for name, chain in other.items():
        if chain is None:
            both.pop(name, None)
        else:
            both[name] = chain
    return both
