"""The commands of ipset's own test suite, given to emu's sets one by one: whether each holds as the suite wants it to.

A line is a status and a shell command. Those that create, fill, ask or empty a set are mapped; what other programs do with
a set (listings, scripts, other sets made by a pipe) is not, and a set that they changed is not asked any more. The old
names of types and options are written as `ipset save` writes them. Must not know how sets are kept.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from emu.clock import SECOND
from emu.errors import InputError
from emu.kernel.netfilter.ipset import IpSets
from emu.kernel.netfilter.ipset_text import add, holds, parse_ipset, remove

_COMMANDS = {
    "create": "create new n -N --create", "add": "add a -A --add", "del": "del d -D --del", "test": "test t -T --test",
    "flush": "flush f -F --flush", "destroy": "destroy x -X --destroy", "swap": "swap w -W --swap",
    "restore": "restore r -R --restore", "list": "list l -L --list save s -S --save",
}  # fmt: skip
COMMANDS = {spelling: name for name, spellings in _COMMANDS.items() for spelling in spellings.split()}
TYPES = {
    "iphash": "hash:ip", "ipmap": "bitmap:ip", "macipmap": "bitmap:ip,mac", "portmap": "bitmap:port", "nethash": "hash:net",
    "ipporthash": "hash:ip,port", "ipportiphash": "hash:ip,port,ip", "ipportnethash": "hash:ip,port,net",
    "ipmarkhash": "hash:ip,mark", "setlist": "list:set", "machash": "hash:mac",
}  # fmt: skip
_SHELL = re.compile(r"[|&;$`>()]")
_EXIST = ("-!", "-exist")
_NOT_RUN = ("iptree.t", "iptreemap.t")  # types that ipset 7 has no more; its own script leaves them out


class Unmapped(Exception):
    """The command is not one about sets that emu has."""


@dataclass(frozen=True, slots=True)
class Line:
    """One command of the suite. `wanted`: whether it succeeds."""

    file: str
    number: int
    wanted: bool
    command: str


def lines(suite: Path) -> Iterator[Line]:
    for path in sorted(suite.glob("tests/*.t")):
        if path.name in _NOT_RUN:
            continue
        for number, text in enumerate(path.read_text().splitlines(), 1):
            status, _, command = text.partition(" ")
            if status in ("0", "1"):
                yield Line(path.name, number, status == "0", command.strip())


@dataclass(slots=True)
class Bench:
    """The sets while one file is run. `lost`: names of sets that a command which is not mapped may have changed; `others`:
    it may have made sets, too."""

    folder: Path
    sets: IpSets = field(default_factory=IpSets)
    now_ns: int = 0
    lost: set[str] = field(default_factory=set)
    others: bool = False

    def run(self, command: str) -> bool:
        """Whether the command succeeds. Raises Unmapped."""
        if match := re.fullmatch(r"sleep (\d+)s?\s*", command):
            self.now_ns += int(match[1]) * SECOND
            return True
        source = command.rpartition("<")[2].strip() if "<" in command else ""
        words = shlex.split(command.partition("<")[0]) if not _SHELL.search(command) else [""]
        exist = any(word in _EXIST for word in words)
        words = [word for word in words if word not in _EXIST]
        if words[0] != "ipset" or len(words) < 2 or words[1] not in COMMANDS:
            self._lose(command)
            raise Unmapped
        name = COMMANDS[words[1]]
        if name == "list":
            raise Unmapped
        if name == "restore":
            self._restore(source)
            return True
        try:
            return self._do(name, words[2:], exist)
        except InputError:
            return False

    def _lose(self, command: str) -> None:
        """A script, a pipe or a loop: the sets that it names, or all, are not known any more where it may change them."""
        changes = re.search(r"restore|-R|resize|check_|for x|sendip|ipset (add|-A|swap|-W)|iptables", command)
        if changes and "diff" not in command:
            self.lost |= {*self.sets, "test"}
            self.others = True

    def _restore(self, source: str) -> None:
        path = self.folder / source
        if not source or not path.is_file():
            self.lost |= {*self.sets, "test"}
            self.others = True
            raise Unmapped
        for text in path.read_text().splitlines():
            words = [word for word in shlex.split(text) if word not in _EXIST]
            if words and words[0] in COMMANDS:
                self._do(COMMANDS[words[0]], words[1:], False)

    def _do(self, name: str, words: list[str], exist: bool) -> bool:
        sets = self.sets
        if name == "create":
            return self._create(words, exist)
        if not words:
            if name == "destroy":
                self.lost.clear()
                self.others = False
                sets.clear()
            else:
                for each in sets.values():
                    each.elements.clear()
            return True
        if set(words[: 2 if name == "swap" else 1]) & self.lost:
            if name == "destroy":
                self.lost.discard(words[0])
                sets.pop(words[0], None)
            raise Unmapped
        if words[0] not in sets:
            if self.others:
                raise Unmapped
            return False
        found = sets[words[0]]
        if found.kind == "list:set" and self.others and words[1:] and words[1] not in sets:
            raise Unmapped
        match name:
            case "add":
                add(sets, found.name, words[1], words[2:], self.now_ns, exist=exist)
            case "del":
                return remove(found, words[1]) or exist
            case "test":
                return holds(found, words[1], self.now_ns, nomatch="nomatch" in words)
            case "flush":
                found.elements.clear()
            case "destroy":
                if any((found.name,) in each.elements for each in sets.values() if each.kind == "list:set"):
                    return False
                del sets[found.name]
            case "swap":
                _swap(sets, *words)
        return True

    def _create(self, words: list[str], exist: bool) -> bool:
        name, kind, *options = words
        kind = TYPES.get(kind, kind)
        text = " ".join(["create", name, kind, *_options(options)])
        if "inet6" in options or "-6" in options:
            self.lost.add(name)
            raise Unmapped
        if name in self.sets:
            return exist
        self.lost.discard(name)
        self.sets |= parse_ipset(text + "\n")
        return True


def _swap(sets: IpSets, one: str, other: str) -> None:
    first, second = sets[one], sets[other]
    first.name, second.name = other, one
    sets[one], sets[other] = second, first


def _options(words: list[str]) -> list[str]:
    """The old spellings of `create`'s options as ipset 7 writes them."""
    made: list[str] = []
    first = ""
    queue = iter(words)
    for word in queue:
        plain = word.lstrip("-")
        if plain == "from":
            first = next(queue)
        elif plain == "to":
            made += ["range", f"{first}-{next(queue)}"]
        elif plain == "network":
            made += ["range", next(queue)]
        elif plain not in ("probes", "resize", "gc"):
            made.append(plain if word.startswith("--") else word)
        else:
            next(queue)
    return made


@dataclass(slots=True)
class Answer:
    """How the lines of the suite fared: those that differ, and how many were asked."""

    differ: dict[tuple[str, int], str] = field(default_factory=dict)
    asked: int = 0
    unmapped: int = 0


def ask(suite: Path) -> Answer:
    """Every line that is mapped, in order, with sets of its own for each file."""
    answer = Answer()
    benches: dict[str, Bench] = {}
    for line in lines(suite):
        bench = benches.setdefault(line.file, Bench(suite / "tests"))
        try:
            held = bench.run(line.command)
        except Unmapped:
            answer.unmapped += 1
            continue
        answer.asked += 1
        if held is not line.wanted:
            answer.differ[line.file, line.number] = "held" if held else "failed"
    return answer
