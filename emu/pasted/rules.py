"""iptables rules as people paste them, as iptables-save would write them: `rules` is the door.

Read are `iptables-save` whole, cut or grep'ed, `iptables -S`, `iptables -L` with and without `-v`, and the commands that
make rules. What the text leaves open is a note. Must not know how rules are read or walked.
"""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field
from typing import NamedTuple

from emu.errors import InputError
from emu.kernel.netfilter.ruleset import BUILT_IN
from emu.pasted import listing
from emu.pasted.lines import Block, Line, blocks, filtered, options, plain

BASES = {name for chains in BUILT_IN.values() for name in chains}
# Targets that only one table takes; the tool refuses them elsewhere (iptables-extensions(8)).
ONLY = {
    **dict.fromkeys(("DNAT", "SNAT", "MASQUERADE", "REDIRECT", "NETMAP"), ("nat",)),
    **dict.fromkeys(("REJECT",), ("filter",)),
    **dict.fromkeys(("CT", "NOTRACK"), ("raw",)),
    **dict.fromkeys(("TPROXY", "DSCP", "TOS", "TTL", "CHECKSUM", "ECN", "TCPOPTSTRIP"), ("mangle",)),
}
# What `-j` may name besides a chain: iptables(8) and iptables-extensions(8), 1.8.11.
TARGETS = frozenset(
    [
        "ACCEPT",
        "AUDIT",
        "CHECKSUM",
        "CLASSIFY",
        "CLUSTERIP",
        "CONNMARK",
        "CONNSECMARK",
        "CT",
        "DNAT",
        "DROP",
        "DSCP",
        "ECN",
        "HMARK",
        "IDLETIMER",
        "LED",
        "LOG",
        "MARK",
        "MASQUERADE",
        "NETMAP",
        "NFLOG",
        "NFQUEUE",
        "NOTRACK",
        "QUEUE",
        "RATEEST",
        "REDIRECT",
        "REJECT",
        "RETURN",
        "SECMARK",
        "SET",
        "SNAT",
        "SYNPROXY",
        "TCPMSS",
        "TCPOPTSTRIP",
        "TEE",
        "TOS",
        "TPROXY",
        "TRACE",
        "TTL",
        "ULOG",
    ]
)
SAVED = re.compile(r"^\*(\w+)\s*$")
DECLARED = re.compile(r"^:(\S+)\s+(\S+)(?:\s+\[\d+:\d+\])?\s*$")
RULE = re.compile(r"^(?:\[\d+:\d+\]\s+)?-([ANPIDFX])\s+(\S+)\s*(.*)$")
NFT = re.compile(r"^table\s+(?:ip|ip6|inet|bridge|arp|netdev)\s+\S+\s*\{")
IPVS = re.compile(r"^IP Virtual Server version|^(?:TCP|UDP|-A\s+-[tu])\s+\S+:\S+\s+(?:rr|wrr|lc|sh|-s)\b")
NFT_RULES = "these are nftables' own rules, which are not modelled"
NFT_INSTEAD = "`iptables-save` of the node: rules that iptables-nft made come as iptables'"
WHAT = "iptables-save, iptables -S, iptables -nvL or iptables commands"


class Pasted(NamedTuple):
    """iptables-save's text; for each of its lines the number that it has in the pasted text (0: none); notes."""

    text: str
    numbers: tuple[int, ...]
    notes: tuple[str, ...]


@dataclass
class Table:
    """A table under construction: policies of built-in chains, "" for others; each chain's rules as (number, text)."""

    chains: dict[str, str] = field(default_factory=dict)
    rules: dict[str, list[tuple[int, str]]] = field(default_factory=dict)

    def chain(self, name: str, policy: str = "") -> list[tuple[int, str]]:
        self.chains[name] = policy or self.chains.get(name, "")
        return self.rules.setdefault(name, [])


@dataclass
class Draft:
    """All tables so far, and what is to be noted."""

    tables: dict[str, Table] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def table(self, name: str, number: int) -> Table:
        if name not in BUILT_IN:
            raise InputError(f"there is no table {name!r}", line=number, expected=", ".join(BUILT_IN))
        return self.tables.setdefault(name, Table())

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


