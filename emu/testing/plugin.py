"""The pytest plugin: fixtures `lab` and `cluster_factory`; when a test that used them fails, the walk is printed.

Load it with `-p emu.testing.plugin`, or import the fixtures and the hook in a conftest. Hypothesis properties make their
`Lab` inside the test: a fixture is made once for all examples. Must not know invariants.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from emu.kube.api.meta import Object
    from emu.kube.cluster import Cluster, ClusterConfig
    from emu.lab import Lab

    ClusterFactory = Callable[..., Cluster]

MAX_LINES = 200
_MADE: pytest.StashKey[list[Any]] = pytest.StashKey()


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
def cluster_factory(request: pytest.FixtureRequest) -> ClusterFactory:
    """Makes captured clusters for this test: `cluster_factory(config or number of nodes, objects, seed=0)`."""
    from emu.kube.cluster import Cluster

    made = _made(request)

    def make(config: ClusterConfig | int | None = None, objects: Iterable[Object] = (), *, seed: int = 0) -> Cluster:
        cluster = Cluster(config, objects, seed=seed)
        made.append(cluster)
        return cluster

    return make


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, None]:
    """Add the walk of the failed test's labs and clusters to its report."""
    outcome = yield
    report = outcome.get_result()
    if report.when == "call" and report.failed:
        for each in item.stash.get(_MADE, []):
            text = walked(each)
            if text:
                report.sections.append(("emu: the walk", text))


def walked(bench: Any) -> str:
    """The captured frames, hop by hop with their decisions; the last `MAX_LINES` lines."""
    from emu.report.walk import walk

    lines = walk(bench.capture.frames()).text.splitlines() if bench.capture is not None else []
    if len(lines) > MAX_LINES:
        lines = [f"... {len(lines) - MAX_LINES} lines before", *lines[-MAX_LINES:]]
    return "\n".join(lines)
