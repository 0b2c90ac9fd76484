"""What plugins do to a table by iptables commands: chains that are made once, rules that are added unless they are there.

A `Table` collects the commands of one plugin's run and puts them in force together; a command that iptables refuses ends
the run, and those before it stay, as commands that ran one after the other. Must not know which plugin writes which rules.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

from emu.errors import InputError
from emu.kernel import boot
from emu.kernel.net.netns import Netns
from emu.kernel.netfilter.rule_reader import parse_rules
from emu.kernel.netfilter.ruleset import BUILT_IN
from emu.kernel.netfilter.save import MAX_CHAIN_NAME

Words = Sequence[str]
"""A rule as the words after `-A CHAIN`."""
_LONGEST_COMMENT = 255
_QUOTED = frozenset(" \t\"'\\")


class Table:
    """A table of a machine's namespace as it will be: what is in force, and the commands that are not `run` yet."""

    def __init__(self, node: Netns, name: str) -> None:
        self.node, self.name = node, name
        self._before = node.ipv4.tables.ruleset.tables.get(name, {})
        self._chains = {*BUILT_IN[name], *self._before}
        self._rules: dict[str, list[str]] = {}  # of the chains that were looked at
        self._commands: list[str] = []

    def __contains__(self, chain: str) -> bool:
        return chain in self._chains

    def ensure(self, chain: str) -> None:
        """`-N`, unless the chain is there. Raises InputError; the commands before it are run then."""
        if chain not in self._chains:
            if len(chain) > MAX_CHAIN_NAME:
                self.run()
                raise InputError(f"chain name {chain!r} is too long", expected=f"at most {MAX_CHAIN_NAME} characters")
            self._chains.add(chain)
            self._commands.append(f"-N {chain}")

    def has(self, chain: str, rule: Words) -> bool:
        """`-C`: whether the rule is there; one that iptables does not take is not."""
        try:
            return all(spec in self._in(chain) for spec in self._specs(chain, rule))
        except InputError:
            return False

    def add(self, chain: str, rule: Words, *, first: bool = False) -> None:
        """`-A`, or `-I` with `first`, unless the rule is there. Raises InputError; the commands before it are run then."""
        try:
            specs = self._specs(chain, rule)
        except InputError:
            self.run()
            raise
        rules = self._in(chain)
        if not all(spec in rules for spec in specs):
            place = 0 if first else len(rules)
            rules[place:place] = specs
            self._commands.append(f"{'-I' if first else '-A'} {chain} {' '.join(map(_quoted, rule))}")

    def delete(self, chain: str, rule: Words) -> None:
        """`-D`, if the rule is there."""
        rules = self._in(chain)
        for spec in self._specs(chain, rule):
            if spec in rules:
                place = rules.index(spec)
                del rules[place]
                self._commands.append(f"-D {chain} {place + 1}")

    def remove(self, chain: str, callers: Words) -> None:
        """Delete a chain, if it is there, and the rules of `callers` that jump to it."""
        if chain not in self._chains:
            return
        for caller in filter(self._chains.__contains__, callers):
            rules = self._in(caller)
            places = [place for place, spec in enumerate(rules) if spec.endswith(f"-j {chain}")]
            for place in reversed(places):
                del rules[place]
                self._commands.append(f"-D {caller} {place + 1}")
        self._chains.discard(chain)
        self._commands += [f"-F {chain}", f"-X {chain}"]

    def run(self) -> None:
        """Put the commands in force, conntrack and NAT switched on. The table is there then, without any command too.
        Raises InputError for a command that the kernel refuses; those before it are in force then."""
        boot.netfilter(self.node)
        commands, self._commands = self._commands, []
        if commands or self.name not in self.node.ipv4.tables.ruleset.tables:
            try:
                self._restore(commands)
            except InputError:
                for command in commands:
                    self._restore([command])
                raise

    def _restore(self, commands: Sequence[str]) -> None:
        text = "\n".join([f"*{self.name}", *commands, "COMMIT", ""])
        self.node.ipv4.tables.restore(text, noflush=True)

    def _in(self, chain: str) -> list[str]:
        """The rules of a chain, as they will be."""
        if chain not in self._rules:
            there = self._before.get(chain)
            self._rules[chain] = [rule.spec for rule in there.rules] if there is not None else []
        return self._rules[chain]

    def _specs(self, chain: str, rule: Words) -> list[str]:
        made = _spelled(self.name, chain, tuple(rule), frozenset(self._chains.intersection(rule)))
        for jump, _ in made:
            if jump and jump not in self._chains:
                raise InputError(f"chain {jump!r} does not exist")
        return [spec for _, spec in made]


@lru_cache(maxsize=4096)
def _spelled(table: str, chain: str, rule: tuple[str, ...], known: frozenset[str]) -> tuple[tuple[str, str], ...]:
    """Where the rules of these words jump to, and how they are printed. Every node asks for the same words. `known` are the chains
    among them. Raises InputError."""
    return tuple((each.jump, each.spec) for each in parse_rules(list(rule), table, chain, chains=known))


def comment(text: str) -> list[str]:
    """`-m comment`, with as much of the text as a comment has room for."""
    cut = text if len(text) <= _LONGEST_COMMENT else text[: _LONGEST_COMMENT - 2] + ".."
    return ["-m", "comment", "--comment", cut]


def shown(rules: Sequence[Words]) -> str:
    """Rules as the plugins' errors print them."""
    return "[" + " ".join("[" + " ".join(rule) + "]" for rule in rules) + "]"


def split_ports(ports: Sequence[int]) -> Iterator[str]:
    """Lists of ports for `-m multiport`, which takes up to 15."""
    for start in range(0, len(ports), 15):
        yield ",".join(map(str, ports[start : start + 15]))


def _quoted(word: str) -> str:
    if word and not _QUOTED & frozenset(word):
        return word
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'
