"""np-guard's folders: every connection that its analyser lists, and no other, by the pure function."""

from __future__ import annotations

from pathlib import Path

import pytest

from np_guard import connlist, expected, folders

pytestmark = pytest.mark.skipif(not folders(), reason="no shared cases of np-guard")


@pytest.mark.parametrize("path", folders(), ids=lambda path: path.name)
def test_the_connections_are_those_that_the_analyser_lists(path: Path) -> None:
    assert connlist(path) == expected(path)
