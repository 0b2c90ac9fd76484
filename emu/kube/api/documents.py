"""YAML and JSON text to plain values, one document at a time, with the line of every part.

YAML as Kubernetes reads it: duplicate keys are errors, keys are strings, timestamps stay text, and an
alias bomb or a tower of brackets is refused before it takes memory or stack.
Must not know what the documents mean.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path as FilePath
from typing import Any

import yaml

from emu.errors import InputError

Path = tuple[str | int, ...]

MAX_DEPTH = 100
"""Levels of nesting in one document."""
MAX_EXPANDED = 100_000
"""Nodes that aliases may expand a document to (or ten times what is written, if that is more)."""

MAX_BYTES = 64 << 20
"""Bytes of one file: about 100,000 objects."""
STDIN = "-"
_CAPTURE = "this is a capture", "emu ladder FILE, emu report FILE, emu replay FILE -f MANIFESTS"
_BINARY = (
    (b"\x0a\x0d\x0d\x0a", *_CAPTURE),
    (b"\xd4\xc3\xb2\xa1", *_CAPTURE),
    (b"\xa1\xb2\xc3\xd4", *_CAPTURE),
    (b"\x4d\x3c\xb2\xa1", *_CAPTURE),
    (b"\xa1\xb2\x3c\x4d", *_CAPTURE),
    (b"\x1f\x8b", "this is compressed with gzip", "its contents (gzip -dc FILE | ...), or a .tar.gz of a dump"),
)
"""How files begin that are no text, what they are, and who takes them."""
MAX_ANCHORS = 10_000
"""Anchors and aliases in one text."""

_PREFIX = "tag:yaml.org,2002:"
_STR, _SEQ, _MAP, _MERGE = (_PREFIX + name for name in ("str", "seq", "map", "merge"))
# libyaml composes by recursion in C, so what could be deep is measured from its events first.
_OPENINGS = 2_000
_ANCHOR = re.compile(r"(?<![^\s\[{,:])[&*]\w")  # or what looks like one
_ALIAS = re.compile(r"(?<!\w)\*[\w-]")  # or what looks like one
_SEVERAL = re.compile(
    r'\A\s*\{\s*"(?:kind|apiVersion|items|metadata)":.*^\}\s*\Z', re.M | re.S
)  # JSON as kubectl prints it
_LADDER = re.compile(r"^[ \t?:-]{1000}", re.M)

_safe = yaml.constructor.SafeConstructor()


def _integer(node: yaml.ScalarNode) -> int | str:
    return node.value if ":" in node.value else int(_safe.construct_yaml_int(node))  # 22:22 is no base-60 number


def _float(node: yaml.ScalarNode) -> float | str:
    return node.value if ":" in node.value else float(_safe.construct_yaml_float(node))


_SCALARS: dict[str, Callable[[yaml.ScalarNode], Any]] = {
    _STR: lambda node: node.value,
    _PREFIX + "value": lambda node: node.value,
    _PREFIX + "timestamp": lambda node: node.value,
    _PREFIX + "binary": lambda node: node.value,
    _PREFIX + "int": _integer,
    _PREFIX + "float": _float,
    _PREFIX + "bool": _safe.construct_yaml_bool,
    _PREFIX + "null": lambda node: None,
}


def path_text(path: Path) -> str:
    """`("spec", "ports", 0, "port")` as people write it: `spec.ports[0].port`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif re.fullmatch(r"[\w-]+", step):
            text += f".{step}" if text else step
        else:
            text += f'["{step}"]'
    return text


