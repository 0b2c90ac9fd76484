"""The base of the facts of a trail: frozen values that msgspec makes, which costs a start less than as many dataclasses.

A file of its own, because compiled code loses the word `frozen`. For facts whose fields never change: copies of a state
share them. Must not know what happened.
"""

from __future__ import annotations

from msgspec import Struct


class Fact(Struct, frozen=True):
    """What happened, as a value."""