def rules(text: str, file: str | None = None) -> Pasted:
    """The rules of a pasted text as iptables-save writes them. A text that is one already comes back as it is.

    Raises InputError, with what to type instead, for nftables' own rules and for texts without any rule."""
    shown = [line.strip() for line in text.splitlines()]
    first = next((line for line in shown if line and not line.startswith("#")), "")
    if (not first or SAVED.match(first)) and _whole(shown) and plain(text):
        return Pasted(text, tuple(range(1, text.count("\n") + 2)), ())
    draft = Draft()
    if first.startswith("{"):
        return _own(text, file)
    try:
        found = blocks(text)
        script = any(_changes(options(block.command)) for block in found)
        for block in found:
            if script and not block.command and not any(_is_rule(line.text) for line in block.lines):
                draft.note(
                    f"line {block.lines[0].number}: {block.lines[0].text.strip()[:60]!r} makes no rule, and is left out"
                )
            else:
                _read(block, draft)
    except InputError as error:
        raise error.at(file=file) from None
    if not draft.tables:
        number = next((block.number or block.lines[0].number for block in blocks(text)), None)
        raise InputError("no iptables rule is here", file=file, line=number, expected=WHAT)
    return _written(draft)


def _is_rule(line: str) -> bool:
    text = line.strip()
    return bool(RULE.match(text) or DECLARED.match(text) or SAVED.match(text))


def _own(text: str, file: str | None) -> Pasted:
    """What `emu show rules -o json` prints."""
    draft = Draft()
    try:
        tables = json.loads(text)
        if "nftables" in tables:
            raise InputError(NFT_RULES, file=file, expected=NFT_INSTEAD)
        for name, chains in tables.items():
            table = draft.table(name, 0)
            for chain, found in chains.items():
                rows = [(0, each["rule"].removeprefix(f"-A {chain}").strip()) for each in found["rules"]]
                table.chain(chain, found["policy"] or "").extend(rows)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise InputError("not what `emu show rules -o json` prints", file=file, expected=WHAT) from None
    return _written(draft)


def _whole(shown: list[str]) -> bool:
    """Is the text all of iptables-save's, from the first table to its last COMMIT?"""
    inside = False
    for line in shown:
        if not line or line.startswith("#"):
            continue
        if SAVED.match(line):
            if inside:
                return False
            inside = True
        elif line == "COMMIT":
            inside = False
        elif not inside or line[0] not in ":-[":
            return False
    return not inside


def _read(block: Block, draft: Draft) -> None:
    given = options(block.command)
    left_out = filtered(block.command)
    word = block.command.split(maxsplit=1)[0] if block.command else ""
    if word.startswith("ip6tables") or "-6" in given:
        draft.note(f"line {block.number}: {word}'s rules are IPv6's, and are left out")
        return
    if left_out and block.lines:
        draft.note(f"line {block.number}: `{left_out}` left lines out: what they hold is missing")
    if word.startswith("iptables") and not word.endswith("save") and _changes(given):
        _command(block, draft)
        block = Block("", block.number, block.lines)
        given = {}
    if block.lines and (not word or word.startswith("iptables") or word in ("cat", "nft", "ipvsadm")):
        _output(block, given.get("-t") or given.get("--table") or "", draft)


def _output(block: Block, table: str, draft: Draft) -> None:
    first = block.lines[0]
    for line in block.lines:
        if NFT.match(line.text.strip()):
            raise InputError(NFT_RULES, line=line.number, expected=NFT_INSTEAD)
        if IPVS.match(line.text.strip()):
            draft.note(f"line {line.number}: ip_vs balances on this node; its table is not modelled")
            return
    if any(listing.CHAIN.match(line.text.strip()) for line in block.lines):
        for name, policy, rows in listing.chains(block.lines, draft.note):
            _listed(draft, table, first.number, name, policy, rows)
    elif any(SAVED.match(line.text.strip()) for line in block.lines):
        _saved(block.lines, draft)
    else:
        _specs(block.lines, table, draft)


def _saved(shown: list[Line], draft: Draft) -> None:
    """iptables-save's text, perhaps without its beginning or its end."""
    current: Table | None = None
    name = ""
    loose: list[Line] = []
    for number, raw in shown:
        line = raw.strip()
        if found := SAVED.match(line):
            if current is not None:
                draft.note(f"line {number}: table {name} has no COMMIT: some of it may be missing")
            name = found[1]
            current = draft.table(name, number)
        elif line == "COMMIT":
            current = None
        elif line.startswith("#"):
            continue
        elif current is None:
            loose.append(Line(number, raw))
        else:
            _spec(current, number, line)
    if current is not None:
        draft.note(f"table {name} has no COMMIT: some of it may be missing")
    if loose:
        _specs(loose, "", draft)


def _spec(table: Table, number: int, line: str) -> None:
    if found := DECLARED.match(line):
        table.chain(found[1], found[2] if found[2] != "-" else "")
        return
    found = RULE.match(line)
    if found is None or found[1] in "DFX":
        raise InputError(f"{line.split(maxsplit=1)[0]!r} is no line of a table", line=number, expected=WHAT)
    kind, chain, rest = found.groups()
    if kind == "P":
        table.chain(chain, rest.split()[0] if rest else "ACCEPT")
    elif kind == "N":
        table.chain(chain)
    else:
        table.chain(chain).append((number, rest))


