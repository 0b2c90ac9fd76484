"""Every story's page in a browser, walked by the keyboard from its first to its last step: what it shows is what emu states."""

from __future__ import annotations

from pathlib import Path

import pytest

from browser import Browser
from emu.report.html.page import render
from emu.scenario.gallery import stories
from page_gallery import page_of, ran

NAMES = sorted(stories())
RIGHT, HOME = "\ue014", "\ue011"
# after the page's own listener: what stands on it now. Odd text in a drawing is an error of the script.
WATCH = """
window.shown = [];
const look = () => {
  const odd = /NaN|undefined|\\[object|null/.exec($("#token").outerHTML + $("#trail").outerHTML + $("#lanes").innerHTML + $("#knob").outerHTML);
  window.shown.push([$("#at").textContent, $(".where").textContent, $(".sentence").textContent, $(".comment pre").textContent, odd ? odd[0] : ""]);
};
addEventListener("keydown", look);
"""


@pytest.mark.parametrize("name", NAMES)
def test_each_step_of_a_story_states_what_its_comment_states(browser: Browser, tmp_path: Path, name: str) -> None:
    page = tmp_path / f"{name}.html"
    page.write_text(render(page_of(name), name), encoding="utf-8")
    run = ran(name)
    assert run.cluster.capture is not None
    browser.open(page, "flow=1&step=1")
    browser.run(WATCH)
    for place, each in enumerate(run.flows):
        frames = run.cluster.capture.frames(flow=each.flow.number)
        browser.run("open(arguments[0]); window.shown = [];", place)
        assert browser.text("#of") == str(len(frames))
        if not frames:
            assert each.flow.outcome.word in browser.text("#detail")
            continue
        browser.keys(HOME)
        browser.press(RIGHT, len(frames) - 1)
        shown = browser.run("return window.shown")
        expected = [
            [str(hop), frame.interface, frame.comment().partition("\n")[0], frame.comment(), ""]
            for hop, frame in enumerate(frames, 1)
        ]
        assert shown == expected, each.flow
        assert browser.run("return document.documentElement.scrollWidth") == 1440
        assert browser.run("return $('#stage').scrollWidth <= $('#stage').clientWidth"), f"{name}: sideways"
        ladder = browser.run(
            "setMode('hops'); const svg = $('#ladder>svg').innerHTML; setMode('packets'); return svg + $('#ladder>svg').innerHTML"
        )
        assert "NaN" not in ladder and "undefined" not in ladder
    assert browser.logs() == []
