"""Manifests to objects: files, folders and texts in, typed objects out, mistakes with file, line and path.

msgspec converts all values at once; only when that fails are YAML's marks read for the line.
Must not know what the objects are for.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any, NamedTuple

import msgspec
from msgspec import inspect

from emu.errors import InputError
from emu.kube.api import kustomization
from emu.kube.api.check import Remark, remarks
from emu.kube.api.documents import STDIN, Document, documents, path_text, read_text
from emu.kube.api.dumps import dumped, is_dump, is_tar, members, other_value, without
from emu.kube.api.kinds import CLUSTER_SCOPED, CUSTOM, remark, type_of
from emu.kube.api.meta import Key, Object, Other, Path, name_problem, replace
from emu.kube.api.old_versions import current
from emu.kube.api.settings import ConfigMap, is_setting
from emu.modelled import Finding, nearest

LEFT_OUT = "is left out: "  # how a finding begins about an object of an export that cannot be read
SUFFIXES = (".yaml", ".yml", ".json")
_PORT_FIELDS = {"port", "containerPort", "hostPort", "nodePort", "healthCheckNodePort"}
_JSON_WORDS = {"array": "a list", "object": "a mapping", "str": "a string", "int": "an integer", "bool": "a boolean"}
_JSON_WORDS |= {"float": "a number", "null": "null"}
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+)\]|(\[\.\.\.\])")


class Place(NamedTuple):
    """Where an object was written. Its line is looked for on request: for an item of a list that means
    reading the document once more."""

    file: str | None
    where: int | tuple[Document, Path]

    @property
    def line(self) -> int:
        return self.line_of(())

    def line_of(self, path: Path) -> int:
        """The line of a part of the object."""
        if isinstance(self.where, int):
            return self.where
        document, own = self.where
        return document.line_of((*own, *path))


class Objects(list[Object]):
    """Objects as they were read, in the order written, with what their manifests hold that is not modelled or not known."""

    def __init__(self, objects: Iterable[Object] = ()) -> None:
        super().__init__(objects)
        self.findings: list[Finding] = []
        self.custom: Counter[str] = Counter()

    def note(self, finding: Finding, *, custom: str = "") -> None:
        """Add a finding; `custom` is the kind of a custom resource, and its API version."""
        self.findings.append(finding)
        if custom:
            self.custom[custom] += 1

    @property
    def notes(self) -> list[Finding]:
        """The findings; several custom resources are counted by kind in one."""
        if self.custom.total() < 2:
            return self.findings
        counted = ", ".join(f"{count} {kind}" for kind, count in self.custom.most_common())
        what = f"{self.custom.total()} custom resources are not modelled, nothing acts on them: {counted}"
        return [*(each for each in self.findings if each.id != CUSTOM), Finding("", "", what, CUSTOM)]


@dataclass
class Loaded:
    """What was read: objects in the order written, the names of those without effect, and where each stood, if in a text.
    `settings` are those of the latter that show how a running cluster was set up. `live`: they are the export of one, which an
    API server has accepted: of the same object twice the younger counts, and an object that cannot be read is left out and reported.
    """

    objects: Objects = field(default_factory=Objects)
    settings: list[ConfigMap] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    places: dict[Key, Place] = field(default_factory=dict)
    keys: dict[Key, int] = field(default_factory=dict)
    live: bool = False


def load(paths: Iterable[str | os.PathLike[str]], *, namespace: str = "default") -> Loaded:
    """Read files and folders (every .yaml, .yml and .json directly in them, by name). Raises InputError."""
    return load_documents((d for path in paths for d in read(path)), namespace=namespace)


def load_text(text: str, file: str | None = None, *, namespace: str = "default") -> Loaded:
    """Read manifests from a text; `file` is its name in messages. Raises InputError."""
    return load_documents(documents(text, file), namespace=namespace)


def load_documents(found: Iterable[Document], *, namespace: str = "default", live: bool = False) -> Loaded:
    """Turn documents into objects. The same object twice is an error, unless they are the export of a `live` cluster. Raises
    InputError."""
    loaded = Loaded(live=live)
    for document in found:
        take_document(loaded, document.value, document, namespace)
    return loaded


def take_document(
    loaded: Loaded, value: Any, document: Document | None, namespace: str = "default", at: Path = ()
) -> None:
    """Add the objects of one manifest; `document` is None for a value that no text holds, `at` its place in a list. Raises
    InputError."""
    for obj, path in _objects(value, at, document, namespace, loaded.objects, loaded.live):
        place = None
        if document is not None:
            place = Place(document.file, (document.without_value(), path))
        _add(loaded, obj, path, place, document)


def take(loaded: Loaded, obj: Object, at: Path = ()) -> None:
    """Add an object that was made in code. Raises InputError when it is there already."""
    _add(loaded, obj, at, None, None)


def _add(loaded: Loaded, obj: Object, path: Path, place: Place | None, document: Document | None) -> None:
    key = obj.key
    if key in loaded.keys and loaded.live:
        _younger(loaded, obj, place)
        return
    if key in loaded.keys:
        first, where = loaded.places.get(key), ""
        if first is not None:
            same = first.file is None or (place is not None and first.file == place.file)
            where = f", first at {f'line {first.line}' if same else f'{first.file}:{first.line}'}"
        raise _error(f"{key} is declared twice{where}", path, document, None)
    loaded.keys[key] = len(loaded.objects)
    if place is not None:
        loaded.places[key] = place
    if isinstance(obj, Other):
        loaded.ignored.append(str(key))
        if isinstance(obj, ConfigMap):
            loaded.settings.append(obj)
    else:
        loaded.objects.append(obj)


def _younger(loaded: Loaded, obj: Object, place: Place | None) -> None:
    """The same object once more, as files of several moments hold it."""
    if isinstance(obj, Other):
        return
    at = loaded.keys[obj.key]
    mine, other = loaded.objects[at].metadata, obj.metadata
    if mine.uid and (mine.uid, mine.resource_version) == (other.uid, other.resource_version):
        return  # a dump may have it in a list and in a file of its own
    what = "is in the export more than once: the younger one counts"
    if loaded.objects[at].metadata.uid != obj.metadata.uid:
        what = "is in the export with several uids, of several moments or clusters: the younger one counts"
    loaded.objects.note(Finding("", str(obj.key), what, "declared-twice"))
    if _version(loaded.objects[at]) <= _version(obj):
        loaded.objects[at] = obj
        if place is not None:
            loaded.places[obj.key] = place


def _version(obj: Object) -> tuple[int, str]:
    """Its place in time: resourceVersion, which API servers count up."""
    version = obj.metadata.resource_version
    return int(version) if version.isdecimal() else 0, obj.metadata.creation_timestamp or ""


def read(path: str | os.PathLike[str]) -> Iterator[Document]:
    """The documents of a file ("-": of standard input), of the manifests in a folder, or of the dump of a cluster in a folder or a
    tar. Raises InputError."""
    if is_tar(path):
        for name, text in members(path):
            yield from dumped(text, name)
        return
    for file in files_of(path):
        yield from dumped(read_text(file), str(file))


def files_of(path: str | os.PathLike[str]) -> list[FilePath]:
    """A file, or the files in a folder that kubectl reads, by name; of a cluster's dump those of all folders, with a kustomization those
    that it lists. Raises InputError."""
    top = FilePath(path)
    try:
        folder = top.is_dir()
        files = [top]
        if folder and kustomization.file_in(top) is not None:
            return kustomization.files(top)
        if folder:
            inside = top.rglob("*") if is_dump(top) else top.iterdir()
            files = sorted(f for f in inside if f.suffix in SUFFIXES and f.is_file())
    except OSError as e:
        raise InputError(e.strerror or str(e), file=e.filename or str(path)) from None
    if folder and not files:
        raise without([each.name for each in top.iterdir()], str(path), "folder")
    return files


def convert(
    value: Any,
    *,
    namespace: str = "default",
    document: Document | None = None,
    at: Path = (),
    notes: Objects | None = None,
) -> list[Object]:
    """One manifest's plain value, as objects (several for a List; `Other` for kinds without effect).

    `document` and `at` are the value's place, for the message; `notes` gets the findings. Raises InputError.
    """
    return [obj for obj, _ in _objects(value, at, document, namespace, Objects() if notes is None else notes)]


def _objects(
    value: Any, at: Path, document: Document | None, namespace: str, notes: Objects, live: bool = False
) -> Iterator[tuple[Object, Path]]:
    if not isinstance(value, dict):
        raise _error(f"{_shown(value)} is not an object", at, document, "a mapping with apiVersion and kind")
    if not at and document is not None and _is_kustomization(value, document):
        assert document is not None
        raise kustomization.refusal(
            ", which kubectl builds: emu reads the folder of one that only lists files",
            "FOLDER" if document.file in (None, STDIN) else FilePath(document.file or "").parent,
            document,
        )
    other = None if at else other_value(value)
    if other is not None:
        raise _error(other[0], at, document, other[1])
    for field_ in ("apiVersion", "kind"):
        text = value.get(field_)
        if not isinstance(text, str) or not text:
            what = f"{field_} is missing" if text in (None, "") else f"{_shown(text)} is not a string"
            if field_ == "kind" and isinstance(
                value.get("items"), list
            ):  # kubectl writes a list's kind behind its items
                what = "a list without a kind at its end: the text was cut"
                raise _error(what, at, document, "the whole output of kubectl")
            written = nearest(field_, value) if text is None else ""
            expected = f'"{field_}" instead of "{written}"' if written else "apiVersion and kind in every manifest"
            raise _error(what, at if text is None else (*at, field_), document, expected)
    value, old = current(value)
    api_version, kind = value["apiVersion"], value["kind"]
    if kind.endswith("List") and isinstance(value.get("items", []), list):
        of = kind.removesuffix("List")
        for i, item in enumerate(value.get("items", [])):
            if of and isinstance(item, dict):
                item = {"apiVersion": api_version, "kind": of, **item}
            yield from _objects(item, (*at, "items", i), document, namespace, notes, live)
        return
    try:
        type_ = type_of(api_version, kind)
    except InputError as e:
        raise _error(e.what, (*at, "apiVersion"), document, e.expected) from None
    meta = value.get("metadata")
    if type_ is Other and isinstance(meta, dict):
        if is_setting(kind, str(meta.get("namespace", namespace)), str(meta.get("name"))):
            type_ = ConfigMap
    found = [] if issubclass(type_, Other) else [*remarks(value, type_)]
    try:
        obj = _finish(_typed(value, type_, at, document), at, document, namespace, live)
    except InputError as e:
        if live:
            name = meta.get("name") if isinstance(meta, dict) else ""
            where = meta.get("namespace") if isinstance(meta, dict) else ""
            about = f"{kind.lower()}/{where}/{name}" if where else f"{kind.lower()}/{name}"
            notes.note(Finding(_place(document, at), about, f"{LEFT_OUT}{e.what}", "left-out"))
            return
        unknown = [each for each in found if each.unknown]
        raise (_with_unknown(e, unknown, at, document) if unknown else e) from None
    if old and not live:
        notes.note(Finding(_place(document, (*at, "apiVersion")), str(obj.key), old, "removed-version"))
    _note(obj, found, at, document, notes)
    yield obj, at


def _is_kustomization(value: dict[str, Any], document: Document) -> bool:
    """By its kind, or, for a kustomization may lack that, by the file's name."""
    if str(value.get("apiVersion", "")).startswith(kustomization.API):
        return True
    return "kind" not in value and bool(document.file) and FilePath(document.file or "").name in kustomization.NAMES


