"""`-f`: manifests, folders of them, or a scenario file, as a cluster to look at. Must not know what is shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypedDict, Unpack

from emu.cli.console import detail, note
from emu.cli.settings import settings
from emu.errors import InputError

if TYPE_CHECKING:
    from emu.kube.api.documents import Document
    from emu.kube.api.loader import Loaded, Place
    from emu.kube.api.meta import Key
    from emu.kube.cluster import Cluster
    from emu.pasted.node_texts import NodeTexts
    from emu.scenario.record import Run
    from emu.scenario.script import Scenario

EXPORT = "export: "  # how a note begins about what an export does not state


class Opened(NamedTuple):
    """A settled cluster, where its objects stood, if in files, and what is to be known of it. `again` makes an equal cluster, also in another
    process; `ran`: a scenario's steps were run."""

    cluster: Cluster
    places: Mapping[Key, Place]
    again: Callable[[], Cluster]
    notes: Sequence[str] = ()
    ran: bool = False

    def line(self, key: Key, path: tuple[str | int, ...] = ()) -> str:
        """`dump.yaml:812`, "" for an object that no file states."""
        place = self.places.get(key)
        return "" if place is None or place.file is None else f"{place.file}:{place.line_of(path)}"


class Wanted(TypedDict, total=False):
    """What cluster is to be made of files. `namespace` is that of objects without one; `nodes` and `network` count for manifests without a
    scenario. `from_start` False: a capture begins when the cluster is built. `live` states whether the objects are an export's, which is else known by their status. With `ends` only those pods of an export
    run that a question with these ends may concern. `dumps` are nodes' own, each NAME=FOLDER. `enforcing`: in an export without policies what
    would enforce them runs, too."""

    namespace: str
    nodes: int
    network: str
    capture: bool
    from_start: bool
    seed: int | None
    live: bool | None
    ends: Sequence[str]
    dumps: Sequence[str]
    enforcing: bool


def cluster_of(files: Sequence[Path], **wanted: Unpack[Wanted]) -> Cluster:
    """A settled cluster of the files' objects, what is to be known of it noted. A scenario's own `cluster` counts, and its steps are run.
    Raises InputError."""
    return noted(open_cluster(files, **wanted))


def open_cluster(files: Sequence[Path], **wanted: Unpack[Wanted]) -> Opened:
    """The same, with the places of the objects, and nothing noted yet but what is left out of the files. Raises InputError."""
    from emu.collector import uncollected
    from emu.kube.api.kustomization import left_out
    from emu.pasted.node_texts import by_node

    if not files:
        raise InputError("no manifests are named", expected="-f FILE or -f FOLDER")
    for finding in chain.from_iterable(map(left_out, files)):
        note(str(finding))
    dumps = by_node(wanted.get("dumps", ()))
    with uncollected():
        found = _found(files, wanted.get("live"))
        if isinstance(found, list):
            return _of_manifests(files, found, dumps, wanted)
    done = _run(found, wanted, dumps)
    _built(files, done.scenario.loaded, done.cluster)
    again = partial(_run_again, files[0], wanted, dumps)
    return Opened(done.cluster, done.scenario.loaded.places, again, done.notes, ran=True)


def _found(files: Sequence[Path], live: bool | None) -> Scenario | list[Document]:
    """The scenario that a file holds, or the manifests of files and folders. Raises InputError."""
    from emu.kube.api.loader import read
    from emu.scenario.script import is_scenario, load_found, opened

    if len(files) == 1 and not files[0].is_dir() and live is None:
        own, found = opened(files[0])
        if own:
            return load_found(files[0], found)
        documents = list(found)
    else:
        documents = list(chain.from_iterable(read(path) for path in files))
    for document in documents:
        if is_scenario(document):
            raise document.error("a scenario stands alone", expected="one scenario file, or manifests")
    return documents


