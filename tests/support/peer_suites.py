"""Netfilter's own test suites, where `tools/peer-suites` put them: cases of iptables' extensions, given to emu.

A case is a rule, what iptables-save writes of it, and whether it is taken. The suites are GPL-2.0: nothing of them lies in
the project, only the file and line of the cases that are judged otherwise, with the reason (`tests/data/peer-suites`).
Must not know how rules are read: it hands a text to `parse_restore` and compares what `save` writes.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import peer_ipset
from emu.errors import InputError
from rules import FakeNetns

IPTABLES = ("iptables-1.8.9", "iptables-1.8.11")
IPSET = "ipset-7.17"
NO_SUITES = "skipped: no suites of netfilter's own"
LISTS = Path(__file__).parents[1] / "data" / "peer-suites"
_PROGRAMS = {"libipt": "iptables", "libxt": "iptables"}  # the others are ip6tables', arptables' and ebtables'
_INVERSE = {"OK": "FAIL", "FAIL": "OK", "NOMATCH": "OK"}


def folder() -> Path:
    """Where the suites lie: EMU_PEER_SUITES, or the place that `tools/peer-suites` uses without it."""
    given = os.environ.get("EMU_PEER_SUITES")
    cached = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(given) if given else cached / "emu" / "peer-suites"


@dataclass(frozen=True, slots=True)
class Case:
    """One rule in one chain. `outcome`: OK (taken, saved as `saved`), FAIL (refused), NOMATCH (taken, saved otherwise)."""

    file: str
    line: int
    table: str
    chain: str
    rule: str
    saved: str
    outcome: str


def cases(suite: Path) -> Iterator[Case]:
    """The cases of iptables' `extensions/*.t`, for its nf_tables variant."""
    for path in sorted(suite.glob("extensions/*.t")):
        if path.name.split("_")[0] in _PROGRAMS:
            yield from _cases(path)


def _cases(path: Path) -> Iterator[Case]:
    table, chains = "filter", [""]
    for number, line in enumerate(path.read_text().splitlines(), 1):
        match line[:1]:
            case "" | "#" | "@" | "%":
                continue
            case ":":
                chains = line[1:].rstrip().split(",")
            case "*":
                table = line[1:].rstrip()
            case _:
                rule, saved, *words = line.split(";")
                outcome = _outcome(words)
                if outcome == "=":  # this variant saves the rule as it is
                    saved, outcome = "=", "OK"
                for chain in chains:
                    yield Case(path.name, number, table, chain, rule, saved, outcome)


def _outcome(words: list[str]) -> str:
    """What the nf_tables variant does: `OK`, or `OK;LEGACY` and perhaps the other variant's outcome."""
    outcome, variant, other = ([word.strip() for word in words] + ["", ""])[:3]
    if variant not in ("", "NFT"):
        outcome = other or _INVERSE[outcome]
    return outcome


def judged(case: Case) -> str:
    """How emu differs from the suite; "" where it agrees."""
    words = shlex.split(case.rule)
    text = f"*{case.table}\n:foo - [0:0]\n-A {case.chain} {' '.join(map(_quoted, words))}\nCOMMIT\n"
    try:
        tables = FakeNetns().tables
        tables.restore(text)
        rules = tables.ruleset.tables[case.table][case.chain].rules
    except InputError:
        return "" if case.outcome == "FAIL" else "refused"
    if case.outcome == "FAIL":
        return "taken"
    wanted = (case.rule if case.saved == "=" else case.saved).strip()
    same = "\n".join(rule.spec for rule in rules) == wanted.replace(f"\\n-A {case.chain} ", "\n")
    if same is (case.outcome == "OK"):
        return ""
    return "saved otherwise" if case.outcome == "OK" else "saved so"


def _quoted(word: str) -> str:
    return word if word and not set(word) & set("\"'\\ \t") else '"' + re.sub(r'(["\\])', r"\\\1", word) + '"'


def disagreements(suite: Path) -> dict[tuple[str, int], str]:
    """File and line of each case that emu judges otherwise, and how."""
    if suite.name == IPSET:
        return peer_ipset.ask(suite).differ
    found: dict[tuple[str, int], str] = {}
    for case in cases(suite):
        how = judged(case)
        if how:
            found.setdefault((case.file, case.line), how)
    return found


def listed(suite: str) -> dict[tuple[str, int], tuple[str, str]]:
    """The committed list of a suite: file and line, how emu differs, and the reason."""
    found = {}
    for line in (LISTS / f"{suite}.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            place, how, reason = (part.strip() for part in line.split("|"))
            file, _colon, number = place.rpartition(":")
            found[file, int(number)] = how, reason
    return found
