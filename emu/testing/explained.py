"""Hypothesis without the phase that explains a failure line by line. Must not know pytest."""

from __future__ import annotations

from typing import Any

from hypothesis import Phase, settings

CHOICE = "_hypothesis_internal_use_settings"  # where Hypothesis keeps the settings of a test function


def without_tracing(test: Any, owner: Any = None) -> None:
    """Leave the phase `explain` out, unless the test chose its phases. `owner` is the class of a test method: that of a state
    machine has the settings. A Hypothesis that keeps its settings elsewhere is left as it is."""
    if isinstance(getattr(owner, "settings", None), settings):
        owner.settings = _quick(owner.settings)
    function = getattr(test, "__func__", test)
    own = getattr(function, CHOICE, settings.default)
    if hasattr(function, "hypothesis") and isinstance(own, settings):
        setattr(function, CHOICE, _quick(own))


def _quick(own: settings) -> settings:
    if own.phases != tuple(Phase):
        return own
    return settings(own, phases=tuple(each for each in Phase if each is not Phase.explain))