def _note(obj: Object, found: list[Remark], at: Path, document: Document | None, notes: Objects) -> None:
    for each in found:
        notes.note(Finding(_place(document, (*at, *each.path)), str(obj.key), each.what, each.id))
    if isinstance(obj, Other):
        what, id = remark(obj.api_version, obj.kind)
        if what:
            custom = f"{obj.kind} of {obj.api_version}" if id == CUSTOM else ""
            notes.note(Finding(_place(document, (*at, "kind")), str(obj.key), what, id), custom=custom)


def _place(document: Document | None, path: Path) -> str:
    if document is None:
        return ""
    line = document.line_of(path)
    return f"{document.file}:{line}" if document.file else f"line {line}"


def _with_unknown(error: InputError, unknown: list[Remark], at: Path, document: Document | None) -> InputError:
    """The error of an object with unknown fields: most likely one of these was meant."""
    named = []
    for each in unknown:
        line = f"line {document.line_of((*at, *each.path))}: " if document is not None else ""
        named.append(f"{line}{each.what}")
    what = "; ".join([error.what, *named])
    return InputError(what, file=error.file, line=error.line, path=error.path, expected=error.expected)


def _typed(value: dict[str, Any], type_: type[Object], at: Path, document: Document | None) -> Object:
    try:
        return msgspec.convert(value, type_)
    except msgspec.ValidationError:
        pass
    try:  # null means "not set" to the API server
        return msgspec.convert(_without_nulls(value), type_)
    except msgspec.ValidationError as e:
        raise _explain(str(e), type_, value, at, document) from None


