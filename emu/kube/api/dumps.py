"""Dumps of a whole cluster: folders and tars of several tools, and the stream of `kubectl cluster-info dump`.

Must not know what the objects are.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from emu.errors import InputError
from emu.kube.api.documents import MAX_BYTES, Document, documents

if TYPE_CHECKING:
    pass

_MARKS = ("nodes.json", "cluster-scoped-resources", "namespaces", "resources")
"""What a dump's folder has at its top: kubectl's own, must-gather's, and what debugging tools gather."""
_LOGS = re.compile(r"^==== START logs for container .*?^==== END logs for container [^\n]*\n?", re.M | re.S)
_TARS = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2")
_NOT_OBJECTS = ("version.json", "version.yaml", "timestamp", "events.json", "events.yaml")
_MEMBERS = (".yaml", ".yml", ".json")


_NODE = re.compile(r"(iptables|ip-|ipset|conntrack|proc-|socket-stats|bridge-fdb|sysctl)")
"""How files begin that show a node: those of tools/collect and of Retina's captures."""


class _Other(NamedTuple):
    """A text of another kind, by how it begins."""

    begins: re.Pattern[str]
    what: str
    expected: str


_RULES = "emu trace --rules FILE, or --node NAME=FOLDER for a whole node"
_OTHERS = (
    _Other(re.compile(r"(#[^\n]*\n|\s)*\*(filter|nat|mangle|raw|security)\s"), "this is an iptables-save text", _RULES),
    _Other(re.compile(r"\s*-[PNA] [A-Z]"), "these are rules as iptables -S prints them", _RULES),
    _Other(re.compile(r"\s*Chain [A-Z]+ \(policy "), "these are rules as iptables -L prints them", _RULES),
    _Other(re.compile(r"(#[^\n]*\n|\s)*table (ip|ip6|inet|bridge|arp|netdev) "), "this is an nft ruleset", _RULES),
    _Other(
        re.compile(r"\s*(create|add) \S+ (hash|bitmap|list):"),
        "this is an ipset save text",
        "emu trace --rules FILE --ipset FILE",
    ),
    _Other(
        re.compile(r"\s*(default|\d+\.\d+\.\d+\.\d+(/\d+)?) (via|dev) \S"),
        "these are routes as ip route prints them",
        "emu trace --rules FILE --routes FILE",
    ),
    _Other(
        re.compile(r"\s*(ipv4\s+\d+\s+)?(tcp|udp|icmp)\s+\d+\s+\d+ .*src="),
        "these are connections as conntrack -L prints them",
        "emu trace --rules FILE --conntrack FILE",
    ),
    _Other(
        re.compile(r"\s*NAME(SPACE)?\s+\S+.*\s(AGE|STATUS)"),
        "this is a table as kubectl get prints it",
        "kubectl get ... -o yaml",
    ),
)


def check_kind(text: str, file: str | None) -> None:
    """Raises InputError for a text that is known to be no manifest: what it is, and which option takes it."""
    for each in _OTHERS:
        if each.begins.match(text):
            raise InputError(each.what, file=file, expected=each.expected)


_HELM = re.compile(
    r"\{\{-?\s*(\.(Values|Release|Chart|Capabilities)\b|include\s|template\s|if\s|range\s|with\s|define\s)"
)
_MAPPINGS = (
    ("cniVersion", "this is a CNI configuration", "emu cni add -c FILE, or cluster: {network: FILE} in a scenario"),
    ("services", "this is a Compose file", "manifests of Kubernetes"),
)


def other_value(value: dict[str, object]) -> tuple[str, str] | None:
    """What a mapping is that is no object, and what was expected; None where that is not known."""
    if value.get("kind") == "Config" and "clusters" in value:
        return "this is a kubeconfig", "kubectl get ... -A -o yaml"
    if "apiVersion" in value:
        return None
    return next(((what, expected) for key, what, expected in _MAPPINGS if key in value), None)


def is_rules(text: str) -> bool:
    """Whether a text is one of iptables: of iptables-save, -S or -L."""
    return any(each.begins.match(text) for each in _OTHERS[:3])


def is_dump(folder: Path) -> bool:
    """Whether a folder holds a dump, whose objects lie in folders below it."""
    if any((folder / mark).exists() for mark in _MARKS):
        return any(each.is_dir() for each in folder.iterdir())
    below = [each for each in folder.iterdir() if each.is_dir()]
    below += [inner for each in below for inner in each.iterdir() if inner.is_dir()]  # must-gather's, then its image's
    return any((each / mark).exists() for each in below for mark in _MARKS[1:])


def is_tar(path: str | os.PathLike[str]) -> bool:
    """By its name."""
    return os.fspath(path).endswith(_TARS)


def members(path: str | os.PathLike[str]) -> Iterator[tuple[str, str]]:
    """Name and text of each manifest in a tar, by name; nothing is unpacked. Raises InputError."""
    import tarfile

    name = os.fspath(path)
    try:
        with tarfile.open(path) as tar:
            every = [each for each in tar.getmembers() if each.isfile()]
            files = [each for each in every if each.name.endswith(_MEMBERS)]
            if not files:
                raise without([each.name for each in every], name)
            for member in sorted(files, key=lambda each: each.name):
                if member.size > MAX_BYTES:
                    raise InputError(f"{member.name} is too long", file=name, expected=f"at most {MAX_BYTES >> 20} MiB")
                file = tar.extractfile(member)
                if file is not None:
                    yield f"{name}/{member.name}", file.read().decode("utf-8-sig")
    except (tarfile.TarError, EOFError, OSError) as error:
        raise InputError(f"cannot be read as a tar: {error}", file=name) from None
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 text (byte {error.start})", file=name) from None


def without(paths: Sequence[str], file: str, kind: str = "tar") -> InputError:
    """The error about a tar or folder without manifests: what it seems to be, and which option takes it."""
    what, expected = f"no manifests in this {kind}", "files named *.yaml, *.yml, *.json"
    of_node = sorted({name for each in paths if (name := _of_node(each))})
    if of_node:
        what = f"{what}: {', '.join(of_node[:3])} are what a node shows"
        expected = f"--node NAME={file}, with the cluster's objects in -f"
    return InputError(what, file=file, expected=expected)


def _of_node(path: str) -> str:
    """The file or folder of a node's dump that a path names, "" for none."""
    return next((part for part in Path(path).parts if _NODE.match(part)), "")


def dumped(text: str, file: str) -> Iterator[Document]:
    """The documents of a text. The logs between the objects of `kubectl cluster-info dump` are left out, and files that hold no
    objects."""
    if Path(file).name in _NOT_OBJECTS:
        return
    check_kind(text, file)
    if "==== START logs for container" in text:
        text = _LOGS.sub("", text)
    try:
        yield from documents(text, file)
    except InputError as error:
        if _HELM.search(text):
            what = "this is a template of a Helm chart, no manifest"
            raise InputError(what, file=file, line=error.line, expected="helm template CHART | emu run -f -") from None
        raise
