"""The harness against this machine's kernel: if the same steps do not give the ladders here, the harness is wrong.

Only on the kernel line that was measured; another may differ for reasons of its own.
"""

from __future__ import annotations

import platform

import pytest

from ladder_compare import compare_calls, compare_frames, compare_tables, perform
from ladder_drive import SCENARIOS
from ladder_kernel import KernelWorld, missing
from ladder_lines import load
from ladder_setup import Setup

pytestmark = [
    pytest.mark.twin,
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing()), reason=missing() or "can"),
    pytest.mark.skipif(not platform.release().startswith("6.18."), reason="the ladders are of Linux 6.18"),
]


TRIES = 3  # other tests run beside, and a busy machine lets calls be late


@pytest.mark.parametrize("name", SCENARIOS)
def test_kernel(name: str) -> None:
    found = [different(name)]
    while found[-1] and len(found) < TRIES:
        found.append(different(name))
    if found[-1]:
        pytest.fail(f"{name}, {found[-1]}", pytrace=False)


def different(name: str) -> str:
    """What differs from the ladder first, empty if nothing does. Raises what a step raised that the ladder does not have."""
    measured = load(name)
    world = KernelWorld(Setup(name))
    try:
        steps = perform(world, measured)
    finally:
        world.close()
    for kernel, here in zip(measured, steps, strict=True):
        if here.failure is not None:
            raise here.failure
        for text in (
            compare_calls(kernel.calls, here.calls),
            compare_frames(kernel.frames, here.frames),
            compare_tables(kernel.tables, here.tables),
        ):
            if text:
                return f"{kernel.title}: {text}"
    return ""
