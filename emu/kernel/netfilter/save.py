"""iptables-restore's text in, iptables-save's text out, as iptables 1.8.9 (nf_tables) reads and writes it.

The text is read by hand: no kept library does. Wrong input is an InputError with its line. Must not know how rules
are walked or who counts.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence

from emu.errors import InputError
from emu.kernel.netfilter.jumps import JUMP_STACK, check_lines
from emu.kernel.netfilter.matches import unsigned
from emu.kernel.netfilter.rule_reader import parse_rules
from emu.kernel.netfilter.ruleset import BUILT_IN, Chain, Rule, RuleSet
from emu.kernel.netfilter.targets import DASH, targets

MAX_CHAIN_NAME = 28
_COMMANDS = {
    "--append": "-A", "--insert": "-I", "--delete": "-D", "--replace": "-R", "--flush": "-F", "--new-chain": "-N",
    "--new": "-N", "--delete-chain": "-X", "--policy": "-P",
}  # fmt: skip


# the words after `-A CHAIN`, table, chain, line, what it may jump to
ReadRules = Callable[[list[str], str, str, int, Container[str]], list[Rule]]


def parse_restore(
    text: str,
    file: str | None = None,
    *,
    onto: RuleSet | None = None,
    noflush: bool = False,
    read_rules: ReadRules | None = None,
    jump_stack: int | None = JUMP_STACK,
) -> RuleSet:
    """Rules from iptables-restore's text; counters in it are ignored, as without `-c`.

    `onto`: what was there before; tables that the text does not name stay, those it names are emptied first unless
    `noflush`. `read_rules` reads a rule's words, `parse_rules` by default (see `dump.py`); `jump_stack`: the depth
    of jumps that is refused (None: any is taken). Raises InputError with file and line.
    """
    tables = dict(onto.tables) if onto is not None else {}
    draft: _Draft | None = None
    number = 0
    try:
        for number, raw in enumerate(text.split("\n"), 1):
            line = _line(raw)
            if not line or line.startswith("#"):
                continue
            if line.startswith("*"):
                if draft is not None:
                    raise InputError(f"table {draft.table} is not finished", expected="COMMIT")
                draft = _Draft(line[1:].strip(), tables if noflush else {}, read_rules or parse_rules, jump_stack)
            elif draft is None:
                raise InputError(f"{line.split()[0]!r} stands outside a table", expected="*TABLE")
            elif line == "COMMIT":
                tables[draft.table] = draft.chains_done()
                draft = None
            else:
                draft.read(line, number)
        if draft is not None:
            raise InputError(f"table {draft.table} is not finished", expected="COMMIT")
    except InputError as error:
        raise error.at(file=file, line=number) from None
    return RuleSet({table: tables[table] for table in BUILT_IN if table in tables})


def save(ruleset: RuleSet, counters: Mapping[Rule, Sequence[int]] | None = None) -> str:
    """iptables-save's text, without its comment lines; with `counters`, as `iptables-save -c`.

    Built-in chains come first, then users' by name. Policies show no counters: the nf_tables variant has none.
    """
    lines = []
    for table, built_in in BUILT_IN.items():
        chains = ruleset.tables.get(table)
        if chains is None:
            continue
        order = [chains[name] for name in built_in]
        order += sorted((chain for name, chain in chains.items() if name not in built_in), key=lambda each: each.name)
        lines.append(f"*{table}")
        lines += [f":{chain.name} {chain.policy or '-'} [0:0]" for chain in order]
        for chain in order:
            if counters is None:
                lines += [str(rule) for rule in chain.rules]
            else:
                lines += ["[{}:{}] {}".format(*counters.get(rule, (0, 0)), rule) for rule in chain.rules]
        lines.append("COMMIT")
    return "\n".join(lines) + "\n" if lines else ""


def _line(raw: str) -> str:
    """A line as iptables-restore reads it: a C string, which ends at a NUL. Raises InputError."""
    if "\r" in raw:
        raise InputError("a carriage return stands in the line", expected="lines that end with a line feed alone")
    text, nul, _rest = raw.partition("\0")
    if nul and not text:
        raise InputError("the line begins with a NUL", expected="text")
    return (text + nul).strip(" \t")


def split(line: str) -> list[str]:
    """A line's words: blanks separate, double quotes hold together, a backslash inside quotes takes the next
    character as it is (add_param_to_argv in xshared.c). Quotes that do not end hold the line's end too. A NUL ends all."""
    parts = line.split('"')
    if len(parts) % 2 and "\\" not in line and "\0" not in line:
        return _split_plain(parts)
    words: list[str] = []
    word: list[str] = []
    quoted = escaped = open_word = False
    for char in line:
        if char == "\0":
            quoted = False
            break
        if quoted:
            if escaped:
                word.append(char)
                escaped = False
            elif char == "\\":
                escaped = True
            elif char == '"':
                quoted = False
            else:
                word.append(char)
        elif char == '"':
            quoted = open_word = True
        elif char in " \t":
            if word or open_word:
                words.append("".join(word))
            word, open_word = [], False
        else:
            word.append(char)
    if quoted:
        word.append("\n")
    if word or open_word:
        words.append("".join(word))
    return words


def _split_plain(parts: list[str]) -> list[str]:
    """The words of a line that was cut at its quotes, all of which end, without a backslash: every other part stood in quotes."""
    words: list[str] = []
    word: str | None = None
    for number, part in enumerate(parts):
        if number % 2:
            word = part if word is None else word + part
            continue
        first, *others = part.replace("\t", " ").split(" ")
        if first:
            word = first if word is None else word + first
        for each in others:
            if word is not None:
                words.append(word)
            word = each or None
    if word is not None:
        words.append(word)
    return words


