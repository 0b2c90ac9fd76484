"""The commands of the CNI specification, as `emu cni` takes them.

A file of its own, so that `emu --help` imports no plugin. Must not know what a command does.
"""

from __future__ import annotations

from enum import StrEnum


class Command(StrEnum):
    """A command of the specification, in small letters."""

    add = "add"
    delete = "del"
    check = "check"
    gc = "gc"
    status = "status"
    version = "version"
