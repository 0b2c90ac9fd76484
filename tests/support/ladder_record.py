"""Records the cases on this machine's kernel: `tools/golden case [NAME...]`, as root, on the kernel to be recorded."""

from __future__ import annotations

import platform
import sys

from ladder_cases import CASES, FOLDER
from ladder_compare import play
from ladder_kernel import KernelWorld
from ladder_lines import Step, write


def main(names: list[str]) -> None:
    FOLDER.mkdir(exist_ok=True)
    for name in names or CASES:
        case = CASES[name]
        world = KernelWorld(case.setup())
        try:
            played = play(world, case.steps, [case.tables()] * len(case.steps))
        finally:
            world.close()
        steps = []
        for step, done in zip(case.steps, played, strict=True):
            if done.failure is not None:
                raise done.failure
            steps.append(Step(step.title, done.frames, done.calls, done.tables))
        release = platform.release().split("-")[0]
        (FOLDER / f"{name}.txt").write_text(write(f"{name}, Linux {release}", steps))


if __name__ == "__main__":
    main(sys.argv[1:])