class _Draft:
    """A table being read: chains by name, each a policy and a list of rules (not yet numbered)."""

    def __init__(
        self, table: str, before: Mapping[str, Mapping[str, Chain]], read_rules: ReadRules, jump_stack: int | None
    ) -> None:
        if table not in BUILT_IN:
            raise InputError(f"unknown table {table!r}", expected=", ".join(BUILT_IN))
        self.table = table
        self.read_rules = read_rules
        self.jump_stack = jump_stack
        self.before = before.get(table, {})
        self.policies = dict.fromkeys(BUILT_IN[table], "ACCEPT") | {n: c.policy for n, c in self.before.items()}
        self.rules: dict[str, list[Rule]] = {name: [] for name in BUILT_IN[table]}
        self.rules |= {name: list(chain.rules) for name, chain in self.before.items()}

    def read(self, line: str, number: int) -> None:
        """One line other than `*TABLE` and COMMIT. Raises InputError."""
        if line.startswith(":"):
            self._declare(split(line[1:]))
            return
        words = split(_after_counters(line))
        command = _COMMANDS.get(words[0], words[0]) if words else ""
        name = words[1] if len(words) > 1 else ""
        rest = words[2:]
        if command == "-N":
            if name in self.rules:
                raise InputError(f"chain {name!r} is already there")
            self._new(name)
        elif command == "-P":
            self._known(name)
            self._policy(name, rest[0] if rest else "")
        elif command == "-F":
            for each in [self._known(name)] if name else list(self.rules):
                self.rules[each].clear()
        elif command == "-X":
            self._delete_chain(self._known(name))
        elif command in ("-A", "-I", "-D", "-R"):
            self._change(command, self._known(name), rest, number)
        else:
            raise InputError(f"cannot read {command!r}", expected=":CHAIN, -A, -I, -D, -R, -N, -F, -X, -P or COMMIT")

    def _declare(self, words: list[str]) -> None:
        if len(words) < 2:
            raise InputError("a chain's line is too short", expected=":CHAIN POLICY [PACKETS:BYTES]")
        name, policy = words[:2]
        if name in BUILT_IN[self.table]:
            if policy != "-":
                self._policy(name, policy)
        elif name in self.rules:
            self.rules[name].clear()
        else:
            self._new(name)

    def _new(self, name: str) -> None:
        if not name or name[0] in "-!" or any(c.isspace() for c in name):
            raise InputError(f"{name!r} is not a chain's name")
        if len(name) > MAX_CHAIN_NAME:
            raise InputError(f"the name {name!r} is too long", expected=f"at most {MAX_CHAIN_NAME} characters")
        if DASH not in name and name in targets:  # what has one is looked for in no file
            raise InputError(f"a chain cannot be called {name!r}: a target is", expected="another name")
        self.rules[name] = []
        self.policies[name] = ""

    def _policy(self, name: str, policy: str) -> None:
        if name not in BUILT_IN[self.table]:
            raise InputError(f"{name!r} cannot have a policy", expected="one of " + ", ".join(BUILT_IN[self.table]))
        if policy not in ("ACCEPT", "DROP"):
            raise InputError(f"{policy!r} is not a policy", expected="ACCEPT or DROP")
        self.policies[name] = policy

    def _known(self, name: str) -> str:
        if name not in self.rules:
            raise InputError(f"no chain {name!r} in table {self.table}", expected=f":{name} - [0:0] before it")
        return name

    def _delete_chain(self, name: str) -> None:
        if name in BUILT_IN[self.table]:
            raise InputError(f"{name} cannot be deleted", expected="a user's chain")
        user = next((rule for rules in self.rules.values() for rule in rules if rule.jump == name), None)
        if self.rules[name] or user is not None:
            raise InputError(f"chain {name!r} is {'not empty' if self.rules[name] else 'still used'}")
        del self.rules[name], self.policies[name]

    def _change(self, command: str, name: str, words: list[str], line: int) -> None:
        rules = self.rules[name]
        position = 1
        number = unsigned(words[0]) if command != "-A" and words else None
        if number is not None:
            del words[0]
            position = number
            last = len(rules) + (command == "-I")
            if not 1 <= position <= last:
                raise InputError(f"chain {name} has no place {position}", expected=f"1 to {last}")
            if command == "-D":
                del rules[position - 1]
                return
        elif command == "-R":
            raise InputError("-R needs the rule's number", expected="-R CHAIN NUMBER RULE")
        made = self.read_rules(words, self.table, name, line, self.rules)
        if command == "-A":
            rules += made
        elif command == "-I":
            rules[position - 1 : position - 1] = made
        elif command == "-R":
            if len(made) != 1:
                raise InputError("-R needs one rule", expected="one source and one destination")
            rules[position - 1] = made[0]
        else:
            for rule in made:
                found = next((i for i, each in enumerate(rules) if each.spec == rule.spec), None)
                if found is None:
                    raise InputError(f"chain {name} has no such rule")
                del rules[found]

    def chains_done(self) -> dict[str, Chain]:
        """The chains, checked. One that was not changed is the chain that was there before. Raises InputError."""
        check_lines(self.table, self.rules, self.jump_stack)
        done = {}
        for name, rules in self.rules.items():
            old = self.before.get(name)
            same = old is not None and old.policy == self.policies[name] and list(old.rules) == rules
            done[name] = old if same and old is not None else Chain(name, self.policies[name], tuple(rules))
        return done


def _after_counters(line: str) -> str:
    """A rule's line without the `[PACKETS:BYTES]` before it, which are not read: only -c would. Raises InputError."""
    if not line.startswith("["):
        return line
    counters, bracket, rest = line.partition("]")
    if not bracket or ":" not in counters:
        raise InputError(f"{line!r} does not begin with counters", expected="[PACKETS:BYTES]")
    return rest
