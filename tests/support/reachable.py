"""Everything that a state holds and could change: the objects that Python's collector reaches from it.

What cannot change is left out with all that it holds: modules, classes, code, plain values, frozen values of msgspec, and
what declares that it never changes.
"""

from __future__ import annotations

import gc
import sys
from enum import Enum
from functools import partial
from types import BuiltinMethodType, CodeType, FunctionType, ModuleType

from emu.fork import itself

PLAIN = (int, str, bytes, float, complex, type(None), range, CodeType, type, ModuleType, Enum)
# they hold others, and no state of their own: what they hold is looked at
SHELLS = (tuple, frozenset, FunctionType, BuiltinMethodType)


def reachable(*roots: object) -> dict[int, object]:
    """By id: what can be reached from `roots`."""
    seen: dict[int, object] = {}
    left: list[object] = list(roots)
    constants = module_values()
    while left:
        each = left.pop()
        if id(each) in seen or id(each) in constants or isinstance(each, PLAIN) or never_changes(each):
            continue
        seen[id(each)] = each
        if isinstance(each, FunctionType):
            left += [*(each.__closure__ or ()), each.__defaults__, each.__kwdefaults__]
        elif isinstance(each, partial):
            left += [each.func, *each.args, *each.keywords.values()]
        else:
            left += gc.get_referents(each)
    return seen


def never_changes(each: object) -> bool:
    kind = type(each)
    config = getattr(kind, "__struct_config__", None)
    return kind is object or getattr(kind, "__deepcopy__", None) is itself or (config is not None and config.frozen)


def module_values() -> set[int]:
    """The ids of what emu's modules and classes hold."""
    found = [
        each for name, module in sys.modules.items() if name.split(".")[0] == "emu" for each in vars(module).values()
    ]
    found += [value for each in found if isinstance(each, type) for value in vars(each).values()]
    return {id(each) for each in found}


def shared(one: object, other: object) -> list[object]:
    """What can be reached from both, and may change."""
    ours, theirs = reachable(one), reachable(other)
    both = [each for key, each in ours.items() if key in theirs]
    return [each for each in both if not isinstance(each, SHELLS) and not frozen(each)]


def frozen(each: object) -> bool:
    """A frozen dataclass, or a call of shared parts: what it holds is looked at by itself."""
    params = getattr(type(each), "__dataclass_params__", None)
    return (params is not None and params.frozen) or type(each).__name__ in ("partial", "method", "method_descriptor")
