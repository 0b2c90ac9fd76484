"""The one place of the version: pyproject.toml, `emu --version` and the captures read it here. Must not import."""

from __future__ import annotations

VERSION = "0.2.0"