def _specs(shown: list[Line], given: str, draft: Draft) -> None:
    """`iptables -S`, or rules that were grep'ed: the table is the command's, or what the chains and targets allow."""
    rows = [line for line in shown if RULE.match(line.text.strip()) or DECLARED.match(line.text.strip())]
    other = [
        line
        for line in shown
        if line not in rows and not line.text.strip().startswith("#") and line.text.strip() != "COMMIT"
    ]
    if other and (not rows or other[0].number > rows[0].number):
        number, text = other[0]
        raise InputError(f"{text.split()[0]!r} begins no rule", line=number, expected=WHAT)
    for number, text in other:
        draft.note(f"line {number}: {text.strip()[:60]!r} is no rule, and is left out")
    for section in [rows] if given else _sections(rows):
        names = [given] if given else _candidates(section)
        if not names:
            number, text = section[0]
            raise InputError(
                f"no table has both the chain and the target of {text.strip()[:80]!r}", line=number, expected=WHAT
            )
        name = "filter" if "filter" in names and len(names) > 1 else names[0]
        if not given and len(names) > 1 and set(names) != {"filter", "security"}:
            draft.note(
                f"lines {section[0].number} to {section[-1].number} name no table; {name} is assumed ({' or '.join(names)} fits)"
            )
        table = draft.table(name, section[0].number)
        for number, text in section:
            _spec(table, number, text.strip())


def _sections(rows: list[Line]) -> list[list[Line]]:
    """Rules of several tables one after another. A table's built-in chains come first, each chain's rules are together:
    where that does not hold, and where no table fits a rule and those before it, the next table begins."""
    found: list[list[Line]] = []
    policies: set[str] = set()
    ended: set[str] = set()
    last = ""
    for line in rows:
        kind, chain = _kind(line.text)
        again = (kind == "P" and chain in policies) or (kind == "A" and chain in ended)
        again = again or (kind == "A" and chain in BASES and last not in BASES and bool(last))
        if not found or again or not _candidates([*found[-1], line]):
            found.append([])
            policies, ended, last = set(), set(), ""
        found[-1].append(line)
        if kind == "P":
            policies.add(chain)
        elif kind == "A":
            ended |= {last} if last and last != chain else set()
            last = chain
    return found


def _kind(text: str) -> tuple[str, str]:
    line = text.strip()
    if declared := DECLARED.match(line):
        return "P" if declared[1] in BASES else "N", declared[1]
    found = RULE.match(line)
    assert found is not None
    return found[1], found[2]


def _candidates(section: list[Line]) -> list[str]:
    """The tables that have all the built-in chains of the rules and take their targets."""
    chains = {chain for _kind_of, chain in (_kind(line.text) for line in section)} & BASES
    policies = {chain for kind, chain in (_kind(line.text) for line in section) if kind == "P"}
    names = [name for name, built_in in BUILT_IN.items() if chains <= set(built_in)]
    if len(policies) > 1 and any(set(BUILT_IN[name]) == policies for name in names):
        names = [name for name in names if set(BUILT_IN[name]) == policies]
    for line in section:
        found = re.search(r"(?:-j|--jump)\s+(\S+)", line.text)
        if found and found[1] in ONLY:
            names = [name for name in names if name in ONLY[found[1]]]
    return names


def _listed(draft: Draft, given: str, number: int, chain: str, policy: str, rows: list[tuple[int, str]]) -> None:
    table = draft.table(given or "filter", number)
    if not given and chain in BASES - set(BUILT_IN["filter"]):
        raise InputError(
            f"chain {chain} is not one of table filter's",
            line=number,
            expected="the command before the list: iptables -t TABLE -nvL",
        )
    table.chain(chain, policy).extend(rows)


_CHANGES = ("-A", "-I", "-D", "-N", "-P", "-F", "-X", "-R", "-Z", "-E")
_LONG = {"--append": "-A", "--insert": "-I", "--delete": "-D", "--new-chain": "-N", "--policy": "-P", "--flush": "-F"}


def _changes(given: dict[str, str]) -> bool:
    return any(name in _CHANGES or name in _LONG for name in given)


