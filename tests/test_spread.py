"""`spread` gives results in the order of the items, whatever runs them, and makes what the work needs once where it runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextvars import copy_context
from functools import partial
from threading import Event

import pytest

import local_dask
from emu.errors import InputError
from emu.spread import _begin, _here, cpus, spread


def made(base: int) -> list[int]:
    return [base]


def work(state: list[int], item: int) -> tuple[int, int]:
    state.append(item)
    return state[0] + item * item, os.getpid()


def fails(state: list[int], item: int) -> int:
    if item == 3:
        raise InputError(f"item {item} is wrong")
    return item


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """A Dask cluster of two processes on this machine."""
    with local_dask.scheduler(threads=2) as address:
        yield address


@pytest.mark.parametrize("jobs", [1, 2, 3])
def test_results_come_in_the_order_of_items(jobs: int) -> None:
    found = [*spread(partial(made, 7), work, range(40), jobs=jobs)]
    assert [value for value, _ in found] == [7 + each * each for each in range(40)]
    assert ({process for _, process in found} == {os.getpid()}) is (jobs == 1)


@pytest.mark.slow
def test_a_dask_cluster_gives_the_same(scheduler: str) -> None:
    found = [*spread(partial(made, 7), work, range(40), dask=scheduler)]
    assert [value for value, _ in found] == [7 + each * each for each in range(40)]
    assert len({process for _, process in found} - {os.getpid()}) == 2


@pytest.mark.slow
def test_an_error_of_the_work_is_the_caller_s_on_dask(scheduler: str) -> None:
    with pytest.raises(InputError, match="item 3 is wrong"):
        [*spread(partial(made, 0), fails, range(9), dask=scheduler)]


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_error_of_the_work_is_the_caller_s(jobs: int) -> None:
    with pytest.raises(InputError, match="item 3 is wrong"):
        [*spread(partial(made, 0), fails, range(9), jobs=jobs)]


def test_what_is_made_already_is_not_made_again() -> None:
    def never() -> list[int]:
        raise AssertionError

    assert [value for value, _ in spread(never, work, range(3), jobs=1, made=[1])] == [1, 2, 5]


def test_nothing_to_do_makes_nothing() -> None:
    def never() -> list[int]:
        raise AssertionError

    assert [*spread(never, work, [])] == []


def test_work_that_is_given_up_ends_at_the_next_item() -> None:
    end = Event()

    def until_two(state: list[int], item: int) -> int:
        if item == 2:
            end.set()
        return item

    def piece() -> list[int]:
        _begin(partial(made, 0), end)
        return _here(until_two, range(9))

    assert copy_context().run(piece) == [0, 1, 2]


def test_progress_is_reported_for_each_result() -> None:
    counts: list[int] = []
    assert len([*spread(partial(made, 0), work, range(5), jobs=2, done=counts.append)]) == 5
    assert counts == [1, 2, 3, 4, 5]


def test_a_scheduler_that_is_not_there_is_one_message() -> None:
    pytest.importorskip("distributed", reason=local_dask.MISSING)
    with pytest.raises(InputError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:1"):
        [*spread(partial(made, 0), work, range(2), dask="tcp://127.0.0.1:1")]


def test_all_processors_are_used_by_default() -> None:
    assert cpus() >= 1
