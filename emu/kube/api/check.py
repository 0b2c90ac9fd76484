"""A manifest's plain value held against the declared fields: what is not modelled, and what nothing knows.

The struct types declare which fields are used, `fields.py` which are ignored. Must not know files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from types import UnionType
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin

import msgspec

from emu.kube.api.documents import path_text
from emu.kube.api.fields import ANNOTATIONS, FIELDS, IDLE_SYSCTLS
from emu.kube.api.meta import ApiStruct, Object, Path, to_value
from emu.modelled import NotModelled, nearest


class Remark(NamedTuple):
    """About the part at `path` of a manifest. `meant` is the nearest known field where the field is unknown."""

    path: Path
    what: str
    unknown: bool = False
    meant: str = ""

    @property
    def id(self) -> str:
        """That of its finding."""
        return "unknown-field" if self.unknown else "field-not-modelled"


Look = Callable[[Any, Path], Iterator[Remark]]
Plan = dict[str, type[ApiStruct] | NotModelled | Look | None]
"""What is to be done with the value of each known field: look below (by the plan of a struct), report it, or nothing (None)."""


def remarks(value: Mapping[str, Any], type_: type[Object]) -> Iterator[Remark]:
    """Everything in a manifest's value that is not modelled or not known, in the order written."""
    return _walk(value, plan(type_), ())


@cache
def plan(type_: type[ApiStruct]) -> Plan:
    """The known fields of a struct by their names in manifests."""
    table = FIELDS.get(type_.__name__, {})
    found: Plan = {}
    for field in msgspec.structs.fields(type_):
        found[field.encode_name] = _struct(field.type)
    for name, treatment in table.items():
        found[name] = treatment if isinstance(treatment, NotModelled) else None
    for name, look in _LOOKS.get(type_.__name__, {}).items():
        found[name] = look
    return found


def _struct(kind: Any) -> type[ApiStruct] | None:
    """The struct that a field of a type holds, alone or several of it. The type is read as it stands: msgspec's own description of it has
    every type below, too, and most manifests have few of them."""
    form = get_origin(kind)
    if form is Annotated or form is tuple:
        return _struct(get_args(kind)[0])
    if form is Union or form is UnionType:
        return next(filter(None, map(_struct, get_args(kind))), None)
    return kind if form is None and isinstance(kind, type) and issubclass(kind, ApiStruct) else None


def _walk(value: Mapping[str, Any], known: Plan, path: Path) -> Iterator[Remark]:
    for key, item in value.items():
        try:
            below = known[key]
        except KeyError:
            meant = nearest(key, known)
            yield Remark((*path, key), _unknown((*path, key), meant), True, meant)
            continue
        if below is None or item is None:
            continue
        here = (*path, key)
        if isinstance(below, NotModelled):
            if item not in ("", [], {}, *below.defaults) and not _repeats(value, item, below.same_as):
                yield Remark(here, _not_modelled(here, item, below))
        elif not isinstance(below, type):
            yield from below(item, here)
        elif isinstance(item, dict):
            yield from _walk(item, plan(below), here)
        elif isinstance(item, list):
            for number, each in enumerate(item):
                if isinstance(each, dict):
                    yield from _walk(each, plan(below), (*here, number))


def _annotations(value: Any, path: Path) -> Iterator[Remark]:
    """Only keys of emu's own are looked at."""
    for key in value if isinstance(value, dict) else ():
        if key.startswith("emu/") and key not in ANNOTATIONS:
            meant = nearest(key, ANNOTATIONS)
            hint = f' (expected "{meant}"?)' if meant else f" (expected {', '.join(ANNOTATIONS)})"
            yield Remark((*path, key), f'unknown annotation "{key}"{hint}', True, meant)


def _sysctls(value: Any, path: Path) -> Iterator[Remark]:
    """Of a pod's securityContext only the sysctls are looked at."""
    asked = value.get("sysctls") if isinstance(value, dict) else None
    for i, each in enumerate(asked if isinstance(asked, list) else ()):
        name = str(each.get("name", "")).replace("/", ".") if isinstance(each, dict) else ""
        if name.startswith(("net.ipv4.", "net.core.")) and name not in IDLE_SYSCTLS:
            here = (*path, "sysctls", i)
            yield Remark(here, f"{path_text(here)} {name} is not modelled: the pod keeps the default")


_LOOKS: dict[str, dict[str, Look]] = {
    "ObjectMeta": {"annotations": _annotations},
    "PodSpec": {"securityContext": _sysctls},
}


def _repeats(value: Mapping[str, Any], item: Any, other: str) -> bool:
    return bool(other) and item in (value.get(other), [value.get(other)])


def _unknown(path: Path, meant: str) -> str:
    return f'unknown field "{path_text(path)}"' + (f' (expected "{meant}"?)' if meant else "")


def _not_modelled(path: Path, item: Any, row: NotModelled) -> str:
    shown = f' "{item}"' if isinstance(item, str) else "" if isinstance(item, (dict, list)) else f" {item}"
    return f"{path_text(path)}{shown} is not modelled: {row.what}"


def remarks_of(obj: Object) -> Iterator[Remark]:
    """The same for an object that was made in code: its fields cannot be unknown."""
    yield from remarks(to_value(obj), type(obj))
