"""The gallery's mistakes: each has a flow that fails and states what to look at, and its cure delivers that very flow."""

from __future__ import annotations

from functools import cache

import pytest

from emu.clock import SECOND
from emu.kube.flow.flow import Flow
from emu.scenario.gallery import stories, story
from emu.scenario.run import run
from emu.scenario.script import load

MISTAKES = sorted(name for name, path in stories().items() if load(path).spec.metadata.mistake is not None)


@cache
def flows(name: str) -> tuple[Flow, ...]:
    return tuple(each.flow for each in run(story(name)).flows)


def well(flow: Flow) -> bool:
    """It arrived, and no look-up waited for an answer that did not come (RES_TIMEOUT of resolv.h: 5 s)."""
    return flow.outcome.word == "delivered" and flow.ended_ns - flow.started_ns < 5 * SECOND


def ends(flow: Flow) -> tuple[str, str]:
    """Who asked whom, in the scenario's words."""
    return flow.source, flow.target.name


def test_there_are_mistakes_and_lessons() -> None:
    assert 3 <= len(MISTAKES) < len(stories()) - 3


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_states_what_is_seen_why_and_where_to_look(name: str) -> None:
    about = load(story(name)).spec.metadata
    assert about.mistake is not None
    stated = about.mistake
    assert min(map(len, (stated.seen, stated.cause, stated.find, stated.cure))) > 25
    assert "`" in stated.find  # a command
    assert about.look
    assert not stated.cured_in or stated.cured_in in stories()


@pytest.mark.parametrize("name", MISTAKES)
def test_the_cure_delivers_what_the_mistake_lost(name: str) -> None:
    stated = load(story(name)).spec.metadata.mistake
    assert stated is not None
    failed = [flow for flow in flows(name) if not well(flow) and flow.kind != "send"]
    assert failed
    if stated.cured_in:
        assert all(map(well, flows(stated.cured_in)))
        assert {ends(flow) for flow in failed} <= {ends(flow) for flow in flows(stated.cured_in)}
    else:
        # the last one between two ends counts; a frame made by hand may be the mistake
        last = {ends(flow): well(flow) for flow in flows(name) if flow.kind != "send"}
        assert all(last.values())
