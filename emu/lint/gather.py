"""Files to findings: each is read as what it is, scenarios alone, manifests together, an export as the cluster that it shows.

Nothing is sent. Must not know how findings are written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from emu.errors import InputError
from emu.kernel.dumped.rules import pasted_rules
from emu.kernel.netfilter.dump import unknown
from emu.kube.api.core import Node, Pod, Service
from emu.kube.api.discovery import EndpointSlice
from emu.kube.api.documents import Document, read_text
from emu.kube.api.dumps import is_rules, is_tar
from emu.kube.api.kustomization import left_out
from emu.kube.api.loader import SUFFIXES, Loaded, Objects, Place, files_of, load_documents, read
from emu.kube.live.origin import shows
from emu.kube.live.read import read as read_export
from emu.kube.live.remarks import idle, not_ready, stale
from emu.kube.plan import ClusterConfig, plan_nodes
from emu.kube.store import Store
from emu.lint.pods import policies, ports_of_nodes, unready
from emu.modelled import Finding
from emu.scenario.build import build
from emu.scenario.lint import named_nodes, waiting, warnings, without_endpoints, without_nodes
from emu.scenario.run import check_endpoints
from emu.scenario.script import is_scenario, load_found
from emu.wire.addr import Prefix

HEAD = 4096  # bytes that show what a file is
RULES_SUFFIXES = (".rules", ".iptables", ".v4")


class Looked(NamedTuple):
    """What was read: its `kind`, how many of each kind of object, the names of those without effect, what was found, and in which
    `files`. `error`: why it was refused."""

    kind: str
    objects: dict[str, int]
    ignored: list[str]
    findings: list[Finding]
    files: tuple[str, ...] = ()
    error: InputError | None = None


def rules(path: Path) -> Looked:
    """A text of rules. Raises InputError."""
    ruleset, notes = pasted_rules(read_text(path), str(path))
    count = {"tables": len(ruleset.tables), "rules": sum(1 for _ in ruleset.rules())}
    odd = [Finding(str(path), "", text, "assumed") for text in notes]
    for each in unknown(ruleset):
        what = f"{each.why}: what comes to this rule is undecided"
        odd.append(Finding(f"{path}:{each.rule.line}", "", what, "rule-not-modelled"))
    return Looked("iptables-save", count, [], odd)


def scenario(path: Path, found: Iterable[Document]) -> Looked:
    """A scenario: its cluster is built, and the ends of its flows are looked up. Raises InputError for one that cannot be read."""
    made = load_found(path, iter(found))
    error: InputError | None = None
    odd = [*warnings(made.loaded), *policies(made.loaded), *ports_of_nodes(made.loaded)]
    try:
        cluster = build(made)
        odd = [*odd, *cluster.unmodelled.reported]
        nodes = cluster.store.list(Node)
        odd += [*without_nodes(made.loaded, nodes), *named_nodes(made.loaded, nodes)]
        odd += waiting(cluster.store.list(Pod))
        check_endpoints(made, cluster)
    except InputError as refusal:
        error = refusal
    if made.steps and not made.expects():
        odd.append(
            Finding(
                f"{path}:{made.document.line_of(('steps',))}",
                "steps",
                "no step has an `expect`: only the invariants judge",
                "no-expectation",
            )
        )
    odd = [each._replace(place=each.place or str(path)) for each in odd]
    count = _count(made.loaded) | {"steps": len(made.spec.steps)}
    return Looked("scenario", count, made.loaded.ignored, odd, (), error)


def manifests(found: Iterable[Document], namespace: str = "default") -> Looked:
    """The manifests of one cluster; nothing is built. Raises InputError."""
    loaded = load_documents(found, namespace=namespace)
    settings = ClusterConfig()
    declared = [each for each in loaded.objects if isinstance(each, Node)]
    nodes = plan_nodes(settings, declared, Prefix.parse(settings.pod_subnet))
    odd = [*warnings(loaded), *without_nodes(loaded, nodes, pods=True), *policies(loaded), *ports_of_nodes(loaded)]
    if declared:  # else the names of the nodes are not known
        odd += named_nodes(loaded, nodes)
    return Looked("manifests", _count(loaded), loaded.ignored, odd)


def export(found: Iterable[Document], namespace: str = "default") -> Looked:
    """The state of a cluster. Raises InputError."""
    loaded = load_documents(found, namespace=namespace, live=True)
    shown = read_export(loaded)
    store = Store()
    for obj in shown.objects:
        store.apply(obj)
    odd = [*(_newer(each) for each in shown.objects.findings), *shown.config.findings]
    running = Loaded(Objects(each for each in loaded.objects if isinstance(each, Pod | Service)), places=loaded.places)
    odd += [each for each in without_endpoints(running) if each.id != "port-not-declared"]
    odd += [*unready(running), *ports_of_nodes(running), *policies(loaded)]
    places = {"/".join(filter(None, key)): place for key, place in loaded.places.items()}
    slices = stale(store) if store.list(EndpointSlice) else ()  # where there are none, the controller makes them
    odd += [_at(places, each) for each in (*slices, *idle(store), *not_ready(store))]
    return Looked("export", _count(loaded), loaded.ignored, odd)


def _newer(finding: Finding) -> Finding:
    """What an API server has accepted is not misspelt."""
    return finding._replace(id="newer-field") if finding.id in ("unknown-field", "unknown-kind") else finding


def _at(places: Mapping[str, Place], finding: Finding) -> Finding:
    """With the place of the object that it is about, of several the first."""
    place = places.get(finding.about.partition(" and ")[0])
    return finding if place is None or finding.place else finding._replace(place=f"{place.file or ''}:{place.line}")


def _count(loaded: Loaded) -> dict[str, int]:
    return dict(Counter(obj.kind for obj in loaded.objects))


def refused(error: InputError) -> Finding:
    """An error of the input as a finding."""
    place = f"{error.file}:{error.line}" if error.file and error.line else error.file or ""
    expected = f" (expected {error.expected})" if error.expected else ""
    return Finding(place, error.path or "", f"{error.what}{expected}", "invalid")


def _tried(files: Sequence[str], reading: Callable[[], Looked]) -> Looked:
    try:
        looked = reading()
    except InputError as error:
        looked = Looked("refused", {}, [], [], (), error)
    found = [] if looked.error is None else [refused(looked.error)]
    return looked._replace(files=tuple(files), findings=[*looked.findings, *found])


def _has_rules(path: Path) -> bool:
    """By its name, or by how it begins."""
    if path.suffix in RULES_SUFFIXES:
        return True
    if path.is_dir() or not path.is_file() or path.suffix in SUFFIXES:
        return False
    with path.open("rb") as file:
        return is_rules(file.read(HEAD).decode("utf-8", "replace"))


def of_file(path: Path) -> Looked:
    """A file, a folder of manifests or "-", by itself. Raises InputError."""
    if _has_rules(path):
        return rules(path)
    found = [*read(path)]
    if not found:
        return Looked("empty", {}, [], [])
    if is_scenario(found[0]):
        return scenario(path, found)
    return together(found)


def together(found: Sequence[Document], namespace: str = "default") -> Looked:
    """Documents of one cluster. Raises InputError."""
    shown = any(shows(each.value) for each in found)
    return (export if shown else manifests)(found, namespace)


def look(files: Sequence[Path], namespace: str = "default") -> Iterator[Looked]:
    """All files and folders. What is refused is a finding, the other files are looked at all the same. Raises InputError for a file
    that is not there."""
    rest: list[Document] = []
    names: list[str] = []
    alone = 0
    for top in files:
        if left := left_out(top):
            yield Looked("kustomization", {}, [], left)
        for path in [top] if is_tar(top) else files_of(top):
            alone += 1
            if _has_rules(path):
                yield _tried([str(path)], partial(rules, path))
                continue
            try:
                found = [*read(path)]
            except InputError as error:
                if error.line is None and not path.exists():
                    raise
                yield Looked("refused", {}, [], [refused(error)], (str(path),), error)
                continue
            if found and is_scenario(found[0]):
                yield _tried([str(path)], partial(scenario, path, found))
            else:
                rest += found
                names.append(str(path))
    if rest:
        yield _tried(names, partial(together, rest, namespace))
    if not alone:
        raise InputError("no file is named", expected="FILE, FOLDER or -")
