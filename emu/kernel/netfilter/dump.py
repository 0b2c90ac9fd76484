"""A real node's `iptables-save` text: as `save.parse_restore` reads it, but what is not modelled is kept, not refused.

A match or target that is not modelled, or only in part, becomes an unknown one (see `unknown.py`) with its text and
line. Broken text is still an InputError. A depth of jumps that nf_tables refuses is kept: the old iptables takes any.
Must not know how rules are walked.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import replace
from typing import NamedTuple

from emu.errors import InputError
from emu.kernel.netfilter.matches import Match, matches
from emu.kernel.netfilter.matches.comment import Comment
from emu.kernel.netfilter.matches.ip import Ip
from emu.kernel.netfilter.rule_reader import parse_rules
from emu.kernel.netfilter.ruleset import Rule, RuleSet, match_name
from emu.kernel.netfilter.save import parse_restore
from emu.kernel.netfilter.targets import Goto, Jump, Target, targets
from emu.kernel.netfilter.unknown import UnknownMatch, UnknownTarget

NOT_MODELLED = "is not modelled"
_MATCH, _TARGET = ("-m", "--match"), ("-j", "--jump", "-g", "--goto")
_OPENING = (*_MATCH, *_TARGET)


class Unknown(NamedTuple):
    """A rule with a part that is not modelled, and which."""

    rule: Rule
    why: str

    def __str__(self) -> str:
        return f"line {self.rule.line}: {self.why}: {self.rule}"


def parse_dump(text: str, file: str | None = None) -> RuleSet:
    """The rules of a dump. Raises InputError with file and line for broken text."""
    return parse_restore(text, file, read_rules=read_rules, jump_stack=None)


def unknown(ruleset: RuleSet) -> list[Unknown]:
    """The rules that make a packet's fate undecided when it comes to them."""
    found = []
    for rule in ruleset.rules():
        parts: list[Match | Target | None] = [*rule.matches, rule.target]
        for part in parts:
            if isinstance(part, UnknownMatch):
                found.append(Unknown(rule, f"-m {part.name} {part.why}"))
            elif isinstance(part, UnknownTarget):
                found.append(Unknown(rule, f"-j {part.name} {part.why}"))
            elif part is not None and part.undecided:
                word = f"-m {match_name(type(part))}" if isinstance(part, Match) else f"-j {part.spec().split()[1]}"
                found.append(Unknown(rule, f"{word}: {part.undecided}"))
    return found


def read_rules(words: list[str], table: str, chain: str, line: int, chains: Container[str]) -> list[Rule]:
    """`parse_rules`, with unknown parts in place of errors about matches and targets."""
    try:
        made = parse_rules(list(words), table, chain, line, chains)
    except InputError:
        return [_in_parts(words, table, chain, line, chains)]
    return [_checked(rule, chains) for rule in made]


def _checked(rule: Rule, chains: Container[str]) -> Rule:
    """A jump to what is neither a chain nor a target is a target that is not modelled."""
    target = rule.target
    if isinstance(target, Jump) and target.chain not in chains:
        return replace(rule, target=UnknownTarget(target.chain, (), NOT_MODELLED))
    return rule


def _in_parts(words: list[str], table: str, chain: str, line: int, chains: Container[str]) -> Rule:
    """The rule read part by part: iptables-save writes the basics first, then each match, then the target."""
    basics, *parts = _parts(words)
    if sum(part[0] in _TARGET for part in parts) > 1:
        raise InputError("two targets in one rule", expected="one")
    read = parse_rules(list(basics), table, chain, line, chains)
    if len(read) != 1:
        raise InputError("several addresses in one rule", expected="what iptables-save writes")
    found: list[Match] = list(read[0].matches)
    target: Target | None = None
    for part in parts:
        name = part[1] if len(part) > 1 else ""
        if not name:
            raise InputError(f"{part[0]} needs a name after it")
        try:
            rule = _checked(parse_rules([*basics, *part], table, chain, line, chains)[0], chains)
        except InputError as error:
            if part[0] in _MATCH:
                why = NOT_MODELLED if name not in matches else error.what
                found.append(UnknownMatch(name, tuple(part[2:]), why))
            elif part[0] in _TARGET[:2] and name not in chains:
                why = NOT_MODELLED if name not in targets else error.what
                target = UnknownTarget(name, tuple(part[2:]), why)
            else:
                raise
        else:
            found += [match for match in rule.matches if not isinstance(match, Ip)]
            target = rule.target if isinstance(rule.target, Target | Goto) else target
    comment = next((match.text for match in found if isinstance(match, Comment)), "")
    return Rule(table, chain, 0, tuple(found), target, comment, line)


def _parts(words: list[str]) -> list[list[str]]:
    """The basics, then one list for each `-m` and `-j` with what belongs to it. A comment's text is no option."""
    parts: list[list[str]] = [[]]
    texts = False
    for word in words:
        if not texts and word in _OPENING:
            parts.append([])
        parts[-1].append(word)
        texts = word in ("--comment", "--log-prefix", "--nflog-prefix", "--string")
    return parts
