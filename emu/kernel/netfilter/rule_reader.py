"""The words of one rule, sorted to the matches and the target that read them, as iptables' option parser sorts them.

Options belong to the target, then to the match loaded last; `-p tcp --dport 80` loads tcp by itself. Several addresses are
several rules. Wrong input is an InputError. Must not know tables, chains beyond their names, or files.
"""

from __future__ import annotations

from collections.abc import Container

from emu.errors import InputError
from emu.kernel.netfilter.matches import Given, Match, Where, ip, matches, unsigned
from emu.kernel.netfilter.matches.comment import Comment
from emu.kernel.netfilter.ruleset import Rule
from emu.kernel.netfilter.targets import DASH, Goto, Jump, Target, targets
from emu.wire.proto import PROTOCOL_NAMES

_WITH_A_WORD = "sdiopmjgc"  # short options that a word follows


def parse_rules(words: list[str], table: str, chain: str, line: int = 0, chains: Container[str] = ()) -> list[Rule]:
    """A rule from the words after `-A CHAIN`; several, if it lists several addresses. `chains`: what it may jump to.
    Raises InputError."""
    return _RuleReader(table, chain, line, chains).read(words)


class _RuleReader:
    """The words of one rule, sorted to the parts that read them."""

    def __init__(self, table: str, chain: str, line: int, chains: Container[str]) -> None:
        self.table, self.chain, self.line, self.chains = table, chain, line, chains
        self.basics: dict[str, Given] = {}
        self.loaded: list[tuple[type[Match], dict[str, Given]]] = []
        self.target: type[Target] | None = None
        self.target_options: dict[str, Given] = {}
        self.jump: Target | None = None

    def read(self, words: list[str]) -> list[Rule]:
        queue = list(reversed(words))
        while queue:
            word = queue.pop()
            negated = word == "!"
            if negated:
                word = queue.pop() if queue else ""
            self._option(_apart(word, queue), negated, queue)
        return self._rules()

    def _option(self, word: str, negated: bool, queue: list[str]) -> None:
        basic = ip.ALIASES.get(word, word)
        if word == "--proto" and any(word in kind.options for kind, _ in self.loaded):
            self._extension(word, negated, queue)  # short for --protocol, but a match has an option of this very name
        elif basic in ip.OPTIONS:
            _take(self.basics, basic, negated, ip.OPTIONS[basic], queue)
        elif word in ("-m", "--match"):
            self._load(_argument(word, queue), negated)
        elif word in ("-j", "--jump", "-g", "--goto"):
            if self.target is not None or self.jump is not None or negated:
                raise InputError(f"{word} a second time or negated", expected="one target")
            name = _argument(word, queue)
            if word in ("-g", "--goto"):
                self.jump = Goto(name)
            elif (DASH not in name or name not in self.chains) and name in targets:  # a chain with one is no target
                self.target = targets[name]
                if self.target.tables and self.table not in self.target.tables:
                    raise InputError(f"{name} cannot be used in table {self.table}", expected=self.target.tables[0])
            else:
                self.jump = Jump(name)
        elif word in ("-c", "--set-counters") and not negated:
            self._counters(_argument(word, queue), queue)
        elif word == "-4":
            return
        else:
            self._extension(word, negated, queue)

    def _counters(self, text: str, queue: list[str]) -> None:
        """`PACKETS BYTES` or `PACKETS,BYTES`: what the rule has counted, and a rule is not made of that."""
        packets, comma, octets = text.partition(",")
        if not comma:
            octets = _argument("-c", queue)
        for count in (packets, octets):
            if unsigned(count) is None:
                raise InputError(f"{count!r} is not a count", expected="-c PACKETS BYTES")

    def _load(self, name: str, negated: bool) -> dict[str, Given]:
        if negated:
            raise InputError("! cannot stand before -m", expected="! before an option")
        kind = matches[name]
        for loaded, given in self.loaded:
            # a second -m of the same name begins anew, but tcp, udp and the like are one to iptables
            if loaded is kind and name in PROTOCOL_NAMES.values():
                return given
        self.loaded.append((kind, {}))
        return self.loaded[-1][1]

    def _extension(self, word: str, negated: bool, queue: list[str]) -> None:
        if not word.startswith("--"):
            raise InputError(f"cannot read {word!r}", expected="an option")
        if self.target is not None:
            name = _spelled(word, self.target)
            if name:
                if negated:
                    raise InputError(f"! cannot stand before {name}")
                _take(self.target_options, name, False, self.target.options[name], queue)
                return
        for kind, given in reversed(self.loaded):
            name = _spelled(word, kind)
            if name:
                if negated and name in kind.not_negated:
                    raise InputError(f"! cannot stand before {name}")
                key = f"{name} {len(given)}" if name in kind.repeated and name in given else name
                _take(given, name, negated, kind.options[name], queue, key)
                return
        # -p tcp --dport 80 loads tcp by itself
        proto = self.basics.get("-p")
        implied = PROTOCOL_NAMES.get(ip.protocol(proto.words[0]), "") if proto is not None else ""
        if implied in matches and all(kind is not matches[implied] for kind, _ in self.loaded):
            kind = matches[implied]
            if _spelled(word, kind):
                self.loaded.append((kind, {}))
                self._extension(word, negated, queue)
                return
        if isinstance(self.jump, Jump) and self.jump.chain not in self.chains:
            targets[self.jump.chain]  # neither a chain nor a target: raises
        raise InputError(f"unknown option {word!r}", expected="an option of the matches and the target before it")

    def _rules(self) -> list[Rule]:
        where = Where(self.table, self.chain)
        sources, destinations = (_several(self.basics.get(option)) for option in ("-s", "-d"))
        rules = []
        for source in sources:
            for destination in destinations:
                given = dict(self.basics)
                if source is not None:
                    given["-s"] = source
                if destination is not None:
                    given["-d"] = destination
                basics = ip.build(given, where)
                where = Where(self.table, self.chain, basics.proto, basics.proto_negated)
                parts = tuple(kind.build(options, where) for kind, options in self.loaded)
                target = self.jump if self.target is None else self.target.build(self.target_options, where)
                comment = next((part.text for part in parts if isinstance(part, Comment)), "")
                first = () if basics == ip.Ip() else (basics,)
                rules.append(Rule(self.table, self.chain, 0, (*first, *parts), target, comment, self.line))
        return rules