class Document:
    """One document: its plain `value`, the `file` it came from and the `line` (from 1) where it starts."""

    def __init__(self, value: Any, file: str | None, line: int, compose: Callable[[], yaml.Node | None]) -> None:
        self.value, self.file, self.line = value, file, line
        self._compose = compose
        self._lean: Document | None = None
        self.follow: Callable[[Path], int | None] = _unfollowed
        """A quicker way to a line, from 0, where there is one."""

    def without_value(self) -> Document:
        """The same document for asking lines only, so that its value can go."""
        if self._lean is None:
            self._lean = self if self.value is None else Document(None, self.file, self.line, self._compose)
            self._lean.follow = self.follow
        return self._lean

    def with_value(self, value: Any) -> Document:
        """The same document with another value: what is not written in it has the line of what surrounds it."""
        made = Document(value, self.file, self.line, self._compose)
        made.follow = self.follow
        return made

    def line_of(self, path: Path) -> int:
        """The line of the part at `path`; of its nearest surrounding part when it is not written there."""
        quick = self.follow(path)
        if quick is not None:
            return quick + 1
        node, line = self._compose(), self.line
        for step in path:
            found = None
            if isinstance(node, yaml.MappingNode):
                found = _entry(node, str(step))
            elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
                found = node.value[step], node.value[step]
            if found is None:
                break
            written_at, node = found
            line = _line(written_at)
        return line

    def error(self, what: str, path: Path = (), *, expected: str | None = None) -> InputError:
        """An InputError about the part at `path` of this document."""
        return InputError(
            what, file=self.file, line=self.line_of(path), path=path_text(path) or None, expected=expected
        )


def _unfollowed(path: Path) -> int | None:
    return None


def _entry(node: yaml.MappingNode, key: str) -> tuple[yaml.Node, yaml.Node] | None:
    """The key and the value of one entry, own ones before merged ones."""
    for k, v in node.value:
        if k.value == key and k.tag != _MERGE:
            return k, v
    for k, v in node.value:
        if k.tag == _MERGE:
            for merged in v.value if isinstance(v, yaml.SequenceNode) else [v]:
                found = _entry(merged, key)
                if found is not None:
                    return found
    return None


def read_text(path: str | os.PathLike[str]) -> str:
    """The text of a file, a FIFO or standard input ("-"). Raises InputError: not there, a device, too long, not UTF-8."""
    name = os.fspath(path)
    path = "/dev/stdin" if name == STDIN else path
    try:
        mode = FilePath(path).stat().st_mode
        if stat.S_ISBLK(mode) or (stat.S_ISCHR(mode) and not _is_stdin(path)):
            raise InputError("is a device", file=name, expected="a file, a FIFO or standard input")
        with FilePath(path).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
        raise InputError(getattr(error, "strerror", None) or str(error), file=name) from None
    for begins, what, expected in _BINARY:
        if data.startswith(begins):
            raise InputError(what, file=name, expected=expected)
    if len(data) > MAX_BYTES:
        raise InputError("is too long", file=name, expected=f"at most {MAX_BYTES >> 20} MiB")
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 text (byte {error.start})", file=name) from None


def _is_stdin(path: str | os.PathLike[str]) -> bool:
    try:
        return os.path.samestat(FilePath(path).stat(), os.fstat(0))
    except OSError:
        return False


def documents(text: str, file: str | None = None) -> Iterator[Document]:
    """The documents of a YAML or JSON text; empty ones are left out. Raises InputError with file and line."""
    if file is not None and (file.endswith(".json") or _SEVERAL.search(text)):
        yield from _json_documents(text, file)
        return
    if sum(1 for _ in islice(_ANCHOR.finditer(text), MAX_ANCHORS + 1)) > MAX_ANCHORS:
        _measure_anchors(text, file)
    if _openings(text) > _OPENINGS or _LADDER.search(text):
        _measure_depth(text, file)
    aliases = _ALIAS.search(text) is not None
    loader = yaml.CSafeLoader(text)
    try:
        while True:
            node = loader.get_node() if loader.check_node() else None
            if node is None:
                break
            if aliases:
                _measure_aliases(node, file)
            value = _build(node, file, 0)
            if value is not None:
                yield Document(value, file, _line(node), partial(_same, node))
    except yaml.YAMLError as e:
        raise _broken(e, file) from None
    finally:
        loader.dispose()


def _openings(text: str) -> int:
    """How many brackets may be open at once: no flow collection goes on behind a line that begins with "- "."""
    if text.count("[") + text.count("{") <= _OPENINGS:
        return 0
    return max(part.count("[") + part.count("{") for part in text.split("\n- "))


