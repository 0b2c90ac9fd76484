"""What a question is, and what it is made of. Must not know kinds."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from emu.wire.addr import ip4_text


class Place(Protocol):
    """An interface."""

    @property
    def name(self) -> str: ...
    @property
    def owner(self) -> str: ...
    @property
    def device_name(self) -> str: ...
    @property
    def kind(self) -> str: ...


class Seen(Protocol):
    """A frame at an interface, as a capture has it."""

    @property
    def flow(self) -> int: ...
    @property
    def hop(self) -> int: ...
    @property
    def packet_number(self) -> int: ...
    @property
    def cause(self) -> int: ...
    @property
    def place(self) -> Place: ...
    @property
    def direction(self) -> str: ...
    @property
    def data(self) -> bytes: ...
    @property
    def trail(self) -> Sequence[Any]: ...
    def comment(self) -> str: ...


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

    names: Mapping[str, str]
    interfaces: Collection[str]
    devices: Mapping[str, list[str]]
    answered: Collection[int]

    def named(self, addr: int) -> str:
        """`default/web (10.244.2.2)`, or the address alone."""
        return self.shown(ip4_text(addr))

    def shown(self, addr: str) -> str:
        known = self.names.get(addr)
        return f"{known} ({addr})" if known else addr

    def hosts(self) -> list[str]:
        """The addresses that have a name: pods first, then interfaces of nodes; Services are left out."""
        found = self.names.items()
        pods = [
            addr for addr, name in found if "/" in name and name not in self.interfaces and not name.startswith("svc/")
        ]
        return pods + [addr for addr, name in found if name in self.interfaces]


@dataclass(frozen=True, slots=True)
class Sight:
    """A frame, and the sight before of the same packet (None: there is none, or it has other bytes)."""

    frame: Seen
    before: Seen | None

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
