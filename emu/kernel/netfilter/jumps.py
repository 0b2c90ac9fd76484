"""What the kernel refuses in a table's jumps: a circle, too many chains below one another, a target in a base chain that it may
not be reached from (nft_chain_validate in net/netfilter/nf_tables_api.c). Must not know how rules are read or walked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import filterfalse
from typing import NoReturn

from emu.errors import InputError
from emu.kernel.netfilter.layered import has
from emu.kernel.netfilter.ruleset import BUILT_IN, Below, Chain, ChainMap, Placed, Rule, RuleSet

JUMP_STACK = 16  # NFT_JUMP_STACK_SIZE: a chain that is 16 jumps below its base chain is refused


def check(ruleset: RuleSet, before: RuleSet | None = None) -> None:
    """Refuse rules made as values as the kernel refuses a text's. A chain keeps what was found below it, so that rules which
    many nodes have are walked once. `before`: rules whose tables need no look. Raises InputError."""
    for table, chains in ruleset.tables.items():
        if before is not None and before.tables.get(table) is chains:
            continue
        for name, below in _Walk(table, _Lines(chains), chains, JUMP_STACK).run().items():
            chains[name].below = below


def check_lines(table: str, lines: Mapping[str, Sequence[Rule]], jump_stack: int | None) -> None:
    """The same for a table that is being read, chains by name. `jump_stack`: the depth that is refused (None: any is taken)."""
    _Walk(table, lines, {}, jump_stack).run()


class _Lines(Mapping[str, Sequence[Rule]]):
    """The rules of chains, by their names."""

    __slots__ = ("_chains",)

    def __init__(self, chains: ChainMap) -> None:
        self._chains = chains

    def __getitem__(self, name: str) -> Sequence[Rule]:
        return self._chains[name].forms

    def __contains__(self, name: object) -> bool:
        return name in self._chains

    def __iter__(self) -> Iterator[str]:
        return iter(self._chains)

    def __len__(self) -> int:
        return len(self._chains)


class _Walk:
    """One look at all chains of a table, each once. Its stack is a list, because a dump may have any depth."""

    def __init__(
        self, table: str, lines: Mapping[str, Sequence[Rule]], chains: ChainMap, jump_stack: int | None
    ) -> None:
        self.table, self.lines, self.chains, self.jump_stack = table, lines, chains, jump_stack
        self.found: dict[str, Below] = {}
        self.seen: set[str] = set()  # the chains below those that were found before

    def run(self) -> dict[str, Below]:
        """What is below each chain that was walked."""
        for base in BUILT_IN[self.table]:
            self._from(base)
            for allowed, rule in self.found[base].placed.items():
                if base not in allowed:
                    assert rule.target is not None
                    _refuse(
                        rule, f"{rule.target.spec().split()[1]} cannot be reached from {base}", " or ".join(allowed)
                    )
        self.seen |= self.found.keys()
        for name in filterfalse(self.seen.__contains__, self.lines):  # no base chain reaches it
            for rule in self.lines[name]:
                self._target_of(rule)
        return self.found

    def _target_of(self, rule: Rule) -> str:
        """The chain that a rule jumps to, "" for none."""
        jump = rule.jump
        if jump in BUILT_IN[self.table]:
            _refuse(rule, f"a rule cannot jump to {jump}", "a user's chain")
        if jump and jump not in self.lines:
            _refuse(rule, f"no chain or target is called {jump!r}", f"chain {jump} in {self.table}")
        return jump

    def _from(self, base: str) -> None:
        if self._known(base) is not None:
            return
        path = {base: _Open(self.lines[base])}  # the chains that call each other now
        while path:
            name = next(reversed(path))
            here = path[name]
            for rule in here.rest:
                jump = self._target_of(rule)
                if not jump:
                    if rule.target is not None and rule.target.chains:
                        here.placed.setdefault(rule.target.chains, rule)
                    continue
                if jump in path:
                    _refuse(rule, f"the jumps go in a circle: {_chain_of([*path, jump])}")
                below = self.found.get(jump) or self._known(jump)
                deep = 0 if below is None else below.depth
                if self.jump_stack is not None and len(path) + deep >= self.jump_stack:
                    what = f"the jumps are more than {self.jump_stack - 1} chains deep: {_chain_of([*path, jump])}"
                    _refuse(rule, what, f"at most {self.jump_stack - 1} chains below {base}, as nf_tables takes")
                if below is None:
                    path[jump] = _Open(self.lines[jump])
                    break
                here.add(self.chains.get(jump), below)
            else:
                del path[name]
                self.found[name] = done = here.done()
                if path:
                    path[next(reversed(path))].add(self.chains.get(name), done)

    def _known(self, name: str) -> Below | None:
        """What was found below a chain in another table's walk, if every chain below is the same here."""
        chain = self.chains.get(name)
        below = None if chain is None else chain.below
        if below is None or not has(self.chains, below.chains):
            return None
        self.seen |= below.chains.keys()
        self.found[name] = below
        return below


class _Open:
    """A chain whose rules are being walked."""

    __slots__ = ("chains", "depth", "placed", "rest")

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rest: Iterator[Rule] = iter(rules)
        self.depth, self.placed = 0, Placed()
        self.chains: dict[str, Chain] = {}

    def add(self, chain: Chain | None, below: Below) -> None:
        """A chain that a rule here jumps to."""
        self.depth = max(self.depth, below.depth + 1)
        for allowed, rule in below.placed.items():
            self.placed.setdefault(allowed, rule)
        if chain is not None and chain.name not in self.chains:
            self.chains[chain.name] = chain
            self.chains.update(below.chains)

    def done(self) -> Below:
        return Below(self.depth, self.placed, self.chains)


def _chain_of(names: list[str]) -> str:
    """`a -> b -> c`, a long one without its middle."""
    if len(names) > 2 * JUMP_STACK:
        names = [*names[:JUMP_STACK], "...", *names[-3:]]
    return " -> ".join(names)


def _refuse(rule: Rule, what: str, expected: str | None = None) -> NoReturn:
    raise InputError(what, line=rule.line or None, expected=expected)
