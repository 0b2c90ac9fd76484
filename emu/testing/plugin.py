"""The pytest plugin: fixtures, scenario files as tests, and what a failed test leaves behind.

pytest finds it by itself where emu is installed (entry point `pytest11`), so it imports emu only when a test uses it. Must
not know invariants or strategies.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from emu.fork import Snapshot
    from emu.kube.api.meta import Object
    from emu.kube.cluster import Cluster, ClusterConfig
    from emu.lab import Lab
    from emu.scenario.record import Run
    from emu.testing.spreading import Part

    ClusterFactory = Callable[..., Cluster]
    RunScenario = Callable[..., Run]

SUFFIXES = (".yaml", ".yml")
_MADE: pytest.StashKey[list[Any]] = pytest.StashKey()
_FAILED: pytest.StashKey[Run] = pytest.StashKey()
_BOOTED: pytest.StashKey[dict[str, Snapshot[Cluster]]] = pytest.StashKey()
_PART: pytest.StashKey[Part] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--emu-captures DIR`, and `--emu-examples N` with what belongs to it."""
    from emu.testing.artefacts import FOLDER

    text = f"where a failed test leaves its manifest, capture and walk (default: {FOLDER} in the root folder)"
    group = parser.getgroup("emu")
    group.addoption("--emu-captures", metavar="DIR", default=None, help=text)
    text = "run N examples of each property over emu, in parts of 100 with a seed each"
    group.addoption("--emu-examples", metavar="N", type=int, default=0, help=text)
    text = "the first seed of --emu-examples (default: 0)"
    group.addoption("--emu-seed", metavar="N", type=int, default=0, help=text)
    text = "how many processes run the parts of --emu-examples (default: one for each processor; with pytest-xdist 1)"
    group.addoption("--emu-jobs", metavar="N", type=int, default=None, help=text)
    text = "the address of a Dask scheduler whose workers run the parts of --emu-examples"
    group.addoption("--emu-dask", metavar="ADDRESS", default="", help=text)


def pytest_configure(config: pytest.Config) -> None:
    """The marker that states what the fixture `cluster` is made of."""
    text = "cluster(objects, nodes=2, network='bridge', seed=0, ...): what the fixture `cluster` is made of; files are beside the test"
    config.addinivalue_line("markers", text)


# -- fixtures ------------------------------------------------------------------------------------------


def _made(request: pytest.FixtureRequest) -> list[Any]:
    made: list[Any] = request.node.stash.setdefault(_MADE, [])
    return made


@pytest.fixture
def lab(request: pytest.FixtureRequest) -> Lab:
    """A new `Lab` for this test; `@pytest.mark.parametrize("lab", [SEED], indirect=True)` sets its seed."""
    from emu.lab import Lab

    bench = Lab(getattr(request, "param", 0))
    _made(request).append(bench)
    return bench


@pytest.fixture
def cluster(request: pytest.FixtureRequest) -> Cluster:
    """A cluster for this test alone: of two empty nodes, or of what `@pytest.mark.cluster(objects, nodes=2, ...)` states. Tests
    with the same marker get copies of one that was built once."""
    marker = request.node.get_closest_marker("cluster")
    sources, words = (marker.args, dict(marker.kwargs)) if marker is not None else ((), {})
    booted = request.config.stash.setdefault(_BOOTED, {})
    folder = request.path.parent
    key = f"{folder}: {sources!r} {words!r}"
    if key not in booted:
        booted[key] = _boot(folder, sources, words).snapshot()
    made = booted[key].fork()
    _made(request).append(made)
    return made


def _boot(folder: Path, sources: tuple[Any, ...], words: dict[str, Any]) -> Cluster:
    from emu.kube.api.sources import is_text
    from emu.kube.cluster import Cluster, ClusterConfig

    def beside(source: Any) -> Any:
        if isinstance(source, list | tuple):
            return [beside(each) for each in source]
        return folder / source if isinstance(source, str | Path) and not is_text(str(source)) else source

    seed, capture = words.pop("seed", 0), words.pop("capture", True)
    config = ClusterConfig.of(words.pop("nodes", 2), **words)
    return Cluster(config, beside(list(sources)), seed=seed, capture=capture)


@pytest.fixture
def cluster_factory(request: pytest.FixtureRequest) -> ClusterFactory:
    """Makes captured clusters for this test: `cluster_factory(config or number of nodes, objects, seed=0)`."""
    from emu.kube.cluster import Cluster

    made = _made(request)

    def make(config: ClusterConfig | int | None = None, objects: Iterable[Object] = (), *, seed: int = 0) -> Cluster:
        cluster = Cluster(config, objects, seed=seed)
        made.append(cluster)
        return cluster

    return make


