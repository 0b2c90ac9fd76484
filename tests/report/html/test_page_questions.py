"""Question mode and two runs side by side, in a browser."""

from __future__ import annotations

from pathlib import Path

import pytest

from browser import Browser
from emu.report.html.document import document
from emu.report.html.page import of, render
from emu.report.html.scene import of_run
from emu.scenario.run import run
from emu.scenario.script import load_text
from page_gallery import page_of, ran

STORY = Path("emu/scenario/gallery/pod-to-service.yaml")
RULE = '- iptables: {node: node-2, rules: ["-I FORWARD -p tcp --sport 8080 -j DROP"]}\n'
RIGHT, DOWN, UP, ENTER, SPACE = "\ue014", "\ue015", "\ue013", "\ue007", " "


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pages") / "pod-to-service.html"
    path.write_text(render(page_of("pod-to-service"), "pod-to-service"), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pages") / "two.html"
    text = STORY.read_text(encoding="utf-8").replace("name: pod-to-service", "name: with-a-drop", 1)
    text = text.replace("\nsteps:\n", f"\nsteps:\n{RULE}", 1)
    other = of_run(run(load_text(text, folder=STORY.parent)))
    path.write_text(of([of_run(ran("pod-to-service")), other], compared=True), encoding="utf-8")
    return path


def test_what_lies_ahead_is_hidden_until_it_is_answered(browser: Browser, service: Path) -> None:
    questions = page_of("pod-to-service").runs[0].questions
    browser.open(service, "flow=1&step=60")
    browser.keys("q")
    assert browser.text("#at") == "1" and browser.count("#ladder .row") == 1
    assert browser.run("return getComputedStyle($('#nat')).display") == "none"
    first = questions[0]
    browser.press(RIGHT, first.hop + 3)
    assert browser.text("#at") == str(first.hop - 1), "it waits before the hidden step"
    assert first.ask in browser.text("#question legend")
    assert browser.run("return $$('#question label').map(each => each.textContent.trim())") == first.choices
    assert browser.run(
        "return M.steps.filter(s => $(`#ladder .dot[data-k='${s.k}']`)).every(s => s.k < arguments[0])", first.hop - 1
    )
    assert first.why not in browser.text("#side")


def test_answers_are_checked_and_counted(browser: Browser, service: Path) -> None:
    questions = page_of("pod-to-service").runs[0].questions
    browser.open(service)
    browser.click("#quiz")
    for number, question in enumerate(questions):
        browser.run("act('last')")
        assert browser.text("#at") == str(question.hop - 1)
        wrong = number % 3 == 1
        choice = (question.answer + wrong) % len(question.choices)
        browser.run(
            "$$('#question input')[arguments[0]].focus(); $$('#question input')[arguments[0]].checked = true", choice
        )
        browser.keys(ENTER)
        assert browser.text("#question [role=status]") == ("Not so." if wrong else "Right.")
        assert question.why in browser.text("#question")
        assert browser.text("#question .right").strip() == f"{question.choices[question.answer]} ✓"
        browser.keys(ENTER)
        assert browser.text("#at") == str(question.hop)
    missed = len(range(1, len(questions), 3))
    assert browser.text("#score") == f"{len(questions) - missed} of {len(questions)} right, 0 to come"
    browser.run("act('last')")
    assert browser.text("#at") == browser.text("#of")
    browser.keys("q")
    assert browser.text("#score") == "" and browser.run("return getComputedStyle($('#nat')).display") != "none"


def test_a_question_may_be_left_open_and_play_waits_for_it(browser: Browser, service: Path) -> None:
    first = page_of("pod-to-service").runs[0].questions[0]
    browser.open(service)
    browser.run("$('#speed').value = 160")
    browser.keys("q", SPACE)
    browser.wait("asked")
    assert browser.run("return S.play") is False and browser.text("#at") == str(first.hop - 1)
    browser.click("[data-skip]")
    assert browser.text("#question [role=status]") == "Not so." and browser.text("#score").startswith("0 of 1 right")


def test_a_page_without_questions_has_no_question_mode(browser: Browser, tmp_path: Path) -> None:
    plain = document([of_run(ran("pod-to-service"))])
    plain.runs[0].questions = []
    page = tmp_path / "plain.html"
    page.write_text(render(plain, "plain"), encoding="utf-8")
    browser.open(page)
    assert browser.run("return $('#quiz').hidden && $('#mode [data-m=compare]').hidden")
    browser.keys("v")
    assert browser.run("return S.mode") == "hops"
    browser.keys("v")
    assert browser.run("return S.mode") == "packets"
    assert browser.logs() == []


def test_two_runs_begin_at_the_first_difference(browser: Browser, two: Path) -> None:
    browser.open(two)
    pairs = browser.run("return compared().pairs")
    first = next(place for place, pair in enumerate(pairs) if not pair[2])
    assert browser.run("return S.mode") == "compare"
    assert browser.run("return +$('.pair.cur').dataset.pair") == first
    assert browser.run("return $('.pair.cur').classList.contains('differs')")
    assert f"{sum(not pair[2] for pair in pairs)} differ" in browser.text(".pairs")
    assert browser.run("return $$('.pairs .pill').map(e => e.textContent)") == ["delivered", "dropped"]
    assert browser.logs() == []


def test_keys_and_clicks_walk_through_the_differences(browser: Browser, two: Path) -> None:
    browser.open(two)
    differing = browser.run("return compared().pairs.flatMap((p, i) => p[2] ? [] : [i])")
    seen = []
    for _ in range(12):
        browser.keys(DOWN)
        seen.append(browser.run("return +$('.pair.cur').dataset.pair"))
    assert seen == differing[1:13]
    browser.keys(UP)
    assert browser.run("return +$('.pair.cur').dataset.pair") == differing[11]
    browser.run("$('#ladder').scrollTop = 0; drawLadder()")
    browser.run("$('.pair[data-pair=\"5\"] .cell:last-child').click()")
    assert browser.run("return [S.flow, S.step, S.mode]") == [1, 5, "compare"]
    browser.click("#mode [data-m=packets]")
    assert browser.count("#ladder .row") > 4 and browser.count(".pair") == 0
    assert browser.logs() == []
