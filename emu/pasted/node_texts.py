"""A node's dump: a folder or a tar with what its commands printed, one file a command.

`FILES` are the names, each as text (also `NAME.txt`) or, where the command has a JSON form, as `NAME.json`. Any subset may be there.
What a capture of Retina holds of its node is read, too (`retina.py`). Must not know what the texts state.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from emu.errors import InputError
from emu.modelled import nearest
from emu.pasted import retina

if TYPE_CHECKING:
    from tarfile import TarFile

FILES = {
    "iptables-save": "iptables-save",
    "ipset-save": "ipset save",
    "ip-addr": "ip addr show",
    "ip-link": "ip -d link show",
    "ip-route": "ip route show table all",
    "ip-rule": "ip rule show",
    "ip-neigh": "ip neigh show",
    "bridge-fdb": "bridge fdb show",
    "conntrack": "conntrack -L",
    "sysctl": "sysctl -a",
}
"""What is read, and the command that prints it."""
BESIDE = ("ip6tables-save", "README", "kubeadm-config.yaml", "kube-proxy.yaml", "errors")
"""What tools/collect writes besides, and what is not read."""
MOST_BYTES = 256 << 20
_ENDINGS = ("", ".txt", ".json")


class Text(NamedTuple):
    """One file, and its text. `tree`: a copy of /proc/sys/net, a file each variable."""

    file: str
    text: str
    tree: bool = False


class _File(NamedTuple):
    """`name` is its path in the folder or tar; `data` is empty where the file is not read."""

    place: str
    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class NodeTexts:
    """The dump of one node: its texts by the name of `FILES`. `unread` are files of other names."""

    source: str
    texts: Mapping[str, Text]
    unread: tuple[str, ...] = field(default=())

    def text(self, name: str) -> str:
        """The text of a command, "" where it is not there."""
        return self.texts[name].text if name in self.texts else ""

    def file(self, name: str) -> str:
        """The file that has it, for messages."""
        return self.texts[name].file if name in self.texts else f"{self.source}/{name}"

    def variable(self, name: str, line: int) -> str:
        """The place of a sysctl, for messages."""
        if self.texts["sysctl"].tree:
            return "/".join([self.file("sysctl"), *name.split("/" if "/" in name else ".")[1:]])
        return f"{self.file('sysctl')}:{line}"

    def __contains__(self, name: object) -> bool:
        return name in self.texts


def node_texts(path: str | os.PathLike[str]) -> NodeTexts:
    """The texts of a folder or a tar. Raises InputError: it is not there, it holds none of them, one is there twice."""
    source = str(path)
    try:
        found = [*(_in_folder(Path(path)) if Path(path).is_dir() else _in_tar(source))]
    except OSError as error:
        what = (error.strerror or str(error)).lower()
        raise InputError(what, file=source, expected="a folder or tar of a node's dump") from None
    texts: dict[str, Text] = {}
    unread: Counter[str] = Counter()
    variables: dict[str, str] = {}
    tree = ""
    for place, name, data in found:
        if retina.tree_of(name) == retina.SYSCTLS:
            variables[retina.variable(name)] = " ".join(data.decode(errors="replace").split())
            tree = place[: place.rindex(f"{retina.SYSCTLS}/")] + retina.SYSCTLS
        elif not _is_read(name):
            unread[retina.tree_of(name) or PurePosixPath(name).name] += 1
        for command, text in _texts(name, data):
            if command in texts:
                raise InputError(
                    f"{command} is there twice: {texts[command].file} and {place}", file=source, expected="one of them"
                )
            texts[command] = Text(place, text)
    if variables and "sysctl" not in texts:
        texts["sysctl"] = Text(tree, "".join(f"{name} = {value}\n" for name, value in variables.items()), tree=True)
    if not texts:
        near = next((each for every in unread if (each := nearest(every, FILES))), "")
        raise InputError("no file of a node's dump is in it", file=source, expected=near or ", ".join(FILES))
    left = sorted(unread.keys() - {*BESIDE})
    return NodeTexts(
        source, texts, tuple(name if unread[name] == 1 else f"{name} ({unread[name]} files)" for name in left)
    )


def _texts(file: str, data: bytes) -> Iterator[tuple[str, str]]:
    """The texts in a file, by the name of `FILES`."""
    command = _name(file)
    if command is not None:
        yield command, data.decode(errors="replace")
    elif _is_sectioned(file):
        yield from retina.sections(data.decode(errors="replace"))


def by_node(words: Iterable[str]) -> dict[str, NodeTexts]:
    """The dumps of `NAME=FOLDER`, by node. Raises InputError."""
    found: dict[str, NodeTexts] = {}
    for word in words:
        name, equals, path = word.partition("=")
        if not equals or not name or not path:
            raise InputError(f"{word!r} names no node's dump", expected="--node NAME=FOLDER, or a tar")
        if name in found:
            raise InputError(f"node {name!r} has two dumps", expected="one --node for each")
        found[name] = node_texts(path)
    return found


def _is_read(file: str) -> bool:
    return _name(file) is not None or _is_sectioned(file) or retina.tree_of(file) == retina.SYSCTLS


def _is_sectioned(file: str) -> bool:
    return PurePosixPath(file).name in retina.SECTIONED and not retina.tree_of(file)


def _name(file: str) -> str | None:
    base = PurePosixPath(file).name
    if retina.tree_of(file):
        return "conntrack" if PurePosixPath(file).parts[-2:] == retina.CONNECTIONS else None
    return next((name for name in FILES for ending in _ENDINGS if base == name + ending), None)


def _in_folder(folder: Path) -> Iterator[_File]:
    """Its own files, and those of the trees in it."""
    paths = [*folder.iterdir(), *(path for tree in retina.TREES for path in (folder / tree).rglob("*"))]
    for path in sorted(paths):
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            read = _is_read(name)
            if read and path.stat().st_size > MOST_BYTES:
                raise InputError("is too large", file=str(path), expected=f"{MOST_BYTES >> 20} MiB at the most")
            yield _File(str(path), name, path.read_bytes() if read else b"")


def _in_tar(source: str) -> Iterator[_File]:
    """Its files, in whatever folder of it."""
    import tarfile  # only here, so that no other command waits for it

    try:
        yield from _members(source, tarfile.open(source))  # noqa: SIM115  # closed there
    except tarfile.TarError as error:
        raise InputError(f"is no tar: {error}", file=source, expected="a folder or tar of a node's dump") from None


def _members(source: str, opened: TarFile) -> Iterator[_File]:
    with opened as tar:
        for member in tar:
            if member.isfile():
                read = _is_read(member.name)
                if read and member.size > MOST_BYTES:
                    raise InputError(
                        "is too large", file=f"{source}:{member.name}", expected=f"{MOST_BYTES >> 20} MiB at the most"
                    )
                data = tar.extractfile(member) if read else None
                yield _File(f"{source}:{member.name}", member.name, data.read() if data is not None else b"")
