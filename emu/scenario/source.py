"""A scenario file as it was read: what other processes and machines get of it, to make the scenario there, or a like one.

A scenario itself cannot be sent: its types are made where they are used. Must not know who runs it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from emu.errors import InputError
from emu.kube.api.documents import Document
from emu.kube.api.loader import Loaded, read
from emu.scenario.kinds import ScenarioPart
from emu.scenario.script import Scenario, load_found, objects_of, read_again


class Source(NamedTuple):
    """A scenario file's documents, and the objects of its manifests. What else the scenario names (a `.conflist`, dumps, what `apply` names) is
    read where the scenario is made."""

    file: str
    document: Document
    own: tuple[Document, ...]
    loaded: Loaded
    declared: Loaded

    def scenario(self, value: Any = None) -> Scenario:
        """The scenario; with `value` as its first document instead. Raises InputError."""
        document = self.document if value is None else self.document.with_value(value)
        return read_again(document, self.file, lambda spec: self._objects(document, spec))

    def _objects(self, document: Document, spec: ScenarioPart) -> tuple[Loaded, Loaded]:
        """Those that the file has, or others where its manifests are."""
        if _of_objects(document.value) == _of_objects(self.document.value):
            return self.loaded, self.declared
        return objects_of(spec, document, self.own, Path(self.file).parent)


def _of_objects(value: Any) -> list[Any]:
    return [value.get("manifests"), (value.get("cluster") or {}).get("live")]


def opened(path: Path) -> tuple[Source, Scenario]:
    """A scenario file, read once. Raises InputError."""
    if path.is_dir():
        raise InputError("is a folder", file=str(path), expected="a scenario file")
    found = [*read(path)]
    scenario = load_found(path, iter(found))
    source = Source(scenario.file, scenario.document, tuple(found[1:]), scenario.loaded, scenario.declared)
    return source, scenario
