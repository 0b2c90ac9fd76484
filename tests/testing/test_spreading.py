"""A property's examples over processes and Dask: the failures of one process, in the order of their seeds."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.stateful import rule

from emu.errors import InputError
from emu.testing.explained import CHOICE
from emu.testing.machine import ClusterMachine
from emu.testing.spreading import PART, SEED, Part, parts_of, spread_examples
from emu.testing.strategies import ClusterShape, WorkloadShape
from local_dask import scheduler

SEEN: list[int] = []
ROOT = Path(__file__).parents[2]


@given(st.integers(0, 1 << 32))
def holds(number: int) -> None:
    SEEN.append(number)


@given(st.integers(1, (1 << 32) - 1))
def fails_at_times(number: int) -> None:
    print("what a property prints", number)
    assert number * 2654435761 % (1 << 32) >= 1 << 23


@given(st.integers(0, 1 << 32))
def fails_always(number: int) -> None:
    raise ValueError(number)


@example(7)
@given(st.integers(100, 200))
def fails_at_what_it_states(number: int) -> None:
    assert number != 7


class Several:
    @given(number=st.integers(0, 1 << 20))
    def below(self, most: int, number: int) -> None:
        assert number < most


class Falling(ClusterMachine):
    shapes = st.just(ClusterShape((WorkloadShape((1,)),), (), ()))
    names = ("one_outcome",)

    @rule(number=st.integers(0, 1 << 16))
    def grow(self, number: int) -> None:
        assert number < 5000


def failure(test: Callable[..., None], count: int, **how: object) -> str:
    """How a property fails, as text; "" where it holds."""
    try:
        spread_examples(test, count, **how)  # type: ignore[arg-type]
    except Exception as error:
        return re.sub(
            " at 0x[0-9a-f]+",
            "",
            "\n".join(
                [type(error).__name__, str(error) * isinstance(error, InputError), *getattr(error, "__notes__", ())]
            ),
        )
    return ""


PROPERTIES: dict[str, tuple[Callable[..., None], int, dict[str, object]]] = {
    "holds": (holds, 250, {}),
    "fails in some parts": (fails_at_times, 1500, {}),
    "fails in all": (fails_always, 2000, {}),
    "states an example": (fails_at_what_it_states, 300, {}),
    "a method with an argument": (Several().below, 200, {"arguments": {"most": 9000}}),
    "a state machine": (Falling.TestCase().runTest, 15, {}),
}


@cache
def alone(name: str) -> str:
    """How one process fails."""
    test, count, how = PROPERTIES[name]
    return failure(test, count, jobs=1, **how)


@pytest.fixture(scope="module")
def workers() -> Iterator[str]:
    with scheduler() as address:
        yield address


def test_a_part_has_a_seed() -> None:
    assert parts_of(0) == []
    assert parts_of(PART) == [Part(0, PART, True)]
    assert parts_of(2 * PART + 1, 7) == [Part(7, PART, True), Part(8, PART, False), Part(9, 1, False)]


@pytest.mark.parametrize("name", PROPERTIES)
def test_processes_fail_as_one_does(name: str) -> None:
    test, count, how = PROPERTIES[name]
    assert [failure(test, count, jobs=jobs, **how) for jobs in (2, 3)] == [alone(name), alone(name)]
    assert (alone(name) == "") is (name == "holds")


@pytest.mark.slow
def test_dask_fails_as_one_process_does(workers: str) -> None:
    for name, (test, count, how) in PROPERTIES.items():
        assert failure(test, count, dask=workers, **how) == alone(name)


def test_failures_come_in_the_order_of_their_seeds_and_the_smallest_is_raised() -> None:
    test, count, _ = PROPERTIES["fails in some parts"]
    found = failure(test, count, jobs=2, seed=40, again=lambda part: f"run {part.seed} {part.examples}")
    seeds = [*map(int, re.findall(r"^seed (\d+):", found, re.M))]
    assert 2 <= len(seeds) < 15 and seeds == sorted(seeds)
    smallest, *of_seeds = map(int, re.findall(r"number=([\d_]+)", found.replace("_", "")))
    assert len(set(of_seeds)) > 1 and smallest == min(of_seeds)
    assert f"{len(seeds)} of 15 parts fail" in found
    assert found.endswith(f"again: run {seeds[of_seeds.index(smallest)]} {PART}")


def test_after_ten_parts_that_fail_no_more_are_run() -> None:
    assert "10 of 10 parts (of 20) fail" in failure(fails_always, 2000, jobs=2)


def test_each_seed_draws_other_examples_and_the_same_ones_again() -> None:
    drawn = []
    for _ in range(2):
        SEEN.clear()
        spread_examples(holds, 2 * PART, jobs=1)
        drawn.append([*SEEN])
    assert drawn[0] == drawn[1] and len(drawn[0]) == 2 * PART
    assert drawn[0][:PART] != drawn[0][PART:]


def test_the_test_is_left_as_it_was() -> None:
    before = {key: vars(fails_at_times).get(key) for key in (SEED, CHOICE)}
    failure(fails_at_times, 500, jobs=1)
    assert {key: vars(fails_at_times).get(key) for key in (SEED, CHOICE)} == before


def test_what_is_no_property_is_refused() -> None:
    with pytest.raises(InputError, match="is no property"):
        spread_examples(test_a_part_has_a_seed)


def test_a_property_in_a_function_is_not_sent() -> None:
    @given(st.integers())
    def inner(number: int) -> None: ...

    spread_examples(inner, 2, jobs=1)
    with pytest.raises(InputError, match="cannot be sent"):
        spread_examples(inner, 2, dask="tcp://127.0.0.1:1")


# -- the plugin ---------------------------------------------------------------------------------------------

MODULE = """
import pytest
from hypothesis import given
from emu.testing import invariants, strategies
from emu.testing.strategies import ClusterShape, FlowShape, WorkloadShape, examples, ports

@pytest.mark.parametrize("most", [30, 70000])
@examples(3)
@given(port=ports())
def test_ports(most, port):
    assert port < most

@examples(1)
@given(strategies.clusters(max_nodes=1, max_workloads=1, max_services=1, max_flows=1, networks=("bridge",)))
def test_no_flow_is_lost(shape):
    cluster = shape.build()
    shape.run(cluster)
    assert all(flow.delivered for flow in cluster.flows.values())
"""


def pytest_over(folder: Path, *words: str) -> str:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "emu.testing.plugin", "-p", "no:cacheprovider", *words]
    done = subprocess.run(
        command, cwd=folder, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    return done.stdout


@pytest.mark.slow
def test_the_plugin_s_option_runs_properties_over_processes(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(MODULE)
    alone, found = (pytest_over(tmp_path, "--emu-examples", "210", "--emu-jobs", jobs) for jobs in ("1", "2"))
    assert "2 failed, 1 passed" in found, found
    assert "3 of 3 parts fail" in found and "all.pcapng" in found and "emu: the walk" in found
    other = re.compile(r" in [\d.]+s| at 0x[0-9a-f]+")
    assert other.sub("", found) == other.sub("", alone)
    commands = [*dict.fromkeys(re.findall(r"again: python -m pytest (.*)", found))]
    assert len(commands) == 2
    for command in commands:
        again = pytest_over(tmp_path, *shlex.split(command))
        assert "1 failed" in again
        (case,) = re.findall(r"Failing test case: (?:.|\n)*?\)\n", again)[:1]
        assert case in found
