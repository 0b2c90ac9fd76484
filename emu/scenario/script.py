"""A scenario file read and checked: the Scenario, its manifests as objects, and where every step stands.

Everything that needs no cluster is checked here, so that mistakes are reported before anything is built.
Must not know how a cluster runs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from emu.errors import InputError
from emu.invariants import invariants
from emu.kube.api.documents import STDIN, Document, documents
from emu.kube.api.documents import Path as Keys
from emu.kube.api.loader import Loaded, load_documents, read
from emu.kube.api.meta import Object
from emu.kube.live.origin import shows
from emu.kube.plan import pod_cidrs, subnets, usual_pod_subnet
from emu.scenario.expectations import check_expectation
from emu.scenario.kinds import ClusterPart, Expect, ScenarioPart, Step
from emu.scenario.seen import check_list
from emu.scenario.shape import options_of, scenario_type, type_for
from emu.scenario.steps import Place, actions, changing, in_order, sending
from emu.scenario.typed import nearest, typed
from emu.wire.addr import Prefix, decimal

if TYPE_CHECKING:
    from emu.pasted.node_texts import NodeTexts

API_VERSION, KIND = "emu/v1", "Scenario"
_ACTION = re.compile(r"steps\[\d+\]\.(\w+)")
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,98}[A-Za-z0-9])?")


@dataclass
class Scenario:
    """A scenario ready to run: `spec` is its first document. `conflist` is the path of a CNI configuration, if the scenario
    names one; `bare` are the paths of manifests that no scenario is around. Where `loaded` is the export of a running cluster,
    `declared` are the objects of the scenario's own file, which join it. `dumps` are what commands printed on nodes."""

    spec: ScenarioPart
    document: Document
    loaded: Loaded
    name: str
    file: str
    conflist: str = ""
    applied: dict[int, list[Object]] = field(default_factory=dict)
    bare: tuple[str, ...] = ()
    dumps: Mapping[str, NodeTexts] = field(default_factory=dict)
    declared: Loaded = field(default_factory=Loaded)

    @property
    def objects(self) -> list[Object]:
        return self.loaded.objects

    @property
    def steps(self) -> tuple[Step, ...]:
        return self.spec.steps

    def expects(self, only: Container[int] | None = None) -> bool:
        """Whether anything is expected: by a step (one of `only`, from 0), by what it sends, or by an invariant that the scenario
        names."""
        chosen = (each for number, each in enumerate(self.steps) if only is None or number in only)
        own = (each.expect is not None or actions[each.action]().expects(each.part) for each in chosen)
        return bool(self.spec.invariants) or any(own)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Scenario:
        """Read a file, see `load`."""
        return load(path)

    @classmethod
    def parse(cls, text: str) -> Scenario:
        """Read a text, see `load_text`."""
        return load_text(text)

    def error(self, error: InputError, step: int, *path: str | int) -> InputError:
        """An error of a step, with the place of the step (counted from 0) where it has none yet."""
        where: Keys = ("steps", step, *path)
        placed = self.document.error(error.what, where)
        return error.at(file=placed.file, line=placed.line, path=placed.path)


def seeded(scenario: Scenario, seed: int | None) -> Scenario:
    """The scenario with another seed; None: its own."""
    return scenario if seed is None else replace(scenario, spec=msgspec.structs.replace(scenario.spec, seed=seed))


def is_scenario(document: Document) -> bool:
    """Whether a document is of our own kind (and not a manifest)."""
    value = document.value
    return isinstance(value, dict) and (
        str(value.get("apiVersion", "")).startswith("emu/") or value.get("kind") == KIND
    )


def opened(path: str | os.PathLike[str]) -> tuple[bool, Iterator[Document]]:
    """Whether a file begins with a scenario, and its documents: what is read from a FIFO cannot be read again. Raises InputError."""
    found = read(path)
    first = next(found, None)
    return first is not None and is_scenario(first), chain([] if first is None else [first], found)


def load(path: str | os.PathLike[str]) -> Scenario:
    """Read a scenario file and the manifests that it names. Raises InputError."""
    if Path(path).is_dir():
        raise InputError("is a folder", file=str(path), expected="a scenario file")
    return load_found(path, read(path))


def load_found(path: str | os.PathLike[str], found: Iterator[Document]) -> Scenario:
    """A scenario from the documents of a file, and the manifests that it names beside that. Raises InputError."""
    return _read(found, str(path), Path(path).parent, _stem(str(path)))


def _stem(file: str) -> str:
    return "stdin" if file == STDIN else Path(file).stem


def load_text(text: str, file: str = "scenario.yaml", folder: str | os.PathLike[str] = ".") -> Scenario:
    """Read a scenario from a text; `folder` is where the manifests that it names lie. Raises InputError."""
    return _read(documents(text, file), file, Path(folder), Path(file).stem)


