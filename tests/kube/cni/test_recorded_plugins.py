"""Plugins whose devices this machine's kernel may lack, beside what the real ones 1.1.1 were seen to do where it had them."""

from __future__ import annotations

import pytest

from cni_cases import compare_recorded, recorded
from cni_recorded import CASES


def test_every_case_is_recorded() -> None:
    assert sorted(recorded()) == sorted(CASES)


@pytest.mark.parametrize("name", CASES)
def test_the_same_as_was_recorded(name: str) -> None:
    compare_recorded(name, CASES[name])