def _of_manifests(
    files: Sequence[Path], documents: list[Document], dumps: Mapping[str, NodeTexts], wanted: Wanted
) -> Opened:
    from emu.kube.api.core import Node, Pod
    from emu.kube.api.loader import load_documents
    from emu.kube.cluster import Cluster
    from emu.kube.live import shows

    live, ends = wanted.get("live"), wanted.get("ends", ())
    namespace, seed = wanted.get("namespace", "default"), wanted.get("seed") or 0
    capture, from_start = wanted.get("capture", True), wanted.get("from_start", True)
    build = partial(Cluster, seed=seed, capture=capture, from_start=from_start)
    if live if live is not None else any(shows(each.value) for each in documents):
        from emu.kube.live.read import read as read_export
        from emu.kube.live.relevant import relevant

        loaded = load_documents(documents, namespace=namespace, live=True)
        shown = read_export(loaded, enforcing=wanted.get("enforcing", False))
        only = relevant(shown.objects, ends) if ends else None
        if only is not None and dumps:  # a node's dump speaks of all of its pods
            pods = (each for each in shown.objects if isinstance(each, Pod))
            only |= {f"{each.namespace}/{each.name}" for each in pods if each.spec.node_name in dumps}
        again = partial(build, replace(shown.config, only=only, dumps=dumps), shown.objects)
        cluster = again()
        _built(files, loaded, cluster)
        return Opened(cluster, loaded.places, again, [*cluster.warnings])
    from emu.scenario.build import config
    from emu.scenario.kinds import ClusterPart
    from emu.scenario.lint import meant, named_nodes, waiting, without_nodes

    loaded = load_documents(documents, namespace=namespace)
    part = ClusterPart(nodes=wanted.get("nodes", 2), network=wanted.get("network", "bridge"))
    again = partial(build, replace(config(part), dumps=dumps), loaded.objects)
    cluster = again()
    _built(files, loaded, cluster)
    store = cluster.store
    there = store.list(Node)
    stay = [*waiting(store.list(Pod)), *without_nodes(loaded, there), *named_nodes(loaded, there)]
    return Opened(cluster, loaded.places, again, [*map(str, meant(loaded)), *cluster.warnings, *map(str, stay)])


def _run(scenario: Scenario, wanted: Wanted, dumps: Mapping[str, NodeTexts]) -> Run:
    from emu.scenario.build import build
    from emu.scenario.run import run
    from emu.scenario.script import seeded

    given = replace(seeded(scenario, wanted.get("seed")), dumps={**scenario.dumps, **dumps})
    # a step that looks for frames looks for those of the build, too
    looks = any(step.action == "seen" for step in scenario.steps)
    capture, from_start = wanted.get("capture", True) or looks, wanted.get("from_start", True) or looks
    return run(given, build=partial(build, capture=capture, from_start=from_start))


def _run_again(path: Path, wanted: Wanted, dumps: Mapping[str, NodeTexts]) -> Cluster:
    """The cluster at the end of a scenario."""
    from emu.scenario.script import load_found, opened

    _, found = opened(path)
    return _run(load_found(path, found), wanted, dumps).cluster


def _built(files: Sequence[Path], loaded: Loaded, cluster: Cluster) -> None:
    """For -v: what was read, and what was made of it."""
    kinds = Counter(obj.kind for obj in loaded.objects)
    listed = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common()) or "no objects"
    detail(f"read {', '.join(map(str, files))}: {listed}")
    if loaded.ignored:
        detail(f"without effect: {', '.join(loaded.ignored)}")
    detail(f"built {len(cluster.nodes)} nodes with network {cluster.config.network}, {len(cluster.pods)} pods")


def rest_noted(opened: Opened, assumed: Sequence[str] = (), *, stating: bool = False) -> None:
    """The notes behind the answer: what nodes have otherwise; not what it states itself, and of an export's other findings only how
    many there are. `stating`: with what was assumed about an export, where the answer does not have it."""
    stated = {f"{EXPORT}{each}" for each in assumed}
    live = any(each.startswith(EXPORT) for each in opened.notes)
    differences = {str(each) for each in opened.cluster.differences}
    rest = [each for each in opened.notes if each not in stated]
    if live and not settings.verbose:
        first = [each for each in rest if each in differences or (stating and each.startswith(EXPORT))]
        for each in first:
            note(each)
        counted(len(rest) - len(first), more=bool(assumed) or stating)
        return
    for each in rest:
        note(each)


def counted(rest: int, *, more: bool) -> None:
    """How many notes on an export are not written."""
    if rest:
        note(f"{rest} {'more ' if more else ''}remark{'s' if rest > 1 else ''} on the export (-v shows them)")


def noted(opened: Opened) -> Cluster:
    """The cluster, what is to be known of it noted."""
    for text in opened.notes:
        note(text)
    return opened.cluster


def qualified(text: str, namespace: str) -> str:
    """An endpoint with the namespace of `-n` where it names none: `client`, `pod/client`, `svc/web:80`."""
    from emu.kube.flow.ends import by_name

    if by_name(text) is not None:
        return text
    place, colon, port = text.partition(":")
    kind, slash, rest = place.partition("/")
    if not slash and kind != "external" and kind != "localhost" and not kind.replace(".", "").isdigit():
        return f"{namespace}/{text}"
    if kind in ("pod", "po") and "/" not in rest:
        return f"{namespace}/{rest}{colon}{port}"
    if kind in ("svc", "service"):
        name = rest if "." in rest or namespace == "default" else f"{rest}.{namespace}"
        return f"svc/{name}{colon}{port}"
    return text.replace("localhost", "127.0.0.1", 1) if kind == "localhost" else text
