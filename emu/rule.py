"""A rule of any mode, as trails and reports have it.

A file of its own, because modes that are not compiled derive from it. Must not know any mode.
"""

from __future__ import annotations


class AnyRule:
    """A rule of any mode, as trails have it: what matched, and what words need of it. A mode's own rule derives from it.

    `number` counts from 1 in its chain, `line` is its line in a file (0: no file); `str()` gives the whole rule.
    """

    __slots__ = ()

    # declared, not defined: a default here would be one of a dataclass that derives from it
    table: str
    chain: str
    number: int
    line: int
    comment: str

    @property
    def spec(self) -> str:
        """The rule without its place, as the mode's own tool writes it."""
        raise NotImplementedError

    @property
    def act(self) -> str:
        """What it does with a packet, in the tool's words; "" for one that only counts."""
        raise NotImplementedError

    @property
    def jump(self) -> str:
        """The chain that it calls, or ""."""
        raise NotImplementedError

    @property
    def based(self) -> bool:
        """Is its chain one that a hook calls?"""
        raise NotImplementedError

    @property
    def rejects(self) -> bool:
        """Does it drop a packet with an answer?"""
        raise NotImplementedError
