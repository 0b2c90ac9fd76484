"""What a question is, and what it is made of. Must not know kinds."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from emu.capture.captured import Captured
from emu.wire.addr import ip4_text
from emu.wire.frame import AF_INET

Names = Mapping[tuple[int, int], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Question:
    """Asked before frame `hop` of `flow` is shown. `answer` is the place of the right choice; `why` is that frame's sentence."""

    flow: int
    hop: int
    kind: str
    ask: str
    choices: list[str]
    answer: int
    why: str


@dataclass(frozen=True, slots=True)
class Draft:
    """A question before its choices are put in order: the right one is the first. `about` is what makes it the same question."""

    ask: str
    choices: list[str]
    about: object


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is known around a flow's packets: the names of addresses and of all interfaces, by namespace the devices that its frames
    were seen at, and the numbers of the packets that a kernel answered."""

    names: Names
    interfaces: Collection[str]
    devices: Mapping[str, list[str]]
    answered: Collection[int]

    def named(self, addr: int) -> str:
        """`default/web (10.244.2.2)`, or the address alone."""
        known = self.names.get((AF_INET, addr))
        return f"{known[0]} ({ip4_text(addr)})" if known else ip4_text(addr)

    def hosts(self) -> list[int]:
        """The addresses of IPv4 that have a name: pods first, then the others, Services left out."""
        found = [(known[0], addr) for (family, addr), known in self.names.items() if family == AF_INET and known]
        pods = [
            addr for name, addr in found if "/" in name and name not in self.interfaces and not name.startswith("svc/")
        ]
        return pods + [addr for name, addr in found if name in self.interfaces]


@dataclass(frozen=True, slots=True)
class Sight:
    """A frame, and the sight before of the same packet (None: there is none, or it has other bytes)."""

    frame: Captured
    before: Captured | None

    @property
    def owner(self) -> str:
        return self.frame.place.owner

    @property
    def crossed(self) -> bool:
        """Did the packet come in to this namespace before, and is on its way out of it now?"""
        before = self.before
        return (
            before is not None
            and before.place.owner == self.owner
            and before.direction == "in"
            and self.frame.direction == "out"
        )
