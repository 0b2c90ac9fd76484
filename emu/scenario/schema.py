"""The JSON Schema of scenario files, for editors. Must not know commands or files."""

from __future__ import annotations

import json
from typing import Any, cast

import msgspec

from emu.scenario.kinds import SHELVES
from emu.scenario.shape import scenario_type
from emu.scenario.steps import in_order


def schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of the first document of a scenario file."""
    (reference,), parts = msgspec.json.schema_components([scenario_type()], ref_template="#/$defs/{name}")
    # a step has exactly one action, which types cannot express
    parts["Step"]["oneOf"] = [{"required": [action]} for action in in_order()]
    described = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "emu scenario",
        **reference,
        "$defs": parts,
    }
    plain = json.dumps(described)  # lists, no tuples
    return cast(dict[str, Any], json.loads(plain, object_hook=_listed))


def _listed(part: dict[str, Any]) -> dict[str, Any]:
    """The names of a shelf in place of its own."""
    if "x-shelf" not in part:
        return part
    return {key: value for key, value in part.items() if key not in ("x-shelf", "type")} | {
        "enum": sorted(SHELVES[part["x-shelf"]])
    }
