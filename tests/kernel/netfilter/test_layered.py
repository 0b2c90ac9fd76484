"""Chains over those of an earlier moment read as the dict that was copied and changed."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emu.kernel.netfilter.layered import Layered, changed, differing, has
from emu.kernel.netfilter.ruleset import Chain

BASE = {f"KUBE-{number}": Chain(f"KUBE-{number}") for number in range(80)}
NAMES = [*list(BASE)[:4], "KUBE-new", "KUBE-newer"]
steps = st.lists(
    st.lists(st.tuples(st.sampled_from(NAMES), st.booleans()), max_size=3, unique_by=lambda each: each[0]), max_size=8
)


@settings(deadline=None)
@given(steps)
def test_a_layered_table_is_the_changed_dict(found: list[list[tuple[str, bool]]]) -> None:
    expected: dict[str, Chain] = dict(BASE)
    table: Mapping[str, Chain] = BASE
    moments: list[tuple[Mapping[str, Chain], dict[str, Chain]]] = [(BASE, dict(BASE))]
    for step in found:
        other = {name: Chain(name) if there else None for name, there in step}
        before = [*table.items()]
        later = changed(table, other)
        assert [*table.items()] == before  # the earlier moment stays
        table = later
        for name, chain in other.items():
            if chain is None:
                expected.pop(name, None)
            else:
                expected[name] = chain
        assert [*table.items()] == [*expected.items()]
        assert len(table) == len(expected) and table == expected
        assert [name in table for name in NAMES] == [name in expected for name in NAMES]
        assert [table.get(name) for name in NAMES] == [expected.get(name) for name in NAMES]
        moments.append((table, dict(expected)))
        for (one, plain), (other_one, other_plain) in product(moments, moments):
            assert {*differing(one, other_one)} == {v for k, v in plain.items() if other_plain.get(k) is not v}
            assert has(one, {**other_plain}) == (other_plain.items() <= plain.items())
    with pytest.raises(KeyError):
        table["KUBE-none"]


def test_few_changes_share_what_was_there_and_many_are_a_copy() -> None:
    few = changed(BASE, {"KUBE-1": Chain("KUBE-1")})
    assert isinstance(few, Layered) and few["KUBE-2"] is BASE["KUBE-2"]
    assert changed(few, {}) == few and changed(few, {}) != BASE
    more: dict[str, Any] = {name: Chain(name) for name in list(BASE)[:6]}
    assert isinstance(changed(few, more), dict)
    assert isinstance(changed({}, more), dict)
