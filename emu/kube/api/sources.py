"""Objects from whatever people have at hand: files, folders, texts, plain dicts, objects, and lists of all of these.

Must not know what the objects are for.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

from emu.errors import InputError
from emu.kube.api.documents import documents
from emu.kube.api.loader import Loaded, Objects, read, take, take_document
from emu.kube.api.meta import Object

Manifest: TypeAlias = "Mapping[str, object]"
"""One manifest as plain values, as YAML or JSON gives it."""
Source: TypeAlias = "str | os.PathLike[str] | Manifest | Object | Loaded | Iterable[Source]"
"""A file or folder by its path, the text of manifests, a manifest, an object, or several of these."""
WANTED = "a path, the text of manifests, a dict, an object, or a list of these"
_OURS = "emu/"


def load(*sources: Source, namespace: str = "default", live: bool = False) -> Loaded:
    """Read all sources: the objects in their order, and where each stood. `namespace` is for objects that name none.

    A text is known from a path by its line break, or by ": " in it. Of a folder every .yaml, .yml and .json directly in it is
    read, by name. The same object twice is an error, unless it is the export of a `live` cluster (see `Loaded`). Raises
    InputError with the place in the file, or in the list.
    """
    loaded = Loaded(live=live)
    for number, source in enumerate(sources):
        _take(loaded, source, namespace, (number,) if len(sources) > 1 else ())
    return loaded


def objects(*sources: Source, namespace: str = "default") -> Objects:
    """The objects of all sources, as `load` reads them. Raises InputError."""
    return load(*sources, namespace=namespace).objects


def checked(source: Source) -> Objects | list[Object]:
    """As `objects`. Objects alone, which the loader or code has made, come as they are: who gets them looks for what is
    not modelled, and at names that are there twice."""
    if isinstance(source, Objects):
        return source
    if isinstance(source, Iterable) and not isinstance(source, (str, bytes, Mapping)):
        source = list(source)
        found = [each for each in source if isinstance(each, Object)]
        if len(found) == len(source):
            return found
    return objects(source)


def is_text(source: str) -> bool:
    """Whether a string is manifests and not a path."""
    return "\n" in source or ": " in source or source.lstrip().startswith("{")


def _take(loaded: Loaded, source: object, namespace: str, at: tuple[str | int, ...]) -> None:
    """Read one source; `at` is its place in the lists that it stands in."""
    if isinstance(source, Loaded):
        loaded.ignored += source.ignored
        loaded.settings += source.settings
        loaded.objects.findings += source.objects.findings
        loaded.objects.custom += source.objects.custom
        for obj in source.objects:
            take(loaded, obj, at)
    elif isinstance(source, Object):
        take(loaded, source, at)
    elif isinstance(source, Mapping):
        take_document(loaded, dict(source), None, namespace, at)
    elif isinstance(source, (str, os.PathLike)):
        text = isinstance(source, str) and is_text(source)
        for document in documents(str(source)) if text else read(source):
            value = document.value
            if isinstance(value, dict) and str(value.get("apiVersion", "")).startswith(_OURS):
                raise document.error("a scenario is no manifest", expected="emu.run(FILE), or its manifests alone")
            take_document(loaded, value, document, namespace)
    elif isinstance(source, Iterable) and not isinstance(source, (bytes, bytearray)):
        if isinstance(source, Objects):
            loaded.objects.findings += source.findings
            loaded.objects.custom += source.custom
        for number, each in enumerate(_listed(source)):
            _take(loaded, each, namespace, (*at, number))
    else:
        what = "None" if source is None else f"something of type {type(source).__name__}"
        place = "".join(f"[{step}]" for step in at)
        raise InputError(f"{what} is no manifest", path=place or None, expected=WANTED)


def _listed(source: Iterable[object]) -> Iterator[object]:
    return iter(source)