def _finish(obj: Object, at: Path, document: Document | None, namespace: str, live: bool = False) -> Object:
    meta = obj.metadata
    if not meta.name:
        raise _error("metadata.name is missing", (*at, "metadata"), document)
    # RBAC names may hold ':' and the like; we only name such objects
    expected = None if isinstance(obj, Other) else name_problem(obj.kind, meta.name)
    if expected is not None:
        raise _error(f'"{meta.name}" is not a name', (*at, "metadata", "name"), document, expected)
    scoped = obj.kind not in CLUSTER_SCOPED
    wanted = (meta.namespace or namespace) if scoped else ""
    if meta.namespace != wanted:
        obj = replace(obj, metadata=replace(meta, namespace=wanted))
    for problem in () if live else obj.problems():
        raise _error(problem.what, (*at, *problem.path), document, problem.expected)
    return obj


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_nulls(v) for k, v in value.items() if v is not None}
    return [_without_nulls(v) for v in value] if isinstance(value, list) else value


def _explain(message: str, type_: type[Object], value: Any, at: Path, document: Document | None) -> InputError:
    """msgspec's words (`Expected `int`, got `str` - at `$.spec.ports[0].port``) in ours, with the value met."""
    what, _, place = message.partition(" - at ")
    in_key = place.startswith("`key` in ")
    path: list[str | int] = []
    met = value
    for name, index, any_key in _STEP.findall(place.removeprefix("`key` in ").strip("`").removeprefix("$")):
        if any_key:  # msgspec does not name the entry of a mapping: take the first that is wrong
            step: str | int = next((k for k, v in met.items() if not isinstance(v, str)), "")
        else:
            step = int(index) if index else name
        if isinstance(met, dict):
            met = met.get(step)
        elif isinstance(met, list) and isinstance(step, int) and step < len(met):
            met = met[step]
        path.append(step)
    expected: str | None = None
    wrong = re.fullmatch(r"Expected `(.*?)`(, got `.*`|.*)", what)
    missing = re.fullmatch(r"Object missing required field `(.*)`", what)
    last = next((s for s in reversed(path) if isinstance(s, str)), "")
    if missing:
        what = f"{missing[1]} is missing"
    elif what.startswith("Invalid enum value"):
        what = f"{_shown(met)} is not allowed here"
        expected = _choices(type_, tuple(path))
    elif wrong and not in_key:
        kinds = [_JSON_WORDS.get(k, k) for k in wrong[1].split(" | ") if k != "null"]
        if wrong[2].startswith(", got") or not wrong[2]:
            what = f"{_shown(met)} is not {' or '.join(kinds)}"
        else:
            what, expected = f"{_shown(met)} is out of range", wrong[2].strip()
        if isinstance(met, (int, float)) and kinds == ["a string"]:
            expected = "quotes around it"
        if last in _PORT_FIELDS:
            expected = "a port number 1 to 65535"
        elif last == "targetPort":
            expected = "a port number 1 to 65535, or the name of a port"
    return _error(what, (*at, *path), document, expected)


def _choices(type_: type[Object], path: Path) -> str | None:
    """The words that a field may hold, read from its type: `TCP, UDP or SCTP`."""
    at: inspect.Type = inspect.type_info(type_)
    for step in path:
        found: inspect.Type | None = None
        for option in at.types if isinstance(at, inspect.UnionType) else (at,):
            if isinstance(option, inspect.StructType):
                found = next((f.type for f in option.fields if f.encode_name == step), None)
            elif isinstance(option, inspect.VarTupleType):
                found = option.item_type
        if found is None:
            return None
        at = found
    for option in at.types if isinstance(at, inspect.UnionType) else (at,):
        if isinstance(option, inspect.LiteralType):
            *most, last = (str(v) for v in option.values)
            return f"{', '.join(most)} or {last}" if most else last
    return None


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else text[:57] + '..."'


def _error(what: str, path: Path, document: Document | None, expected: str | None = None) -> InputError:
    if document is not None:
        return document.error(what, path, expected=expected)
    return InputError(what, path=path_text(path) or None, expected=expected)
