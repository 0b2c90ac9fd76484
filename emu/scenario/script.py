"""A scenario file read and checked: the Scenario, its manifests as objects, and where every step stands.

All that can be known without a cluster is checked here, so that mistakes are told before anything is built.
Must not know how a cluster runs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from emu.craft import expression
from emu.errors import InputError
from emu.kube.api.documents import Document, documents
from emu.kube.api.documents import Path as Place
from emu.kube.api.kinds import kind_named
from emu.kube.api.loader import Loaded, convert, load_documents, read
from emu.kube.api.meta import Key, Object, Other
from emu.scenario.endpoints import check_glob, endpoint
from emu.scenario.kinds import ACTIONS, CHANGING, FLOWS, SENDING, ClusterPart, Expect, ScenarioPart, Step
from emu.scenario.quantity import duration_ns, share
from emu.scenario.typed import nearest, typed
from emu.wire.addr import Prefix

API_VERSION, KIND = "emu/v1", "Scenario"
SCALABLE = ("deployment", "replicaset", "statefulset")
# What each unhappy outcome must say beside its word, so that a step does not pass for a wrong reason.
NAMED_REASON = {"rejected": "code", "dropped": "reason", "error": "reason", "undecided": "reason"}
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,98}[A-Za-z0-9])?")


@dataclass
class Scenario:
    """A scenario ready to run: `spec` is what its first document says. `conflist` is the path of a CNI configuration, if the scenario names one."""

    spec: ScenarioPart
    document: Document
    loaded: Loaded
    name: str
    file: str
    conflist: str = ""
    applied: dict[int, list[Object]] = field(default_factory=dict)

    @property
    def objects(self) -> list[Object]:
        return self.loaded.objects

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Scenario:
        """Read a file, see `load`."""
        return load(path)

    @classmethod
    def parse(cls, text: str) -> Scenario:
        """Read a text, see `load_text`."""
        return load_text(text)

    def error(self, error: InputError, step: int, *path: str | int) -> InputError:
        """An error that came up in a step, with the place of the step (counted from 0) where it had none."""
        where: Place = ("steps", step, *path)
        told = self.document.error(error.what, where)
        return error.at(file=told.file, line=told.line, path=told.path)


def is_scenario(document: Document) -> bool:
    """Whether a document is of our own kind (and not a manifest)."""
    value = document.value
    return isinstance(value, dict) and (
        str(value.get("apiVersion", "")).startswith("emu/") or value.get("kind") == KIND
    )


def load(path: str | os.PathLike[str]) -> Scenario:
    """Read a scenario file and the manifests that it names. Raises InputError."""
    if Path(path).is_dir():
        raise InputError("is a folder", file=str(path), expected="a scenario file")
    return _read(read(path), str(path), Path(path).parent, Path(path).stem)


def load_text(text: str, file: str = "scenario.yaml", folder: str | os.PathLike[str] = ".") -> Scenario:
    """Read a scenario from a text; `folder` is where the manifests that it names lie. Raises InputError."""
    return _read(documents(text, file), file, Path(folder), Path(file).stem)


def _read(found: Iterator[Document], file: str, folder: Path, stem: str) -> Scenario:
    first = next(found, None)
    if first is None:
        raise InputError("is empty", file=file, expected=f"apiVersion: {API_VERSION}, kind: {KIND}")
    if not is_scenario(first):
        what = "the first document is no scenario"
        raise InputError(what, file=file, line=first.line, expected=f"apiVersion: {API_VERSION}, kind: {KIND}")
    spec = typed(first.value, ScenarioPart, first)
    name = spec.metadata.name or stem
    if not _NAME.fullmatch(name):
        raise first.error(
            f'"{name}" cannot name a folder', ("metadata", "name"), expected="letters, digits, '-', '_' and '.'"
        )
    check_subnets(spec.cluster, first)
    conflist = _conflist(spec.cluster, first, folder)
    manifests = (_manifest(first, i, folder) for i in range(len(spec.manifests)))
    loaded = load_documents(chain(_only_manifests(found), chain.from_iterable(manifests)))
    scenario = Scenario(spec, first, loaded, name, file, conflist)
    for number, step in enumerate(spec.steps):
        try:
            _check_step(scenario, number, step)
        except InputError as error:
            raise scenario.error(error, number) from None
    return scenario


def _only_manifests(found: Iterator[Document]) -> Iterator[Document]:
    for document in found:
        if is_scenario(document):
            raise document.error("a second scenario in one file", expected="one scenario a file, first in it")
        yield document


def _manifest(document: Document, number: int, folder: Path) -> Iterator[Document]:
    path = folder / document.value["manifests"][number]
    if not path.exists():
        near = {p.name for p in path.parent.glob("*") if p.suffix in (".yaml", ".yml", ".json")}
        raise document.error(
            f'there is no file "{path}"', ("manifests", number), expected=nearest(path.name, near) if near else None
        )
    return read(path)


def _conflist(cluster: ClusterPart, document: Document, folder: Path) -> str:
    if not cluster.network.endswith(".conflist"):
        return ""
    path = folder / cluster.network
    if not path.is_file():
        near = [each.name for each in path.parent.glob("*.conflist")]
        expected = nearest(path.name, near)
        raise document.error(f'there is no file "{path}"', ("cluster", "network"), expected=expected)
    return str(path)


def check_subnets(cluster: ClusterPart, document: Document) -> None:
    """Subnets that are none, that overlap, or that hold too few nodes. Raises InputError."""
    subnets: dict[str, Prefix] = {}
    for key, text in (("podSubnet", cluster.pod_subnet), ("serviceSubnet", cluster.service_subnet)):
        subnets[key] = _prefix(text, document, ("cluster", key))
    pods, services = subnets.values()
    if pods.overlaps(services):
        what = f"serviceSubnet {services} overlaps podSubnet {pods}"
        raise document.error(what, ("cluster", "serviceSubnet"), expected="subnets that do not overlap")
    own: list[tuple[str, Prefix]] = []
    names: set[str] = set()
    nodes = () if isinstance(cluster.nodes, int) else cluster.nodes
    for i, node in enumerate(nodes):
        at: Place = ("cluster", "nodes", i)
        if node.name in names:
            raise document.error(f'two nodes are called "{node.name}"', (*at, "name"))
        names.add(node.name)
        if not node.pod_cidr:
            continue
        prefix = _prefix(node.pod_cidr, document, (*at, "podCIDR"))
        if not pods.overlaps(prefix) or prefix.length < pods.length:
            what = f"podCIDR {prefix} lies outside podSubnet {pods}"
            raise document.error(what, (*at, "podCIDR"), expected=f"a part of {pods}")
        for other, theirs in own:
            if prefix.overlaps(theirs):
                what = f"podCIDR {prefix} of {node.name} overlaps {theirs} of {other}"
                raise document.error(what, (*at, "podCIDR"), expected="subnets that do not overlap")
        own.append((node.name, prefix))
    if not isinstance(cluster.nodes, int) and not nodes:
        raise document.error("a cluster needs a node", ("cluster", "nodes"), expected="a number, or a list of nodes")


def _prefix(text: str, document: Document, at: Place) -> Prefix:
    try:
        prefix = Prefix.parse(text, strict=True)
    except InputError as error:
        raise document.error(error.what.replace("'", '"'), at, expected=error.expected) from None
    if "/" not in text or not 8 <= prefix.length <= 30:
        raise document.error(f'"{text}" is no subnet', at, expected="an address, a slash and a length of 8 to 30")
    return prefix


def object_key(text: str) -> Key:
    """`pod/web-1` or `deployment/NS/web` as a key. Raises InputError."""
    kind, slash, rest = text.partition("/")
    if not slash or not rest:
        raise InputError(f'"{text}" names no object', expected="KIND/NAME or KIND/NAMESPACE/NAME")
    namespace, _, name = rest.rpartition("/")
    word = kind_named(kind)
    return Key(word, "" if word in ("node", "namespace") else namespace or "default", name)


def _check_step(scenario: Scenario, number: int, step: Step) -> None:
    actions = [name for name in ACTIONS if getattr(step, name) is not None]
    if len(actions) != 1:
        what = f"a step with {' and '.join(actions)}" if actions else "a step without an action"
        raise scenario.error(InputError(what, expected="exactly one of " + ", ".join(ACTIONS)), number, *actions[1:2])
    action = actions[0]
    if not step.settle and action not in CHANGING:
        what = f"{action} changes no objects that the cluster could follow"
        raise scenario.error(InputError(what, expected="settle beside " + ", ".join(CHANGING)), number, "settle")
    if step.expect is not None:
        if action not in SENDING:
            raise scenario.error(
                InputError(
                    f"{action} sends nothing that could be expected", expected="expect beside " + ", ".join(SENDING)
                ),
                number,
                "expect",
            )
        _check_expect(scenario, number, step.expect)
    try:
        _CHECKS[action](scenario, number, step)
    except InputError as error:
        raise scenario.error(error, number, action) from None


def _check_expect(scenario: Scenario, number: int, expect: Expect) -> None:
    needed = NAMED_REASON.get(expect.outcome)
    if needed and not getattr(expect, needed):
        what = f"expecting {expect.outcome} needs a {needed}"
        raise scenario.error(InputError(what, expected=f"{needed}: ..."), number, "expect")
    for key in ("at", "dnat", "snat", "reason", "code", "place", "by", "received"):
        try:
            check_glob(getattr(expect, key) or "")
        except InputError as error:
            raise scenario.error(error, number, "expect", key) from None


class _At:
    """Errors inside the block get the place of a key of the step."""

    def __init__(self, scenario: Scenario, number: int, *path: str) -> None:
        self.scenario, self.number, self.path = scenario, number, path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if isinstance(error, InputError):
            raise self.scenario.error(error, self.number, *self.path) from None


def _check_flow(scenario: Scenario, number: int, step: Step) -> None:
    action = step.action
    part = getattr(step, action)
    with _At(scenario, number, action, "from"):
        endpoint(part.from_, port=False)
    if step.send is not None:
        with _At(scenario, number, action, "scapy"):
            expression(step.send.scapy)
        return
    with _At(scenario, number, action, "to"):
        endpoint(part.to, port=action != "ping")
    for key in ("timeout", "interval"):
        value = getattr(part, key, None)
        if value is not None:
            with _At(scenario, number, action, key):
                duration_ns(value)


def _check_apply(scenario: Scenario, number: int, step: Step) -> None:
    values = step.apply if isinstance(step.apply, tuple) else (step.apply,)
    objects: list[Object] = []
    for i, value in enumerate(values):
        at: Place = ("steps", number, "apply", *((i,) if isinstance(step.apply, tuple) else ()))
        objects += convert(value, document=scenario.document, at=at, notes=scenario.loaded.objects)
    scenario.applied[number] = [each for each in objects if not isinstance(each, Other)]


def _check_delete(scenario: Scenario, number: int, step: Step) -> None:
    for text in (step.delete,) if isinstance(step.delete, str) else step.delete or ():
        object_key(text)


def _check_scale(scenario: Scenario, number: int, step: Step) -> None:
    for text in step.scale or {}:
        with _At(scenario, number, "scale", text):
            if object_key(text).kind not in SCALABLE:
                raise InputError(f'"{text}" cannot be scaled', expected=" or ".join(SCALABLE))


def _check_more(scenario: Scenario, number: int, step: Step) -> None:
    assert step.more is not None
    openers = [each for each in scenario.spec.steps[:number] if each.name == step.more.of and each.tcp is not None]
    if not openers or (openers[-1].tcp or step.more).close:
        with _At(scenario, number, "more", "of"):
            what = f'no earlier step "{step.more.of}" leaves a connection open'
            raise InputError(what, expected="the name of a tcp step with close: false")
    if step.more.timeout is not None:
        with _At(scenario, number, "more", "timeout"):
            duration_ns(step.more.timeout)


def _check_drain(scenario: Scenario, number: int, step: Step) -> None:
    for text in (step.drain,) if isinstance(step.drain, str) else step.drain or ():
        if not text or "/" in text.removeprefix("node/"):
            raise InputError(f'"{text}" is not a node', expected="the name of a node")


def _check_wait(scenario: Scenario, number: int, step: Step) -> None:
    if step.wait is not None:
        duration_ns(step.wait)


def _check_link(scenario: Scenario, number: int, step: Step) -> None:
    link = step.link
    assert link is not None
    if bool(link.node) == bool(link.pod):
        raise InputError("a link belongs to a node or to a pod", expected="node: NAME or pod: NS/NAME")
    if link.down is None and link.delay is None and link.loss is None and link.mtu is None and not link.lose:
        raise InputError("the link is not changed", expected="down, delay, loss, lose or mtu")
    if link.delay is not None:
        with _At(scenario, number, "link", "delay"):
            duration_ns(link.delay)
    if link.loss is not None:
        with _At(scenario, number, "link", "loss"):
            share(link.loss)


_CHECKS = {
    **dict.fromkeys(FLOWS, _check_flow),
    "more": _check_more,
    "apply": _check_apply,
    "delete": _check_delete,
    "scale": _check_scale,
    "drain": _check_drain,
    "wait": _check_wait,
    "link": _check_link,
}
