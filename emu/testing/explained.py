"""Hypothesis without the phase that explains a failure line by line. Must not know pytest."""

from __future__ import annotations

from typing import Any

from hypothesis import Phase, settings

CHOICE = "_hypothesis_internal_use_settings"  # where Hypothesis keeps the settings of a test


def without_tracing(test: Any) -> None:
    """Leave the phase `explain` out, unless the test chose its phases. A Hypothesis that keeps its settings elsewhere is left
    as it is."""
    own = getattr(test, CHOICE, settings.default)
    if isinstance(own, settings) and own.phases == tuple(Phase):
        setattr(test, CHOICE, settings(own, phases=tuple(each for each in Phase if each is not Phase.explain)))
