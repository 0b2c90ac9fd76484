"""The whole shape of a scenario file: `kinds.py`, and in each step one key for each action that `steps/` has.

Must not know which actions there are.
"""

from __future__ import annotations

from functools import cache
from typing import cast

from msgspec import defstruct

from emu.scenario.kinds import ScenarioPart, Step
from emu.scenario.steps import actions, in_order


@cache
def scenario_type() -> type[ScenarioPart]:
    """What `msgspec` reads a scenario's first document as."""
    fields = [(name, actions[name].shape | None, None) for name in in_order()]
    doc, module = {"__doc__": Step.__doc__}, Step.__module__
    step = defstruct(
        "Step", fields, bases=(Step,), namespace=doc, module=module, frozen=True, forbid_unknown_fields=True
    )
    doc = {"__doc__": ScenarioPart.__doc__}
    steps = [("steps", tuple[step, ...], ())]  # type: ignore[valid-type]  # a type that is made while the program runs
    whole = defstruct("ScenarioPart", steps, bases=(ScenarioPart,), namespace=doc, module=module, frozen=True)
    return cast(type[ScenarioPart], whole)
