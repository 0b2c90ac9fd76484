"""Some of a scenario's steps: those that are asked for, and those that bring the cluster to where they begin. Must not know a run."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from emu.errors import InputError
from emu.modelled import nearest
from emu.scenario.script import Scenario
from emu.scenario.steps import actions
from emu.scenario.steps.more import More


def chosen(scenario: Scenario, words: Iterable[str]) -> frozenset[int]:
    """The steps (from 0) that words mean: numbers from 1, names, patterns of names or kinds of steps. Added are the steps before the
    last of these that send nothing and expect nothing, and those whose connections go on. Raises InputError for a word without a step."""
    steps = scenario.steps
    wanted: set[int] = set()
    for word in words:
        found = {
            number
            for number, step in enumerate(steps)
            if word == str(number + 1) or fnmatchcase(step.name, word) or step.action == word
        }
        if not found:
            names = [step.name for step in steps if step.name]
            near = nearest(word, names)
            expected = f'"{near}"?' if near else f"a number from 1 to {len(steps)}, or a step's name"
            raise InputError(f'no step is called "{word}"', file=scenario.file, expected=expected)
        wanted |= found
    last = max(wanted, default=-1)
    for number in range(last, -1, -1):
        step = steps[number]
        action = actions[step.action]()
        if number < last and not action.sends and not action.expects(step.part):
            wanted.add(number)
        if number in wanted and isinstance(step.part, More):
            of = step.part.of
            wanted |= {max(earlier for earlier in range(number) if steps[earlier].name == of)}
    return frozenset(wanted)
