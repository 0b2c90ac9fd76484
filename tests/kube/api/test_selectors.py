"""Selectors in one line, as kubectl takes them (labels.Parse of apimachinery)."""

from __future__ import annotations

import pytest

from emu.errors import InputError
from emu.kube.api.selectors import parse_selector

LABELS = {"app": "web", "tier": "front", "zone": "", "example.com/old": "no"}


@pytest.mark.parametrize(
    ("text", "selected"),
    [
        ("", True),
        ("app=web", True),
        ("app == web", True),
        ("app=db", False),
        ("app!=db", True),
        ("app != web", False),
        ("absent!=web", True),
        ("absent=", False),
        ("zone=", True),
        ("zone", True),
        ("!zone", False),
        ("!absent", True),
        ("! absent", True),
        ("absent", False),
        ("example.com/old=no", True),
        ("app in (db, web)", True),
        ("app in (db)", False),
        ("app notin (db,mail)", True),
        ("app notin (web)", False),
        ("absent notin (web)", True),
        ("absent in (web)", False),
        ("app in (web,db),tier=front", True),
        ("app in (web,db),tier=back", False),
        ("app=web,tier", True),
        (" app=web , !absent ", True),
    ],
)
def test_an_object_is_selected_or_not(text: str, selected: bool) -> None:
    assert parse_selector(text).matches(LABELS) is selected


@pytest.mark.parametrize(
    "text",
    ["a b", "app=web tier=front", "app in web", "app in ()()", "a>1", "(a)", "=x", "a=b=c", "app=x/y", "-a", "a in (b"],
)
def test_what_is_none_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"is no requirement|is not a label"):
        parse_selector(text)
