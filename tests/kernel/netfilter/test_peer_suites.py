"""Netfilter's own suites, read by emu: nothing differs but what the committed lists name, with the reason of each.

The suites are not in the project; without them (`tools/peer-suites` fetches them) the tests are skipped, loudly.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from peer_suites import IPSET, IPTABLES, LISTS, NO_SUITES, cases, disagreements, folder, listed

SUITES = (*IPTABLES, IPSET)


def suite(name: str) -> Path:
    path = folder() / name
    if not path.is_dir():
        if os.environ.get("EMU_REQUIRE_PEER_SUITES"):
            pytest.fail(f"the suites are required (EMU_REQUIRE_PEER_SUITES) and {name} is missing")
        pytest.skip(f"{NO_SUITES} ({name}: tools/peer-suites fetches it)")
    return path


@pytest.mark.parametrize("name", SUITES)
def test_a_suite_differs_where_the_list_names_it_and_nowhere_else(name: str) -> None:
    found, known = disagreements(suite(name)), listed(name)
    new = [f"{file}:{line} | {how} |" for (file, line), how in sorted(found.items()) if (file, line) not in known]
    assert not new, "emu differs from the suite: mend it, or list it with its reason\n" + "\n".join(new)
    gone = sorted(f"{file}:{line}" for file, line in known.keys() - found.keys())
    assert not gone, "emu agrees with the suite now: take these from the list\n" + "\n".join(gone)
    assert {place: how for place, (how, _) in known.items()} == found


@pytest.mark.parametrize("name", IPTABLES)
def test_the_suite_was_read(name: str) -> None:
    read = list(cases(suite(name)))
    assert len(read) > 2000
    assert {case.outcome for case in read} == {"OK", "FAIL", "NOMATCH"}


@pytest.mark.parametrize("name", SUITES)
def test_each_line_of_a_list_has_its_reason(name: str) -> None:
    assert all(reason and how for how, reason in listed(name).values())
    assert not [path for path in LISTS.iterdir() if path.name not in {"README.md", *(f"{each}.txt" for each in SUITES)}]
