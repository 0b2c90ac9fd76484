"""The rules of a text that people pasted, each with its line there. Must not know what they are for."""

from __future__ import annotations

from dataclasses import replace

from emu.errors import InputError
from emu.kernel.netfilter.dump import parse_dump
from emu.kernel.netfilter.ruleset import Chain, Rule, RuleSet
from emu.pasted.rules import rules as iptables_save


def pasted_rules(text: str, file: str | None = None) -> tuple[RuleSet, list[str]]:
    """The rules of a pasted text, their lines those of the text, and what is to be noted. Raises InputError."""
    pasted = iptables_save(text, file)
    try:
        ruleset = parse_dump(pasted.text, file)
    except InputError as error:
        raise replaced(error, pasted.numbers) from None
    if pasted.numbers == tuple(range(1, len(pasted.numbers) + 1)):
        return ruleset, list(pasted.notes)

    def placed(rule: Rule) -> Rule:
        return replace(rule, line=pasted.numbers[rule.line - 1])

    tables = {
        name: {
            chain.name: Chain(chain.name, chain.policy, tuple(map(placed, chain.rules))) for chain in chains.values()
        }
        for name, chains in ruleset.tables.items()
    }
    return RuleSet(tables), list(pasted.notes)


def replaced(error: InputError, numbers: tuple[int, ...]) -> InputError:
    """An error about a line of the text that was made, with the line of the pasted one."""
    line = numbers[error.line - 1] or None if error.line is not None and error.line <= len(numbers) else error.line
    return InputError(error.what, file=error.file, line=line, path=error.path, expected=error.expected)
