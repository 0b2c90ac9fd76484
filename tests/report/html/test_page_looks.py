"""How the page looks and what it keeps to, in a browser: no request, accessible, themes, widths, print, exports, odd names."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import msgspec
import pytest

from browser import PHONE, SMALL, WIDE, Browser, axe
from emu.report.html.model import Document, encode
from emu.report.html.page import render
from page_gallery import page_of

SERVICE = "pod-to-service"
EVIL = '</script><img src=x onerror="window.ran=1">'
ENTER, SPACE, RIGHT, TAB = "\ue007", " ", "\ue014", "\ue004"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pages") / f"{SERVICE}.html"
    path.write_text(render(page_of(SERVICE), SERVICE), encoding="utf-8")
    return path


@pytest.fixture
def wide(browser: Browser) -> Browser:
    browser.size(*WIDE)
    return browser


def test_a_page_requests_nothing_but_itself_and_logs_nothing(wide: Browser, service: Path) -> None:
    wide.requests()
    wide.open(service, "flow=1&step=1")
    wide.run("for (let k = 0; k < M.steps.length; k++) for (const pane in PANES) { S.pane = pane; go(k); }")
    wide.run(
        "setMode('hops'); showFlows(); $('#flows').close(); showHelp(); $('#keys').close(); setQuiz(true); setQuiz(false)"
    )
    for kind in ("ladder-svg", "map-png"):
        wide.run("EXPORTS[arguments[0]]('x')", kind)
        wide.download(f"x.{kind.replace('-', '.')}")
    asked = {each for each in wide.requests() if not each.startswith(("data:", "blob:", "about:"))}
    assert {each.partition("#")[0] for each in asked} == {service.as_uri()}
    assert wide.logs() == []


def test_scripts_of_others_and_the_network_are_shut_out(wide: Browser, service: Path) -> None:
    wide.open(service)
    wide.run("const i = new Image(); i.src = 'http://127.0.0.1:9/x.png'; fetch('http://127.0.0.1:9/').catch(() => {});")
    wide.wait("document.readyState === 'complete'")
    assert any("Content Security Policy" in each for each in wide.logs())


@pytest.mark.parametrize(("size", "theme"), [(WIDE, "light"), (WIDE, "dark"), (SMALL, "dark"), (PHONE, "light")])
def test_axe_finds_nothing(browser: Browser, service: Path, size: tuple[int, int], theme: str) -> None:
    judge = axe()
    if judge is None:
        pytest.skip("skipped: no axe-core (tools/test fetches it by npm)")
    browser.size(*size)
    browser.open(service, "flow=1&step=9")
    browser.run("theme(arguments[0])", theme)
    found = {}
    for pane in ("why", "frame", "tables"):
        browser.run("showPane(arguments[0])", pane)
        found[pane] = browser.violations(judge)
    browser.run("S.tab = 'rules'; showPane('tables')")
    found["rules"] = browser.violations(judge)
    browser.run(
        "showPane('frame'); markField(3); setMode('hops'); $('#q').value = 'zzz'; $('#q').oninput({target: $('#q')})"
    )
    found["marked"] = browser.violations(judge)
    browser.run("$('#q').value = ''; $('#q').oninput({target: $('#q')}); setMode('packets'); openMenu(true)")
    found["menu"] = browser.violations(judge)
    browser.run("openMenu(false); showFlows()")
    found["flows"] = browser.violations(judge)
    browser.run("$('#flows').close(); showHelp()")
    found["keys"] = browser.violations(judge)
    browser.run("$('#keys').close(); setQuiz(true); act('last')")
    found["question"] = browser.violations(judge)
    browser.run("$('#question input').checked = true; $('#question form').requestSubmit()")
    found["answer"] = browser.violations(judge)
    browser.size(*WIDE)
    assert {where: each for where, each in found.items() if each} == {}


@pytest.mark.parametrize("size", [(1024, 768), (1280, 800), (1440, 900), (1920, 1080), (2560, 1440)])
def test_the_first_screen_shows_verdict_map_ladder_and_cause(
    browser: Browser, service: Path, size: tuple[int, int]
) -> None:
    browser.size(*size)
    browser.open(service, "flow=1&step=9")
    assert browser.run("return [document.documentElement.scrollWidth, document.documentElement.scrollHeight]") == list(
        size
    )
    inside = "const r = $(arguments[0]).getBoundingClientRect(); return r.width > 0 && r.left >= 0 && r.right <= innerWidth + .5 && r.bottom <= innerHeight"
    for selector in (
        "#outcome",
        "#map",
        "#token",
        "#ladder .row.cur",
        ".sentence",
        "#cring",
        "#scrub",
        "[data-a=play]",
    ):
        assert browser.run(inside, selector), selector
    assert browser.run("const r = $('.fact').getBoundingClientRect(); return r.top < innerHeight - 120"), (
        "the cause begins in sight"
    )
    assert browser.run("return $('#stage').scrollWidth <= $('#stage').clientWidth")
    token, ring = (
        browser.run("const r = $(arguments[0]).getBoundingClientRect(); return r.left + r.width / 2", each)
        for each in ("#token", "#cring")
    )
    assert abs(token - ring) < 1, "the token stands over its mark in the ladder"
    browser.size(*WIDE)


def test_a_phone_reads_down_with_the_transport_in_sight(browser: Browser, service: Path) -> None:
    browser.size(*PHONE)
    browser.open(service, "flow=1&step=20")
    assert browser.run("return document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    for where in (0, 10_000):
        browser.run("scrollTo(0, arguments[0])", where)
        bottom = browser.run("return [$('footer').getBoundingClientRect().bottom, innerHeight]")
        assert abs(bottom[0] - bottom[1]) < 3
    browser.run("scrollTo(0, 0)")
    token = browser.run("const r = $('#token').getBoundingClientRect(); return r.left + r.width / 2")
    assert 0 < token < PHONE[0], "the map is moved so that the token is in sight"
    tops = browser.run("return ['#map', '#detail', '#ladder'].map(each => $(each).getBoundingClientRect().top)")
    assert tops == sorted(tops)
    browser.size(*WIDE)


def test_the_theme_follows_the_system_and_the_button(wide: Browser, service: Path) -> None:
    for scheme in ("dark", "light"):
        wide.cdp("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        wide.open(service)
        wide.run("localStorage.removeItem('emu-theme'); start()")
        assert wide.run("return document.documentElement.dataset.theme") == scheme
    wide.keys("t")
    assert wide.run("return document.documentElement.dataset.theme") == "dark"
    wide.cdp("Emulation.setEmulatedMedia", features=[])
    wide.run("localStorage.removeItem('emu-theme')")


def test_the_token_moves_only_where_motion_is_welcome(wide: Browser, service: Path) -> None:
    transform = "return $('#token').getAttribute('transform')"
    wide.open(service, "flow=1&step=7")
    end = wide.run("go(7); " + transform)
    assert end == wide.run("return `translate(${mapX(M.steps[7])},${mapY(M.steps[7])})`"), (
        "reduced motion: it stands at once"
    )
    wide.cdp("Emulation.setEmulatedMedia", features=[{"name": "prefers-reduced-motion", "value": "no-preference"}])
    assert wide.run("go(6); lastDrawn = M.steps[6]; go(7); " + transform) != end
    wide.wait(f"$('#token').getAttribute('transform') === {end!r}")
    wide.cdp("Emulation.setEmulatedMedia", features=[])


def test_the_live_region_speaks_each_step_and_is_silent_while_playing(wide: Browser, service: Path) -> None:
    wide.open(service, "flow=1&step=8")
    wide.keys(RIGHT)
    assert wide.text("#live") == f"node-1/cbr0 in. {wide.text('.sentence')}"
    before = wide.text("#live")
    wide.run("S.play = true; go(11)")
    assert wide.text("#live") == before
    assert wide.run("return $$('.dot,[data-if],.chp').every(each => each.querySelector('title').textContent)")


def test_exports_stand_alone(wide: Browser, service: Path) -> None:
    wide.open(service, "flow=1&step=9")
    name = f"{SERVICE}-1"
    for kind in ("ladder-svg", "map-svg"):
        wide.click("#ex")
        wide.click(f"[data-ex={kind}]")
        data = wide.download(f"{name}.{kind.replace('-', '.')}")
        tree = ET.fromstring(data)
        text = data.decode()
        assert tree.tag == "{http://www.w3.org/2000/svg}svg" and "var(" not in text and "NaN" not in text
        assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
        rows = [each for each in tree.iter() if each.get("data-row") is not None]
        assert len(rows) == (wide.run("return M.packets.length") if kind == "ladder-svg" else 0)
        assert "node-1" in text and "bridge cbr0" in text
        assert 'opacity=".25"' not in text
    for kind in ("ladder-png", "map-png"):
        wide.click("#ex")
        wide.click(f"[data-ex={kind}]")
        data = wide.download(f"{name}.{kind.replace('-', '.')}")
        assert data.startswith(b"\x89PNG\r\n") and len(data) > 10_000
        assert int.from_bytes(data[16:20]) == 2 * round(wide.run("return geo.width"))
    wide.click("#ex")
    wide.click("[data-ex=json]")
    assert json.loads(wide.download("emu.json")) == json.loads(encode(page_of(SERVICE)))
    assert at_first(wide), "an export changes nothing on the page"


def at_first(browser: Browser) -> bool:
    return browser.text("#at") == "9" and browser.run("return S.mode") == "packets"


def test_print_has_the_ladder_then_the_step(wide: Browser, service: Path) -> None:
    wide.open(service, "flow=1&step=9")
    pages = len(re.findall(rb"/Type\s*/Page\b", wide.pdf()))
    assert 2 <= pages <= 4
    assert wide.run("return $('#ladder').style.height") == "", "as before"


def test_without_scripts_the_ladder_is_text(wide: Browser, service: Path) -> None:
    with wide.without_scripts():
        wide.open(service)
        shown = wide.cdp("DOM.getDocument", depth=-1)
        assert "noscript" in str(shown).lower()
        node = wide.cdp("DOM.querySelector", nodeId=shown["root"]["nodeId"], selector="noscript pre")
        text = wide.cdp("DOM.getOuterHTML", nodeId=node["nodeId"])["outerHTML"]
        header = wide.cdp("DOM.querySelector", nodeId=shown["root"]["nodeId"], selector="header")
        hidden = wide.cdp("DOM.getOuterHTML", nodeId=header["nodeId"])
    assert hidden and "DNAT: kube-proxy" in text and "node-1/cbr0" in text and text.count("\n") > 100


def test_odd_names_are_text(wide: Browser, tmp_path: Path) -> None:
    """Names of pods, devices and rules come from manifests: none of them is markup or a script."""
    text = encode(page_of(SERVICE)).decode()
    odd = msgspec.json.encode(EVIL).decode()[1:-1]
    twice = msgspec.json.encode(odd).decode()[1:-1]  # within a trail entry, which is JSON in JSON
    words = re.sub(r'default/web(?=[^"]*\\")', lambda _match: f"default/{twice}", text)
    for name in ("default/web", "cbr0", "KUBE-SERVICES", "the client asks the Service"):
        words = re.sub(rf'(?<!\\"){re.escape(name)}(?![^"]*\\")', (name[:3] + odd).replace("\\", r"\\"), words)
    document = msgspec.json.decode(words, type=Document)
    page = tmp_path / "odd.html"
    page.write_text(render(document, EVIL), encoding="utf-8")
    wide.open(page, "flow=1&step=1")
    wide.run("for (let k = 0; k < M.steps.length; k++) for (const pane in PANES) { S.pane = pane; go(k, true); }")
    wide.run("setMode('hops'); setMode('packets'); showFlows(); $('#flows').close(); setQuiz(true); act('last')")
    assert wide.run("return [window.ran || 0, document.images.length, M.steps.length]") == [0, 0, 120]
    assert "onerror" in wide.run("return document.body.innerText"), "the names stand there as text"
    assert wide.logs() == []


def test_a_page_of_a_later_format_is_refused(wide: Browser, tmp_path: Path) -> None:
    page = tmp_path / "later.html"
    page.write_text(render(page_of(SERVICE), "later").replace('{"format":1', '{"format":2', 1), encoding="utf-8")
    wide.open(page)
    assert "format 2" in wide.text("#detail")
