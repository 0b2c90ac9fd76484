"""A label selector in one line, as `kubectl get -l` takes it (labels.Parse of apimachinery).

`app=web,tier!=db,zone in (a,b),canary,!old`. Must not know what is selected.
"""

from __future__ import annotations

import re
from typing import Literal

from emu.errors import InputError
from emu.kube.api.meta import LabelSelector, LabelSelectorRequirement

Operator = Literal["In", "NotIn", "Exists", "DoesNotExist"]
_COMMA = re.compile(r",(?![^()]*\))")  # outside of parentheses
_SET = re.compile(r"(\S+)\s+(in|notin)\s*\(([^()]*)\)")
_EQUAL = re.compile(r"([^=!<>\s]+)\s*(==|=|!=)\s*([^=!<>\s]*)")
_KEY = re.compile(r"(!?)\s*([^=!<>\s(),]+)")
_EXPECTED = "such as app=web, tier!=db, zone in (a,b), canary or !old, with commas"


def parse_selector(text: str) -> LabelSelector:
    """Raises InputError for what is no requirement, and for keys and values that no label can have."""
    found = LabelSelector(
        match_expressions=tuple(_requirement(each.strip()) for each in _COMMA.split(text) if each.strip())
    )
    for problem in found.problems(()):
        raise InputError(problem.what, expected=problem.expected)
    return found


def _requirement(text: str) -> LabelSelectorRequirement:
    if several := _SET.fullmatch(text):
        operator: Operator = "In" if several[2] == "in" else "NotIn"
        return LabelSelectorRequirement(several[1], operator, tuple(each.strip() for each in several[3].split(",")))
    if equal := _EQUAL.fullmatch(text):
        return LabelSelectorRequirement(equal[1], "NotIn" if equal[2] == "!=" else "In", (equal[3],))
    if key := _KEY.fullmatch(text):
        return LabelSelectorRequirement(key[2], "DoesNotExist" if key[1] else "Exists")
    raise InputError(f'"{text}" is no requirement of labels', expected=_EXPECTED)
