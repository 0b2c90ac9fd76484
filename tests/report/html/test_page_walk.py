"""Every story's page in a browser, walked by the keyboard from its first to its last step: what it shows is what emu states."""

from __future__ import annotations

from pathlib import Path

import pytest

from browser import Browser
from emu.capture.captured import Captured
from emu.report.html.model import SNAP
from emu.report.html.page import render
from emu.scenario.gallery import stories
from emu.wire.addr import ip4_text
from emu.wire.captured import is_ipv4
from emu.wire.frame import TCP, UDP
from emu.wire.summary import read
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


BYTES = "return M.steps.map(s => Array.from(s.d, hex2).join(''))"
FIELDS = """
return M.steps.map(s => {
  const {src, dst, ttl, sport, dport} = s.b, ports = sport == null ? [] : [sport, dport];
  const first = layers(s.d, startOf(s))[0].name;
  return s.b.arp || u16(s.d, 12) !== 0x800 ? [s.b.word] : [first, src, dst, ttl, ...ports];
});
"""


def fields(frame: Captured) -> list[object]:
    """What the page's script reads of a frame, read by emu."""
    if not is_ipv4(frame.data):
        return ["ARP" if frame.data[12:14] == b"\x08\x06" else "frame"]
    seen = read(frame.data)
    ports = [seen.sport, seen.dport] if seen.proto in (TCP, UDP) and seen.has_ports else []
    first = "IPv4" if frame.place.kind == "ipip" else "Ethernet"
    return [first, ip4_text(seen.src), ip4_text(seen.dst), seen.ttl, *ports]


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
        assert browser.run(BYTES) == [frame.data[:SNAP].hex() for frame in frames]
        assert browser.run(FIELDS) == [fields(frame) for frame in frames]
        assert browser.run("return document.documentElement.scrollWidth") == 1440
        assert browser.run("return $('#stage').scrollWidth <= $('#stage').clientWidth"), f"{name}: sideways"
        ladder = browser.run(
            "setMode('hops'); const svg = $('#ladder>svg').innerHTML; setMode('packets'); return svg + $('#ladder>svg').innerHTML"
        )
        assert "NaN" not in ladder and "undefined" not in ladder
    assert browser.logs() == []