@pytest.fixture
def scenario(request: pytest.FixtureRequest) -> RunScenario:
    """Runs scenarios: `scenario("shop.yaml")`, a file beside the test or a text. It fails the test where an expectation fails;
    with `held=False` it only gives the run."""
    from emu.kube.api.sources import is_text
    from emu.scenario.run import run
    from emu.scenario.script import load, load_text
    from emu.testing.collected import verdict

    made, folder = _made(request), request.path.parent

    def play(source: str | Path, *, held: bool = True) -> Run:
        text = isinstance(source, str) and is_text(source)
        done = run(load_text(str(source), folder=folder) if text else load(folder / source))
        made.append(done.cluster)
        failure = verdict(done)
        if held and failure:
            request.node.stash[_FAILED] = done
            pytest.fail(failure, pytrace=False)
        return done

    return play


# -- scenario files ------------------------------------------------------------------------------------


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """A YAML file whose first document is a scenario of emu; no other file."""
    if file_path.suffix not in SUFFIXES or not _may_be_scenario(file_path):
        return None
    from emu.testing.collected import ScenarioFile, is_scenario_file

    if not is_scenario_file(file_path):
        return None
    file: pytest.Collector = ScenarioFile.from_parent(parent, path=file_path)
    return file


def _may_be_scenario(path: Path) -> bool:
    """Whether the file names our API; cheap, for most YAML files are others'."""
    try:
        with path.open("rb") as file:
            return b"emu/v" in file.read(1 << 16)
    except OSError:
        return False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Properties over emu are not explained line by line: Hypothesis would trace all of emu for that, which takes minutes. The
    shrunk example's own captures are left instead. Phases that a test chose itself stay."""
    for item in items:
        if isinstance(item, pytest.Function) and _is_property(item.obj) and _uses_emu(item):
            from emu.testing.explained import without_tracing

            without_tracing(item.obj, item.cls)


def _is_property(test: object) -> bool:
    """Whether Hypothesis runs a test: a function, or a state machine's method."""
    return hasattr(test, "hypothesis") or getattr(test, "is_hypothesis_test", False)


def _uses_emu(item: pytest.Function) -> bool:
    names = vars(item.module).values() if item.module is not None else ()
    words = {
        str(getattr(each, "__module__", None) or getattr(each, "__name__", "")).partition(".")[0] for each in names
    }
    return "emu" in words


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """With --emu-examples: a property over emu runs so many examples, over processes or Dask."""
    examples = item.config.getoption("--emu-examples")
    if not examples or not isinstance(item, pytest.Function) or not (_is_property(item.obj) and _uses_emu(item)):
        return (yield)
    test = item.obj
    item.obj = lambda **arguments: _spread(item, test, examples, arguments)
    try:
        return (yield)
    finally:
        item.obj = test


def _spread(item: pytest.Item, test: Callable[..., None], examples: int, arguments: dict[str, Any]) -> None:
    from emu.testing.spreading import spread_examples

    jobs = item.config.getoption("--emu-jobs")
    if jobs is None:
        jobs = 1 if hasattr(item.config, "workerinput") else 0

    def command(part: Part) -> str:
        item.stash[_PART] = part
        return again(item)

    seed, dask = item.config.getoption("--emu-seed"), item.config.getoption("--emu-dask")
    spread_examples(test, examples, seed=seed, jobs=jobs, dask=dask, arguments=arguments, again=command)


# -- failures ------------------------------------------------------------------------------------------


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, None]:
    """Leave the failed test's manifest, capture and walk in a folder, and name them in its report."""
    outcome = yield
    report = outcome.get_result()
    if report.when != "call" or not report.failed or call.excinfo is None:
        return
    from emu.testing.artefacts import FOLDER, Left, benches, leave, leave_scenario

    left: list[Left] = getattr(item, "left", [])
    if not left:
        root = item.config.getoption("--emu-captures") or item.config.rootpath / FOLDER
        made: list[Any] = item.stash.get(_MADE, [])
        failed = item.stash.get(_FAILED, None)
        if failed is not None:
            from emu.scenario.smallest import smallest

            left = [leave_scenario(Path(root), item.nodeid, smallest(failed))]
        else:
            left = leave(Path(root), item.nodeid, benches(call.excinfo.value, made), again(item))
    for each in left:
        report.sections.append(("emu: what is left", each.text))
        if each.walk:
            report.sections.append(("emu: the walk", each.walk))


def again(item: pytest.Item) -> str:
    """The command that runs one test again: with the part of its examples that fails, or with Hypothesis' seed if it drew one."""
    from shlex import quote

    part = item.stash.get(_PART, None)
    if part is not None:
        return f"python -m pytest {quote(item.nodeid)} --emu-examples {part.examples} --emu-seed {part.seed}"
    seed = getattr(getattr(item, "obj", None), "_hypothesis_internal_use_generated_seed", None)
    seeded = f" --hypothesis-seed={seed}" if seed is not None else ""
    return f"python -m pytest {quote(item.nodeid)}{seeded}"