def load_manifests(
    paths: Sequence[str | os.PathLike[str]],
    found: Iterable[Document],
    *,
    nodes: int = 2,
    network: str = "bridge",
    namespace: str = "default",
) -> Scenario:
    """Manifests alone, whose documents were `found` in these files or folders, as a scenario without steps; it has the name of the first.
    Raises InputError."""
    names = tuple(map(str, paths))
    spec = ScenarioPart("emu/v1", "Scenario", cluster=ClusterPart(nodes=nodes, network=network))
    found = iter(found)
    first = next(found, None)
    if first is None:
        raise InputError("is empty", file=names[0], expected="a scenario or manifests")
    every = [*_only_manifests(chain([first], found), "a scenario behind manifests")]
    live = any(shows(each.value) for each in every)  # the export of a running cluster
    loaded = load_documents(every, namespace=namespace, live=live)
    stem = "stdin" if names[0] == STDIN else Path(paths[0]).resolve().stem
    name = stem if _NAME.fullmatch(stem) else "manifests"
    return Scenario(spec, next(documents("{}")), loaded, name, names[0], bare=names)


def _read(found: Iterator[Document], file: str, folder: Path, stem: str) -> Scenario:
    first = next(found, None)
    if first is None:
        raise InputError("is empty", file=file, expected=f"apiVersion: {API_VERSION}, kind: {KIND}")
    if not is_scenario(first):
        what = "the first document is no scenario"
        raise InputError(what, file=file, line=first.line, expected=f"apiVersion: {API_VERSION}, kind: {KIND}")

    def objects(spec: ScenarioPart) -> tuple[Loaded, Loaded]:
        return objects_of(spec, first, [*_only_manifests(found)], folder)

    return _checked(first, file, folder, stem, objects)


def read_again(document: Document, file: str, objects: Callable[[ScenarioPart], tuple[Loaded, Loaded]]) -> Scenario:
    """The scenario of a file whose first document is this one instead, checked as that is. `objects` gives those of the manifests and those
    that are declared beside an export. Raises InputError."""
    return _checked(document, file, Path(file).parent, _stem(file), objects)


def _with_example(error: InputError) -> InputError:
    """The same, with its action's example where nothing else is stated as expected."""
    place = _ACTION.match(error.path or "")
    action = actions.get(place[1]) if place is not None and error.expected is None else None
    if action is not None:
        error.expected = "such as " + action.example.splitlines()[-1].removeprefix("- ")
    return error


def _checked(
    first: Document, file: str, folder: Path, stem: str, objects: Callable[[ScenarioPart], tuple[Loaded, Loaded]]
) -> Scenario:
    try:
        spec = typed(first.value, type_for(first.value), first)
    except InputError:  # what was expected is found among all
        try:
            spec = typed(first.value, scenario_type(), first)
        except InputError as error:
            raise _with_example(error) from None
    name = spec.metadata.name or stem
    if not _NAME.fullmatch(name):
        raise first.error(
            f'"{name}" cannot name a folder', ("metadata", "name"), expected="letters, digits, '-', '_' and '.'"
        )
    _check_cluster(spec.cluster, first)
    _check_invariants(spec, first)
    conflist = _conflist(spec.cluster, first, folder)
    dumps = _dumps(spec.cluster, first, folder)
    loaded, declared = objects(spec)
    scenario = Scenario(spec, first, loaded, name, file, conflist, dumps=dumps, declared=declared)
    for number, step in enumerate(spec.steps):
        try:
            _check_step(scenario, number, step)
        except InputError as error:
            raise scenario.error(error, number) from None
    return scenario


def objects_of(spec: ScenarioPart, document: Document, own: Sequence[Document], folder: Path) -> tuple[Loaded, Loaded]:
    """The objects of the manifests in a scenario's own file and of those that it names, and those that are declared beside an export.
    Raises InputError."""
    named = [*chain.from_iterable(_manifest(document, i, folder) for i in range(len(spec.manifests)))]
    live = spec.cluster.live
    if not (live if live is not None else any(shows(each.value) for each in (*own, *named))):
        return load_documents([*own, *named]), Loaded()
    apart = any(shows(each.value) for each in named) and not any(shows(each.value) for each in own)
    loaded = load_documents(named if apart else [*own, *named], live=True)
    declared = load_documents(own if apart else [])
    loaded.places |= declared.places
    return loaded, declared


def _only_manifests(found: Iterable[Document], what: str = "a second scenario in one file") -> Iterator[Document]:
    for document in found:
        if is_scenario(document):
            raise document.error(what, expected="one scenario a file, first in it")
        yield document


def _manifest(document: Document, number: int, folder: Path) -> Iterator[Document]:
    path = folder / document.value["manifests"][number]
    if not _is_there(path):
        near = {p.name for p in _beside(path) if p.suffix in (".yaml", ".yml", ".json")}
        raise document.error(
            f'there is no file "{path}"', ("manifests", number), expected=nearest(path.name, near) if near else None
        )
    return read(path)