def _line(part: yaml.Node | yaml.Event) -> int:
    return part.start_mark.line + 1 if part.start_mark is not None else 1


def _same(node: yaml.Node) -> yaml.Node:
    return node


def _broken(e: yaml.YAMLError, file: str | None) -> InputError:
    mark = getattr(e, "problem_mark", None) or getattr(e, "context_mark", None)
    what = getattr(e, "problem", None) or str(e)
    context = getattr(e, "context", None)
    if isinstance(e, yaml.reader.ReaderError):
        character = e.character if isinstance(e.character, int) else ord(e.character[:1] or "\0")
        return InputError(f"broken YAML: character #x{character:02x} is not allowed", file=file)
    if what.startswith("found undefined alias"):
        what = "alias of an anchor that is not there"
    elif context:
        what += f" {context}"
    return InputError(f"broken YAML: {what}", file=file, line=mark.line + 1 if mark is not None else None)


def _error(what: str, node: yaml.Node, file: str | None, expected: str | None = None) -> InputError:
    return InputError(what, file=file, line=_line(node), expected=expected)


def _too_deep(file: str | None, line: int | None) -> InputError:
    return InputError("nested too deeply", file=file, line=line, expected=f"at most {MAX_DEPTH} levels")


def _measure_depth(text: str, file: str | None) -> None:
    depth = 0
    try:
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
                if depth > MAX_DEPTH:
                    raise _too_deep(file, _line(event))
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
    except yaml.YAMLError as e:
        raise _broken(e, file) from None


def _measure_anchors(text: str, file: str | None) -> None:
    count = 0
    try:
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            count += getattr(event, "anchor", None) is not None
            if count > MAX_ANCHORS:
                raise InputError(
                    "too many anchors and aliases", file=file, line=_line(event), expected=f"at most {MAX_ANCHORS:,}"
                )
    except yaml.YAMLError as e:
        raise _broken(e, file) from None


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    for child in node.value:
        if isinstance(child, tuple):
            yield from child
        else:
            yield child


def _measure_aliases(root: yaml.Node, file: str | None) -> None:
    """Refuse a document whose aliases expand to too many nodes, or go in a circle."""
    sizes: dict[int, int | None] = {}

    def size(node: yaml.Node, depth: int) -> int:
        if isinstance(node, yaml.ScalarNode):
            return 1
        if depth > MAX_DEPTH:
            raise _too_deep(file, _line(node))
        known = sizes.get(id(node), 0)
        if known is None:
            raise _error("an alias refers to what it is part of", node, file)
        if not known:
            sizes[id(node)] = None
            known = 1 + sum(size(child, depth + 1) for child in _children(node))
            sizes[id(node)] = known
        return known

    expanded = size(root, 0)
    limit = max(MAX_EXPANDED, 10 * len(sizes))
    if expanded > limit:
        count = f"{expanded:,}" if expanded < 10**15 else f"10^{len(str(expanded)) - 1}"
        raise _error(f"its aliases expand to {count} values", root, file, expected=f"at most {limit:,}")


def _build(node: yaml.Node, file: str | None, depth: int) -> Any:
    if isinstance(node, yaml.ScalarNode):
        if node.tag == _STR:
            return node.value
        construct = _SCALARS.get(node.tag)
        if construct is None:
            raise _error(f"unknown tag {node.tag.replace(_PREFIX, '!!')}", node, file)
        try:
            return construct(node)
        except (ValueError, KeyError):
            raise _error(f'"{node.value}" is not of type {node.tag.removeprefix(_PREFIX)}', node, file) from None
    if depth == MAX_DEPTH:
        raise _too_deep(file, _line(node))
    if node.tag != (_SEQ if isinstance(node, yaml.SequenceNode) else _MAP):
        raise _error(f"unknown tag {node.tag.replace(_PREFIX, '!!')}", node, file)
    depth += 1
    if isinstance(node, yaml.SequenceNode):
        return [
            item.value if item.tag == _STR and type(item) is yaml.ScalarNode else _build(item, file, depth)
            for item in node.value
        ]
    value: dict[str, Any] = {}
    merged: list[yaml.Node] = []
    for key_node, value_node in node.value:
        if key_node.tag != _STR:
            if key_node.tag == _MERGE:
                merged += value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]
                continue
            key = _key(key_node, file)
        else:
            key = key_node.value
        if key in value:
            raise _error(f'the key "{key}" is there twice', key_node, file)
        value[key] = value_node.value if value_node.tag == _STR else _build(value_node, file, depth)
    for source in merged:
        if not isinstance(source, yaml.MappingNode):
            raise _error("<< can only merge a mapping, or a list of them", source, file)
        for key, item in _build(source, file, depth).items():
            value.setdefault(key, item)
    return value


