"""How emu treats each setting: it is used, it has no effect on packets, or it is not modelled.

Every sysctl, field of a Kubernetes object, kube-proxy option and CNI key is declared with one of these words. A setting
that is not modelled, or that no one knows, is reported as a `Finding`.
Must not know any of the things that are declared.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, NamedTuple


class Used(NamedTuple):
    """Read by the modules `readers` (paths below `emu/`, without `.py`)."""

    readers: tuple[str, ...] = ()


class WithoutEffect(NamedTuple):
    """The setting changes no packet; `why` is the reason in a few words."""

    why: str


class Fate(NamedTuple):
    """The flows whose outcome may differ: flows of these kinds (tcp, udp, ping, send ...; () means any) that ended with one
    of these outcomes (() means any)."""

    kinds: tuple[str, ...] = ()
    outcomes: tuple[str, ...] = ()

    def concerns(self, kind: str, outcome: str) -> bool:
        """Whether a flow of this kind with this outcome is one of them."""
        return (not self.kinds or kind in self.kinds) and (not self.outcomes or outcome in self.outcomes)


class NotModelled(NamedTuple):
    """`what` would differ on Linux or in Kubernetes. Without `fate` frames, times or choices may differ; with `fate` the
    outcome of flows may, which is then undecided. `defaults` are values that change nothing; a value equal to the
    field `same_as` of the same object changes nothing either."""

    what: str
    fate: Fate | None = None
    defaults: tuple[Any, ...] = ()
    same_as: str = ""


Treatment = Used | WithoutEffect | NotModelled


class Finding(NamedTuple):
    """One report: the `place` ("file:line", or ""), the object or setting it is `about`, `what` it is, and the `id` under which
    `emu lint` lists it (`emu/lint/catalogue.py`)."""

    place: str
    about: str
    what: str
    id: str = "setting-not-modelled"

    @property
    def file(self) -> str:
        """Of its place; "" where no file is known."""
        return self._placed[0]

    @property
    def line(self) -> int:
        """Of its place; 0 where no line is known."""
        return self._placed[1]

    @property
    def _placed(self) -> tuple[str, int]:
        head, _, last = self.place.removeprefix("line ").rpartition(":")
        return (head, int(last)) if last.isdecimal() else (self.place, 0)

    def __str__(self) -> str:
        return ": ".join(part for part in (self.place, self.about, self.what) if part)


def used(*readers: str) -> Used:
    """A thing that the named modules read."""
    return Used(readers)


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word nearest to a misspelt one, or "". Case does not count."""
    by_lower = {each.lower(): each for each in known}
    near = get_close_matches(word.lower(), by_lower, n=1, cutoff=0.7)
    return by_lower[near[0]] if near else ""