def _apart(word: str, queue: list[str]) -> str:
    """The option of `--option=value` or `-ovalue`; the value goes back to the words."""
    if word.startswith("--"):
        word, equals, value = word.partition("=")
        if equals:
            queue.append(value)
    elif len(word) > 2 and word[0] == "-" and word[1] in _WITH_A_WORD:
        queue.append(word[2:])
        return word[:2]
    return word


def _several(given: Given | None) -> list[Given | None]:
    if given is None:
        return [None]
    texts = given.words[0].split(",")
    if given.negated and len(texts) > 1:
        raise InputError(f"! {given.name} with several addresses", expected="one address")
    return [Given(given.name, given.negated, (text,)) for text in texts]


def _argument(option: str, queue: list[str]) -> str:
    if not queue:
        raise InputError(f"{option} needs a word after it")
    return queue.pop()


def _take(
    into: dict[str, Given], name: str, negated: bool, count: int, queue: list[str], key: str | None = None
) -> None:
    if (key or name) in into:
        raise InputError(f"{name} twice in one rule", expected="once")
    words: list[str] = []
    for _ in range(count):
        if not words and queue and queue[-1] == "!":
            # the old place of the exclamation mark; iptables refuses it too
            raise InputError(f"! after {name}", expected=f"! {name}")
        words.append(_argument(name, queue))
    into[key or name] = Given(name, negated, tuple(words))


def _spelled(word: str, kind: type[Match] | type[Target]) -> str:
    """The option's full name, if `kind` has it: exact, an old name, or an unambiguous beginning. Else ""."""
    if word in kind.options:
        return word
    if word in kind.aliases:
        return kind.aliases[word]
    fitting = {kind.aliases.get(name, name) for name in (*kind.options, *kind.aliases) if name.startswith(word)}
    return fitting.pop() if len(fitting) == 1 else ""