def _key(node: yaml.Node, file: str | None) -> str:
    """A key that is no string, as JSON would have it."""
    if not isinstance(node, yaml.ScalarNode):
        raise _error("a list or mapping cannot be a key", node, file)
    built = _build(node, file, 0)
    return built if isinstance(built, str) else json.dumps(built)


class _Twice(Exception):
    pass


def _json_documents(text: str, file: str) -> Iterator[Document]:
    """JSON objects, one after the other as kubectl takes them. Lines are looked up only when asked for."""
    decoder = json.JSONDecoder(object_pairs_hook=_json_object)
    space = re.compile(r"\s*")
    at = _end(space, text, 0)
    while at < len(text):
        line = text.count("\n", 0, at) + 1
        try:
            value, end = decoder.raw_decode(text, at)
        except json.JSONDecodeError as e:
            if not text[e.pos :].strip() or e.msg.startswith("Unterminated string"):
                what = "the JSON text ends in the middle of an object: it was cut"
                raise InputError(what, file=file, line=e.lineno, expected="the whole output of kubectl") from None
            raise InputError(f"broken JSON: {e.msg}", file=file, line=e.lineno) from None
        except ValueError:  # Python reads no number of more than 4,300 digits
            raise InputError("broken JSON: a number is too long", file=file, line=line) from None
        except RecursionError:
            raise _too_deep(file, line) from None
        except _Twice as e:
            raise InputError(f'the key "{e}" is there twice', file=file, line=line) from None
        _measure_json(value, file, line, MAX_DEPTH)
        if value is not None:
            made = Document(value, file, line, partial(_composed, text, at, end, line))
            made.follow = partial(_json_line, text, at)
            yield made
        at = _end(space, text, end)


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return match.end() if match else at


def _json_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        raise _Twice(next(k for k, _ in pairs if k in seen or seen.add(k)))  # type: ignore[func-returns-value]  # add gives None: go on
    return value


def _measure_json(value: Any, file: str, line: int, left: int) -> None:
    if isinstance(value, (dict, list)):
        if not left:
            raise _too_deep(file, line)
        for child in value.values() if isinstance(value, dict) else value:
            _measure_json(child, file, line, left - 1)


def _json_line(text: str, start: int, path: Path) -> int | None:
    """The line, from 0, of the part at `path` of the JSON value at `start`; of its nearest surrounding part when it is not there. None where
    the text cannot be followed."""
    decoder, space = json.JSONDecoder(), re.compile(r"[\s,:]*")
    at, line_at = start, start
    try:
        for step in path:
            opening, at, found = text[at], _end(space, text, at + 1), -1
            index = 0
            while text[at] not in "}]":
                here = at
                if opening == "{":
                    key, at = decoder.raw_decode(text, at)
                    at = _end(space, text, at)
                    if key == step:
                        found = here
                        break
                elif index == step:
                    found = here
                    break
                index += 1
                _, at = decoder.raw_decode(text, at)
                at = _end(space, text, at)
            if found < 0:
                break
            line_at = found
    except (ValueError, IndexError):
        return None
    return text.count("\n", 0, line_at)


def _composed(text: str, at: int, end: int, line: int) -> yaml.Node | None:
    try:
        node: yaml.Node | None = yaml.compose("\n" * (line - 1) + text[at:end], Loader=yaml.CSafeLoader)
    except yaml.YAMLError:  # JSON that is not YAML, a surrogate pair for one: the document's line must do
        return None
    return node