def _command(block: Block, draft: Draft) -> None:
    """One command, or several on a line, that changes rules."""
    for part in re.split(r"\s*(?:;|&&)\s*(?:sudo\s+)?(?=iptables\b)", block.command):
        words = [_LONG.get(word, word) for word in _words(part)][1:]
        table = "filter"
        kept: list[str] = []
        place = 0
        while place < len(words):
            word = words[place]
            if word in ("-t", "--table"):
                table, place = words[place + 1] if place + 1 < len(words) else "", place + 2
            elif word in ("-w", "--wait", "-W", "--wait-interval"):
                place += 2 if place + 1 < len(words) and words[place + 1].isdigit() else 1
            elif word in ("-v", "-n", "--verbose"):
                place += 1
            else:
                kept.append(word)
                place += 1
        if any("$" in word for word in kept):
            raise InputError(
                "the command has a shell variable", line=block.number, expected="its value, or `iptables-save`"
            )
        if kept:
            _change(draft.table(table, block.number), kept, block.number)


def _change(table: Table, words: list[str], number: int) -> None:
    kind, rest = words[0], words[1:]
    chain = rest[0] if rest else ""
    if not chain and kind not in ("-F", "-X", "-Z"):
        raise InputError(f"`iptables {kind}` names no chain", line=number, expected="its chain")
    spec = " ".join(rest[1:])
    if kind == "-A":
        table.chain(chain).append((number, spec))
    elif kind == "-I":
        place = int(rest[1]) if len(rest) > 1 and rest[1].isdigit() else 1
        table.chain(chain).insert(
            place - 1, (number, " ".join(rest[2:] if len(rest) > 1 and rest[1].isdigit() else rest[1:]))
        )
    elif kind == "-R" and len(rest) > 2 and rest[1].isdigit() and int(rest[1]) <= len(table.chain(chain)):
        table.chain(chain)[int(rest[1]) - 1] = (number, " ".join(rest[2:]))
    elif kind == "-N":
        table.chain(chain)
    elif kind == "-P":
        table.chain(chain, spec or "ACCEPT")
    elif kind == "-F":
        for name in [chain] if chain else list(table.rules):
            table.chain(name).clear()
    elif kind == "-X":
        for name in [chain] if chain else [name for name in table.chains if name not in BASES]:
            table.chains.pop(name, None)
            table.rules.pop(name, None)
    elif kind == "-D":
        held = table.chain(chain)
        found = next((row for row in held if row[1] == spec), None)
        if spec.isdigit() and 0 < int(spec) <= len(held):
            del held[int(spec) - 1]
        elif found is not None:
            held.remove(found)
        else:
            raise InputError(
                f"the text has no rule that `iptables {' '.join(words)}` would delete", line=number, expected=WHAT
            )
    elif kind != "-Z":
        raise InputError(f"`iptables {kind}` is not read", line=number, expected="-A, -I, -R, -D, -N, -P, -F or -X")


def _words(command: str) -> list[str]:
    """The words of a command as a shell cuts them, each written as iptables-save writes it."""
    try:
        words = shlex.split(command.partition(" | ")[0], comments=True)
    except ValueError:
        words = command.split()
    return [f'"{word}"' if not word or re.search(r"\s", word) else word for word in words]


def _written(draft: Draft) -> Pasted:
    text: list[str] = []
    numbers: list[int] = []

    def write(line: str, number: int = 0) -> None:
        text.append(line)
        numbers.append(number)

    absent_tables = [name for name in ("nat", "filter") if name not in draft.tables]
    if draft.tables and absent_tables:
        draft.note(f"the text does not show table {' or '.join(absent_tables)}, which is taken as empty")
    for name, built_in in BUILT_IN.items():
        table = draft.tables.get(name)
        if table is None:
            continue
        write(f"*{name}")
        for chain in dict.fromkeys([*built_in, *table.chains]):
            write(f":{chain} {(table.chains.get(chain) or 'ACCEPT') if chain in built_in else '-'} [0:0]")
        absent = {chain for rows in table.rules.values() for _n, spec in rows if (chain := _jump(spec))} - set(
            table.chains
        )
        if absent:
            draft.note(
                f"table {name}: chains that the text does not show: {', '.join(sorted(absent))}; a jump to one is undecided"
            )
        for chain, rows in table.rules.items():
            for number, spec in rows:
                if _jump(spec) in absent:  # a goto to a chain that is not there would be refused
                    spec = re.sub(r"(?:^|(?<=\s))(?:-g|--goto)(?=\s)", "-j", spec)
                write(f"-A {chain} {spec}".rstrip(), number)
        write("COMMIT")
    return Pasted("\n".join(text) + "\n", tuple(numbers), tuple(draft.notes))


def _jump(spec: str) -> str:
    """The chain that a rule jumps to, or ""."""
    found = re.search(r"(?:^|\s)(?:-j|-g|--jump|--goto)\s+(\S+)", re.sub(r'"(?:[^"\\]|\\.)*"', '""', spec))
    return found[1] if found and found[1] not in TARGETS else ""
