"""The page's controls in a browser: keys, hash, scrubber, play, find, chips, panes, bytes, the table of flows."""

from __future__ import annotations

from pathlib import Path

import pytest

from browser import Browser
from emu.report.html.page import of, render
from emu.report.html.scene import of_run
from emu.scenario.gallery import story
from emu.scenario.run import run
from page_gallery import page_of

RIGHT, LEFT, UP, DOWN, HOME, END = "\ue014", "\ue012", "\ue013", "\ue015", "\ue011", "\ue010"
TAB, ENTER, ESCAPE, SPACE = "\ue004", "\ue007", "\ue00c", " "
REFUSED = """\
apiVersion: emu/v1
kind: Scenario
metadata: {name: wrong-port}
steps:
- name: the right port
  tcp: {from: default/a, to: "default/b:80"}
  expect: {outcome: delivered}
- name: the wrong port
  tcp: {from: default/a, to: "default/b:81"}
  expect: {outcome: OUTCOME}
---
apiVersion: v1
kind: Pod
metadata: {name: a}
spec: {nodeName: node-1, containers: [{name: app}]}
---
apiVersion: v1
kind: Pod
metadata: {name: b}
spec: {nodeName: node-2, containers: [{name: app, ports: [{containerPort: 80}]}]}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pages")


@pytest.fixture(scope="module")
def service(folder: Path) -> Path:
    path = folder / "pod-to-service.html"
    path.write_text(render(page_of("pod-to-service"), "pod-to-service"), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def written(folder: Path) -> Path:
    """A page of a run whose captures were written, too."""
    path = folder / "written.html"
    path.write_text(of([of_run(run(story("pod-to-service"), folder / "captures", record=True))]), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def several(folder: Path) -> Path:
    """A page of five flows, of which two are dropped, as their steps expect."""
    path = folder / "several.html"
    path.write_text(render(page_of("pods-do-not-leave-their-node"), "several"), encoding="utf-8")
    return path


def at(browser: Browser) -> int:
    return int(browser.text("#at"))


def wait_for_hash(browser: Browser, text: str) -> None:
    browser.wait(f"location.hash === {text!r}")


def test_keys_walk_through_steps_packets_and_decisions(browser: Browser, service: Path) -> None:
    browser.open(service, "flow=1&step=12")
    assert at(browser) == 12
    for key, place in ((RIGHT, 13), (LEFT, 12), (HOME, 1), (END, 120), (RIGHT, 120)):
        browser.keys(key)
        assert at(browser) == place
    browser.keys(HOME, DOWN)
    assert at(browser) == 4, "the second packet, the ARP reply"
    browser.keys(DOWN, UP)
    assert at(browser) == 4
    browser.keys(HOME, "4")
    assert at(browser) == 9, "chapter 4 is the DNAT"
    browser.keys("n")
    assert at(browser) == 10 and "asked" in browser.run("return M.steps[9].trail.map(e => e.k)"), "the ARP request"
    browser.keys("p")
    assert at(browser) == 9


def test_jumps_go_to_the_next_nat_and_drop(browser: Browser, service: Path, several: Path) -> None:
    browser.open(service, "flow=1&step=1")
    browser.keys("a")
    assert at(browser) == 9
    browser.keys("a")
    assert at(browser) == 38, "un-DNAT of the reply"
    assert browser.run("return $('[data-a=drop]').disabled"), "nothing is dropped here"
    browser.open(several, "flow=2&step=1")
    browser.click("[data-a=drop]")
    assert browser.run("return M.steps[S.step].kind") == "drop"


def test_the_hash_is_read_and_written(browser: Browser, several: Path) -> None:
    browser.open(several, "flow=2&step=5")
    assert (at(browser), browser.run("return S.flow")) == (5, 1)
    browser.keys(RIGHT)
    wait_for_hash(browser, "#flow=2&step=6")
    browser.keys("s")
    wait_for_hash(browser, "#flow=2&step=6&pane=tables")
    browser.run("location.hash = '#flow=4&step=3'")
    browser.wait("S.flow === 3 && S.step === 2")
    browser.run("location.hash = '#step=9'")
    browser.wait("S.flow === 3 && S.step === 8")
    browser.run("history.back()")
    browser.wait("S.step === 2")
    browser.open(several, "flow=1&step=4&pane=frame&rows=hops&find=cbr0")
    assert browser.run("return [S.pane, S.mode, S.q]") == ["frame", "hops", "cbr0"]
    assert browser.text("#found").endswith("hops")
    browser.open(several, "flow=99&step=9999")
    assert browser.run("return S.flow") == 4 and at(browser) == int(browser.text("#of"))


def test_the_scrubber_takes_mouse_and_arrows(browser: Browser, service: Path) -> None:
    from selenium.webdriver import ActionChains

    browser.open(service, "flow=1&step=1")
    scrub = browser.driver.find_element("css selector", "#scrub")
    ActionChains(browser.driver, duration=0).move_to_element_with_offset(scrub, 0, 8).click().perform()
    middle = at(browser)
    assert 30 < middle < 90
    browser.run("$('#scrub').focus()")
    browser.keys(RIGHT)
    assert at(browser) == middle + 1
    assert f"hop {middle + 1} of 120, " in str(scrub.get_attribute("aria-valuetext"))
    browser.click("#scrub .chp[data-k='8'] text")
    assert at(browser) == 9


def test_play_moves_and_stops(browser: Browser, service: Path) -> None:
    browser.open(service, "flow=1&step=1")
    browser.run("$('#speed').value = 160")
    browser.keys(SPACE)
    browser.wait("S.step > 3")
    browser.keys(SPACE)
    stopped = at(browser)
    assert browser.run("return S.play") is False
    browser.keys(LEFT)
    assert at(browser) == stopped - 1
    browser.run("go(M.steps.length - 2)")
    browser.keys(SPACE)
    browser.wait("!S.play")
    assert at(browser) == 120, "it stops at the end"


def test_find_counts_and_goes_to_the_next_hit(browser: Browser, service: Path) -> None:
    browser.open(service, "flow=1&step=1")
    browser.keys("/", *"10.96.0.10", ENTER)
    hits = browser.run("return M.steps.filter(fits).length")
    assert browser.text("#found") == f"{hits} hops" and 0 < hits < 120
    first = at(browser)
    assert "10.96.0.10" in browser.run("return hay(M.steps[S.step])")
    browser.keys(ENTER)
    assert at(browser) > first
    assert browser.count("#ladder .row.dim") > 0
    browser.keys(ESCAPE)
    assert browser.text("#found") == "" and browser.count("#ladder .row.dim") == 0
    browser.keys("/", *"no such thing", ENTER)
    assert browser.text("#found") == "0 hops" and at(browser) > first


def test_chips_filter_rows_and_fold_arp(browser: Browser, service: Path) -> None:
    browser.open(service, "flow=1&step=9")
    rows = browser.count("#ladder .row")
    browser.click("#chips [data-k=arp]")
    assert browser.count("#ladder .row .k-arp") == 0, "ARP is folded into the packet that waits for it"
    assert "ARP" in browser.text("#ladder .row.cur")
    browser.click("#chips [data-k=arp]")
    assert browser.count("#ladder .row") == rows
    browser.click("#chips [data-k=nat]")
    assert browser.run("return $('#chips [data-k=nat]').getAttribute('aria-pressed')") == "false"
    browser.click("#mode [data-m=hops]")
    assert browser.run("return RS.every(r => r.first.kind !== 'nat')") and browser.run("return RS.length") > 60


def test_panes_keep_while_one_steps_and_tabs_take_arrows(browser: Browser, service: Path) -> None:
    browser.open(service, "flow=1&step=9")
    browser.keys("d")
    browser.keys(RIGHT, RIGHT)
    assert browser.run("return S.pane") == "frame" and at(browser) == 11
    browser.run("$('#pane-frame').focus()")
    browser.keys(RIGHT)
    assert browser.run("return [S.pane, document.activeElement.id]") == ["tables", "pane-tables"] and at(browser) == 11
    browser.keys(HOME)
    assert browser.run("return S.pane") == "why"


def test_rows_of_the_ladder_take_focus_and_enter(browser: Browser, service: Path) -> None:
    browser.open(service, "flow=1&step=1")
    assert browser.run("return $$('#ladder .row').filter(row => row.tabIndex === 0).length") == 1
    browser.run("$('#ladder .row.cur').focus()")
    browser.keys(DOWN, DOWN)
    assert browser.run("return document.activeElement === $('#ladder .row.cur')") and at(browser) == 7
    browser.run("$$('#ladder .row')[4].focus()")
    browser.keys(ENTER)
    assert at(browser) == browser.run("return M.packets[4].steps[0].k + 1")
    browser.run(
        "document.querySelector('#ladder .dot[data-k=\"8\"]').dispatchEvent(new MouseEvent('click', {bubbles: true}))"
    )
    assert at(browser) == 9


def test_a_field_marks_its_bytes_and_a_byte_its_field(browser: Browser, service: Path) -> None:
    browser.open(service, "flow=1&step=9&pane=frame")
    field = browser.run("return $$('.fn').findIndex(f => f.textContent === 'destination')")
    browser.run("$$('.fn')[arguments[0]].focus()", field)
    assert browser.run("return $$('.hex .on').map(b => b.textContent)") == ["0a", "f4", "02", "02"]
    assert "bytes 30 to 33" in browser.text("#byte-at")
    assert browser.run("return $$('.field.ch .fn').map(f => f.textContent)") == [
        "destination",
        "checksum",
        "dest. port",
        "checksum",
    ]
    assert browser.run("return $('.field.on ins').textContent") == "10.244.2.2"
    browser.click(".hex [data-at='22']")
    assert browser.text(".field.on .fn") == "TTL"
    browser.run("$('.hex').focus(); byteAt = 22")
    browser.keys(RIGHT)
    assert browser.text(".field.on .fn") == "protocol" and at(browser) == 9


def test_the_chosen_route_stands_over_those_it_beat(browser: Browser, service: Path) -> None:
    browser.open(service, "flow=1&step=28")
    assert browser.text(".plain .won").startswith("10.244.2.0/24 dev cbr0")
    assert browser.run("return $$('.plain .lost').map(e => e.firstChild.textContent.trim())") == [
        "default via 192.168.52.1 dev eth0"
    ]


def test_tables_show_what_changed_since_the_step_before_there(browser: Browser, service: Path) -> None:
    browser.open(service, "flow=1&step=38&pane=tables")
    assert browser.run("return $('[data-tab=ct]').getAttribute('aria-selected')") == "true", "the step is about NAT"
    browser.open(service, "flow=1&step=14&pane=tables")
    assert browser.run("return $$('#table .new').map(e => e.textContent)")[0].startswith("192.168.51.1 dev eth0 lladdr")
    assert browser.run("return $$('#table .gone').map(e => e.textContent)") == ["192.168.51.1 dev eth0 INCOMPLETE"]
    counted = browser.run("return M.steps.flatMap(s => s.trail.filter(e => e.k === 'rule').map(e => e.pkts))")
    assert counted and all(isinstance(each, int) and each > 0 for each in counted), (
        "rules count what they matched so far"
    )


def test_a_frame_names_its_place_in_the_capture_file(browser: Browser, written: Path) -> None:
    browser.open(written, "flow=1&step=9")
    assert browser.text(".file") == "frame 9 of 01-the-client-asks-the-service.pcapng"


def test_a_rule_opens_its_place_in_the_listing(browser: Browser, service: Path) -> None:
    browser.open(service, "flow=1&step=9")
    spec = browser.run("return $$('.rule .tg').at(-1).textContent")
    assert "--to-destination 10.244.2.2:8080" in spec
    browser.run("$$('.rule button').at(-1).click()")
    assert browser.run("return [S.pane, S.tab]") == ["tables", "rules"]
    assert spec in browser.text("#detail li.linked")


def test_a_request_names_the_packet_that_it_is_for(browser: Browser, service: Path) -> None:
    browser.open(service, "flow=1&step=10")
    browser.click("[data-go]")
    assert at(browser) == 7 and browser.run("return M.steps[S.step].b.word") == "SYN"


def test_the_table_of_flows_opens_a_flow_where_it_died(browser: Browser, several: Path) -> None:
    browser.open(several)
    assert browser.count("dialog#flows[open]") == 1, "several flows, none failed"
    browser.keys(ESCAPE)
    assert browser.count("dialog#flows[open]") == 0
    browser.keys("f")
    assert browser.run("return $$('#flows tbody tr[data-n]').map(row => row.children[3].textContent)") == [
        "delivered", "droppedIP_INADDRERRORS", "droppedIP_INADDRERRORS", "delivered", "delivered",
    ]  # fmt: skip
    browser.click("#flows tr[data-n='1'] button")
    assert browser.run("return [S.flow, M.steps[S.step].kind, $('#alert').hidden]") == [1, "drop", True]
    assert "IP_INADDRERRORS" in browser.text(".fact")
    browser.keys("?")
    assert browser.count("dialog#keys[open]") == 1 and "emu" in browser.text("#made")


@pytest.mark.parametrize(("outcome", "opened"), [("delivered", (1, "drop")), ("refused", (0, "arp"))])
def test_a_failed_expectation_opens_at_the_drop_with_the_alert(
    browser: Browser, tmp_path: Path, outcome: str, opened: tuple[int, str]
) -> None:
    script, page = tmp_path / "s.yaml", tmp_path / "s.html"
    script.write_text(REFUSED.replace("OUTCOME", outcome))
    page.write_text(of([of_run(run(script))]), encoding="utf-8")
    browser.open(page)
    assert tuple(browser.run("return [S.flow, M.steps[S.step].kind]")) == opened
    failed = outcome == "delivered"
    assert browser.run("return $('#alert').hidden") is not failed
    if failed:
        assert "expectation failed" in browser.text("#alert") and browser.text("#expect") == "expected delivered"
        assert "refused" in browser.text("#outcome")
    assert browser.logs() == []
