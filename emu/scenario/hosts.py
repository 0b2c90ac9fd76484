"""Steps that set up the network of one host, as an administrator there does: what they share.

A step names its host by `node`, `pod` or `external`. Errors of a list get the place of its entry. Must not know which steps there are,
or what a command means.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Annotated, ClassVar, Protocol, TypeVar

from msgspec import Meta

from emu.errors import InputError
from emu.kernel.net.netns import Netns
from emu.scenario.endpoints import endpoint
from emu.scenario.ends import Ends
from emu.scenario.kinds import Part
from emu.scenario.steps import Action, Doing, Place

Lines = Annotated[str | tuple[str, ...], Meta(description="one command, several as a list, or a text with one a line")]


class Host(Part, frozen=True):
    """The host that a step works on: a node, a pod as NAMESPACE/NAME, or a host outside or of the underlay, such as its router."""

    node: str = ""
    pod: str = ""
    external: str = ""

    @property
    def name(self) -> str:
        """As messages write it."""
        return self.node or self.pod or self.external

    @property
    def key(self) -> str:
        """The key that names it."""
        return "node" if self.node else "pod" if self.pod else "external"

    @property
    def reference(self) -> str:
        """As a source of a flow is written."""
        return self.pod if "/" in self.pod else f"{self.key}/{self.name}"

    def check(self, place: Place) -> None:
        """One host is named, by a name. Raises InputError."""
        if [bool(self.node), bool(self.pod), bool(self.external)].count(True) != 1:
            what = f"{place.step.action} belongs to one host"
            raise InputError(what, expected="node: NAME, pod: NS/NAME or external: NAME")
        with place.at(self.key):
            found = endpoint(self.reference)
            if any(letter in self.reference for letter in "*?[") or found.port or found.kind != self.key:
                expected = {"node": "the name of a node", "pod": "NAMESPACE/NAME", "external": "the name of a host"}
                raise InputError(f'"{self.name}" is not one {self.key}', expected=expected[self.key])


class Configures(Protocol):
    """The verb of the cluster that these actions use."""

    def configure(self, where: str, change: Callable[[Netns], None]) -> None: ...


H = TypeVar("H", bound=Host)
C = TypeVar("C", bound=Configures)


class HostAction(Action[H, C]):
    """An action on the namespace of one host. It states what it did in `doing.done.change`."""

    def check(self, part: H, place: Place) -> None:
        part.check(place)
        self.check_change(part, place)

    def resolve(self, part: H, place: Place, ends: Ends) -> None:
        with place.at(part.key):
            ends.senders(part.reference)

    def run(self, part: H, doing: Doing[C]) -> None:
        with doing.place.at(part.key):
            doing.ends.senders(part.reference)
        words = self.words(part)
        doing.cluster.configure(part.reference, lambda net: self.change(part, net, doing.place))
        doing.done.change = f"{doing.step.action} of {part.name}: {words}"

    def check_change(self, part: H, place: Place) -> None:
        """What can be known of the change without the host. Raises InputError."""
        raise NotImplementedError

    def change(self, part: H, net: Netns, place: Place) -> None:
        """Change the host. Raises InputError."""
        raise NotImplementedError

    def words(self, part: H) -> str:
        """What the change is, in a few words."""
        raise NotImplementedError


class Commands(Host, frozen=True):
    """A host, and commands for it by verb. The verbs come in one order, whatever that of the file: what is in the way goes first.
    A step declares those that its command has."""

    @property
    def verbs(self) -> list[tuple[str, str | tuple[str, ...]]]:
        """The verbs with their commands; `gone` is the key `del`."""
        found = [name for name in ("gone", "replace", "append", "add") if name in self.__struct_fields__]
        return [("del" if name == "gone" else name, getattr(self, name)) for name in found]


K = TypeVar("K", bound=Commands)


class CommandsAction(HostAction[K, C]):
    """An action that runs a tool's commands on a host. `does` is what each verb does, `what` the name of one thing that it
    changes."""

    does: ClassVar[Mapping[str, Callable[[Netns, str], None]]]
    what: ClassVar[str]

    @staticmethod
    def checks(verb: str, command: str, /) -> None:
        """What can be known of a command without the host. Raises InputError."""
        raise NotImplementedError

    def check_change(self, part: K, place: Place) -> None:
        if not any(value for _, value in part.verbs):
            last, *rest = (verb for verb, _ in part.verbs)
            raise InputError(f"no {self.what} is changed", expected=f"{', '.join(sorted(rest))} or {last}")
        for verb, value in part.verbs:
            each_line(value, place, verb, partial(self.checks, verb))

    def change(self, part: K, net: Netns, place: Place) -> None:
        for verb, value in part.verbs:
            each_line(value, place, verb, partial(self.does[verb], net))

    def words(self, part: K) -> str:
        return ", ".join(f"{verb} {shown(value)}" for verb, value in part.verbs if value)


def lines(value: str | Sequence[str]) -> list[tuple[int, str]]:
    """The commands of a key, each with its number from 0; empty lines and comments are none."""
    found = enumerate(value.split("\n") if isinstance(value, str) else value)
    return [(number, line.strip()) for number, line in found if line.strip() and line.strip()[0] != "#"]


@contextmanager
def text_at(place: Place, key: str) -> Iterator[None]:
    """An InputError of the block gets the place of a key's text; the line that it names is one of the text."""
    with place.at(key):
        try:
            yield
        except InputError as error:
            where = f"line {error.line} of the text: " if error.line else ""
            raise InputError(where + error.what, expected=error.expected) from None


def each_line(value: str | Sequence[str], place: Place, key: str, work: Callable[[str], None]) -> None:
    """Do `work` with each command of a key. Raises InputError with the command's place."""
    several = isinstance(value, str) and "\n" in value.strip()
    for number, line in lines(value):
        path: tuple[str | int, ...] = (key,) if isinstance(value, str) else (key, number)
        with place.at(*path):
            try:
                work(line)
            except InputError as error:
                where = f"line {number + 1} of the text: " if several else ""
                raise InputError(where + error.what, expected=error.expected) from None


def counted(number: int, what: str) -> str:
    """`1 rule`, `3 rules`."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def shown(value: str | Sequence[str]) -> str:
    """The commands of a key, the first of many."""
    found = [line for _, line in lines(value)]
    return found[0] + (f" and {len(found) - 1} more" if len(found) > 1 else "") if found else "nothing"
