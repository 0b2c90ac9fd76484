"""The cases of network policies in the shared folder: objects, steps, and matrices of who may call whom.

A cell is `.` (the connection is made), `X` (it is not) or `-` (not judged). Must not know who judges a cell.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import yaml

from emu.kube.api.kinds import type_of
from emu.kube.api.loader import convert
from emu.kube.api.meta import Key, Object, Other

SHARED = Path(os.environ.get("EMU_SHARED", "")) if os.environ.get("EMU_SHARED") else None


def folder(name: str) -> Path | None:
    """A folder of the shared conformance cases, if this machine has it."""
    roots = [SHARED] if SHARED else [parent / "shared" for parent in Path(__file__).resolve().parents]
    return next((found for root in roots if (found := root / "conformance" / name).is_dir()), None)


class Cell(NamedTuple):
    source: str
    destination: str
    protocol: str
    port: int
    wanted: str

    def __str__(self) -> str:
        return f"{self.source} -> {self.destination} {self.port}/{self.protocol}"


def cells(matrix: str) -> Iterator[Cell]:
    """The cells of a matrix, block by block."""
    for block in matrix.strip().split("\n\n"):
        head, *rows = block.splitlines()
        ports, *columns = head.split()
        port, _, protocol = ports.partition("/")
        for row in rows:
            source, *marks = row.split()
            for column, mark in zip(columns, marks, strict=True):
                yield Cell(source, column, protocol, int(port), mark)


class Case(NamedTuple):
    name: str
    value: dict[str, Any]

    @property
    def steps(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.value.get("steps", [])
        return found

    def outside(self) -> dict[str, tuple[str, tuple[str, ...]]]:
        """Hosts outside, by name: address and domain names."""
        found = {}
        for name, given in (self.value.get("outside") or {}).items():
            if isinstance(given, dict):
                found[name] = given["address"], tuple(given.get("names", ()))
            else:
                found[name] = given, ()
        return found

    def objects(self) -> list[Object]:
        return [obj for value in self.value.get("objects", ()) for obj in self.read(value)]

    def read(self, value: Any) -> list[Object]:
        """A manifest as typed objects; those that an API server would refuse without its checks."""
        if self.value.get("skip_validation"):
            found = type_of(value["apiVersion"], value["kind"])
            return [] if found is Other else [msgspec.convert(value, found)]
        return [obj for obj in convert(value) if not isinstance(obj, Other)]


@cache
def cases() -> tuple[Case, ...]:
    root = folder("network-policy")
    files = sorted((root / "cases").glob("*.yaml")) if root is not None else []
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return tuple(Case(file.stem, yaml.load(file.read_text(encoding="utf-8"), loader)) for file in files)


class World:
    """A case's objects as they stand after some of its steps."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.objects: dict[Key, Object] = {}
        self.values: dict[Key, dict[str, Any]] = {}
        for value in case.value.get("objects", ()):
            self._apply(value)

    def _apply(self, value: dict[str, Any]) -> list[Object]:
        made = self.case.read(value)
        for obj in made:
            self.objects[obj.key], self.values[obj.key] = obj, value
        return made

    def act(self, change: dict[str, Any]) -> tuple[list[Object], list[Key]]:
        """Carry out one entry of `do`: the objects that came or changed, and the keys of those that went."""
        if "apply" in change:
            return self._apply(change["apply"]), []
        if "label" in change:
            given = change["label"]
            key = Key(given["kind"].lower(), given.get("namespace", ""), given["name"])
            value = dict(self.values[key])
            labels = {**value["metadata"].get("labels", {}), **given["labels"]}
            kept = {name: text for name, text in labels.items() if text is not None}
            return self._apply({**value, "metadata": {**value["metadata"], "labels": kept}}), []
        given = change["delete"]
        key = Key(given["kind"].lower(), given.get("namespace", ""), given["name"])
        gone = [key]
        if key.kind == "namespace":
            gone += [each for each in self.objects if each.namespace == key.name]
        for each in gone:
            self.objects.pop(each, None)
        return [], gone
