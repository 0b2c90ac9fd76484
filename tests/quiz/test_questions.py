"""Questions about the gallery's runs: each has one right answer, which the frames themselves give."""

from __future__ import annotations

import pytest

from emu.quiz import MOST, Question
from emu.quiz.kinds import ANSWERED, BOTH, DESTINATION, DROPPED, FORWARDED, KINDS, NEITHER, SOURCE
from emu.report.html.document import asked
from emu.report.html.scene import of_run
from emu.scenario.gallery import stories
from emu.trail import Dropped
from emu.wire.summary import read
from page_gallery import page_of, ran

NAMES = sorted(stories())


def of_story(name: str) -> list[Question]:
    return page_of(name).runs[0].questions


@pytest.mark.parametrize("name", NAMES)
def test_every_answer_is_what_the_frames_have(name: str) -> None:
    """The answers are found anew here, from the bytes of the hidden frame and those around it."""
    run = ran(name)
    assert run.cluster.capture is not None
    for flow in run.flows:
        frames = run.cluster.capture.frames(flow=flow.flow.number)
        mine = [each for each in of_story(name) if each.flow == flow.flow.number]
        assert [each.hop for each in mine] == sorted({each.hop for each in mine}) and len(mine) <= MOST
        for question in mine:
            hidden = frames[question.hop - 1]
            before = next(
                (f for f in reversed(frames[: question.hop - 1]) if f.packet_number == hidden.packet_number), None
            )
            right = question.choices[question.answer]
            assert question.hop > 1 and len(set(question.choices)) == len(question.choices) >= 2
            assert hidden.comment().startswith(f"{question.why}\n")
            now = read(hidden.data)
            match question.kind:
                case "next-hop":
                    assert right == hidden.place.device_name
                case "verdict":
                    died = any(isinstance(each, Dropped) for each in hidden.trail)
                    answered = any(
                        each.cause == hidden.packet_number and each.data[12:14] == b"\x08\x00" for each in frames
                    )
                    assert right == ((ANSWERED if answered else DROPPED) if died else FORWARDED)
                case "rewrite":
                    assert before is not None
                    was = read(before.data)
                    changed = was.src != now.src, was.dst != now.dst
                    expected = {(True, True): BOTH, (True, False): SOURCE, (False, True): DESTINATION}
                    assert right == expected.get(changed, NEITHER)
                case "fields":
                    assert before is not None
                    was = read(before.data)
                    assert ("TTL" in right) == (was.ttl != now.ttl)
                    assert ("MAC" in right) == (before.data[:12] != hidden.data[:12])
                    assert ("IP address" in right) == ((was.src, was.dst) != (now.src, now.dst))
                case "endpoint":
                    assert right.endswith(f"port {now.dport}") and "it stays" not in right
                case "policy":
                    way, _, pod = right.removeprefix("those for ").split()
                    assert f"The {way} of {pod} forbids it" in question.why
                case "answer":
                    assert hidden.cause and ("reset" in right) == bool(now.proto == 6 and now.flags & 4)


def test_every_kind_is_asked_somewhere() -> None:
    assert {each.kind for name in NAMES for each in of_story(name)} == set(KINDS)


def test_most_stories_have_questions() -> None:
    silent = {name for name in NAMES if not of_story(name)}
    assert len(silent) < 4, silent


def test_the_seed_orders_the_choices_and_nothing_else() -> None:
    scene = of_run(ran("pod-to-service"))
    one, again, other = asked(scene, 0), asked(scene, 0), asked(scene, 7)
    assert one == again
    assert [each.ask for each in one] == [each.ask for each in other]
    assert [sorted(each.choices) for each in one] == [sorted(each.choices) for each in other]
    assert [each.choices for each in one] != [each.choices for each in other]
    assert [q.choices[q.answer] for q in one] == [q.choices[q.answer] for q in other]


def test_an_endpoint_is_one_of_several() -> None:
    question = next(each for each in of_story("pod-to-service") if each.kind == "endpoint")
    assert question.choices[question.answer] == "default/web (10.244.2.2) port 8080"
    assert "svc/web.default (10.96.0.10) port 80: it stays as it is" in question.choices
