"""Control planes for the tests beside this file."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from control_plane import Plane


@pytest.fixture
def plane() -> Plane:
    return Plane()


@pytest.fixture
def new_plane() -> Callable[..., Plane]:
    return Plane