def _is_there(path: Path) -> bool:
    try:
        path.stat()
    except (OSError, ValueError):  # too long, a zero byte, not there
        return False
    return True


def _beside(path: Path) -> list[Path]:
    try:
        return list(path.parent.iterdir())
    except (OSError, ValueError):
        return []


def _dumps(cluster: ClusterPart, document: Document, folder: Path) -> dict[str, NodeTexts]:
    """What commands printed on nodes, by node."""
    found = {}
    for number, node in enumerate(cluster.nodes if not isinstance(cluster.nodes, int) else ()):
        if node.dump:
            try:
                from emu.pasted.node_texts import node_texts

                found[node.name] = node_texts(folder / node.dump)
            except InputError as error:
                placed = document.error(f"{error.file}: {error.what}", ("cluster", "nodes", number, "dump"))
                raise InputError(
                    placed.what, file=placed.file, line=placed.line, path=placed.path, expected=error.expected
                ) from None
    return found


def _conflist(cluster: ClusterPart, document: Document, folder: Path) -> str:
    if not cluster.network.endswith(".conflist"):
        return ""
    path = folder / cluster.network
    if not _is_there(path):
        near = {each.name for each in _beside(path) if each.suffix == ".conflist"}
        expected = nearest(path.name, near)
        raise document.error(f'there is no file "{path}"', ("cluster", "network"), expected=expected)
    return str(path)


def _check_cluster(cluster: ClusterPart, document: Document) -> None:
    """Subnets that are none, that overlap, or that lie outside another, and options that do not fit. Raises InputError."""
    try:
        nodes = cluster.nodes if isinstance(cluster.nodes, int) else len(cluster.nodes)
        subnet = cluster.pod_subnet or usual_pod_subnet(nodes, cluster.node_cidr_mask_size)
        pods, _services = subnets(subnet, cluster.service_subnet)
        if not isinstance(cluster.nodes, int):
            pod_cidrs([(node.name, node.pod_cidr) for node in cluster.nodes], pods)
        _check_options(cluster, pods)
    except InputError as error:
        raise document.error(error.what, keys(error.path or "cluster"), expected=error.expected) from None


def _check_invariants(spec: ScenarioPart, document: Document) -> None:
    for number, name in enumerate(() if spec.invariants == "all" else spec.invariants):
        if name not in invariants:
            what = f'no invariant is called "{name}"'
            raise document.error(what, ("invariants", number), expected=nearest(name, set(invariants)))


def _check_options(cluster: ClusterPart, pods: Prefix) -> None:
    """Options of another network than the cluster's, or that do not fit. Raises InputError."""
    for name, options in options_of(cluster).items():
        if name != cluster.network:
            what = f'the network is "{cluster.network}"'
            raise InputError(what, path=f"cluster.{name}", expected=f'options of "{name}" beside network: {name}')
        try:
            options.check(pods)
        except InputError as error:
            path = f"cluster.{name}.{error.path}" if error.path else f"cluster.{name}"
            raise InputError(error.what, path=path, expected=error.expected) from None


def keys(path: str) -> Keys:
    """The keys of an error's path: `cluster.nodes[1].podCIDR`."""
    return tuple(word if decimal(word) is None else int(word) for word in re.findall(r"[^.\[\]]+", path))


def _check_step(scenario: Scenario, number: int, step: Step) -> None:
    found = step.given
    if len(found) != 1:
        what = f"a step with {' and '.join(found)}" if found else "a step without an action"
        raise scenario.error(InputError(what, expected="exactly one of " + ", ".join(in_order())), number, *found[1:2])
    name = found[0]
    action = actions[name]()
    place = Place(scenario, number, step)
    if not step.settle and not action.changes:
        what = f"{name} changes no objects that the cluster could follow"
        raise scenario.error(InputError(what, expected="settle beside " + ", ".join(changing())), number, "settle")
    if step.expect is not None:
        if not action.sends:
            what = f"{name} sends nothing that could be expected"
            raise scenario.error(InputError(what, expected="expect beside " + ", ".join(sending())), number, "expect")
        _check_expect(scenario, number, step.expect, place)
    with place.at():
        action.check(step.part, place)


def _check_expect(scenario: Scenario, number: int, expect: Expect, place: Place) -> None:
    try:
        check_expectation(expect)
    except InputError as error:
        at = (error.path,) if error.path else ()
        raise scenario.error(InputError(error.what, expected=error.expected), number, "expect", *at) from None
    try:
        check_list(expect.seen, place.moments)
    except InputError as error:
        path = keys(error.path or "")
        raise scenario.error(InputError(error.what, expected=error.expected), number, "expect", "seen", *path) from None
