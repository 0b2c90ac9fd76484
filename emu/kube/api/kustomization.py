"""A folder with a kustomization: the files that it lists, where listing is all it does. Everything else is kubectl's to build.

Must not know objects.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from emu.errors import InputError
from emu.kube.api.documents import Document, documents, read_text
from emu.modelled import Finding

NAMES = ("kustomization.yaml", "kustomization.yml", "Kustomization")
API = "kustomize.config.k8s.io/"
LISTS = ("resources", "bases")
_HEAD = ("apiVersion", "kind", "metadata")
NO_PACKET = (
    "images", "configMapGenerator", "secretGenerator", "generatorOptions", "buildMetadata", "sortOptions", "openapi",
)  # fmt: skip
"""What is left out, with a note: it changes no packet."""
MAX_DEEP = 20


def file_in(folder: Path) -> Path | None:
    """The kustomization of a folder."""
    return next((folder / name for name in NAMES if (folder / name).is_file()), None)


def files(folder: Path) -> list[Path]:
    """The manifests that the kustomization of a folder lists, and those of the folders that it lists, in its order. Raises InputError
    where it does more than list."""
    return [*_files(folder, folder, 0)]


def left_out(folder: Path) -> list[Finding]:
    """What of a folder's kustomization is not applied. Raises InputError."""
    path = file_in(folder) if folder.is_dir() else None
    if path is None:
        return []
    document = _read(path)
    given = [key for key in NO_PACKET if key in document.value]
    if not given:
        return []
    what = f"{', '.join(given)}: not applied, as no packet depends on it"
    return [Finding(f"{path}:{document.line_of((given[0],))}", "kustomization", what, "kustomization")]


def refusal(what: str, folder: str | Path, document: Document, at: tuple[str | int, ...] = ()) -> InputError:
    """The error for a kustomization that has to be built."""
    return document.error(
        f"this is a kustomization{what}", at, expected=f"its output: kubectl kustomize {folder} | emu run -f -"
    )


def _files(top: Path, folder: Path, deep: int) -> Iterator[Path]:
    path = file_in(folder)
    if path is None:
        raise InputError("has no kustomization", file=str(folder), expected=f"one of {', '.join(NAMES)} in it")
    document = _read(path)
    for key in document.value:
        if key not in (*_HEAD, *LISTS, *NO_PACKET):
            raise refusal(f" with {key}, which kubectl applies", top, document, (key,))
    if str(document.value.get("kind", "Kustomization")) != "Kustomization":
        raise refusal(f" of kind {document.value['kind']}, which kubectl builds", top, document, ("kind",))
    if deep > MAX_DEEP:
        raise refusal(" that lists itself", top, document)
    for list_ in LISTS:
        for number, each in enumerate(_listed(document, list_)):
            there = folder / str(each)
            if there.is_dir():
                yield from _files(top, there, deep + 1)
            elif there.is_file():
                yield there
            else:
                what = f" that lists {each}, which is no file or folder here"
                raise refusal(what, top, document, (list_, number))


def _listed(document: Document, key: str) -> list[Any]:
    found = document.value.get(key) or []
    if not isinstance(found, list):
        raise document.error(f"{key} is no list", (key,), expected="files and folders")
    return found


def _read(path: Path) -> Document:
    found = [*documents(read_text(path), str(path))]
    if len(found) != 1 or not isinstance(found[0].value, dict):
        raise InputError("is no kustomization", file=str(path), expected="one mapping, with resources")
    return found[0]
