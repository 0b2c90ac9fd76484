"""`emu why --html`: the page has the verdict, and opens at the frame that decides."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from browser import Browser
from emu.cli import main
from exports import Shape, export

# What is asked, and what the frame is that the page opens at: its direction, and a word of its line
STEPS = {
    "svc/cart.shop:80": ("drop", "shop/cart:http has no endpoints"),
    "svc/wrongport.shop:80": ("drop", "NO_SOCKET"),
    "svc/stale.shop:80": ("drop", "no host answers ARP"),
    "svc/web.shop:80": ("in", "DNAT"),
    "wbe.shop:80": ("in", ""),
}


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dump") / "dump.json"
    path.write_text(json.dumps(export(Shape("kubeadm", 4)), indent=1), encoding="utf-8")
    return path


def asked(target: str, dump: Path, page: Path) -> dict[str, Any]:
    assert main(["why", "-S", "default/tools", "-D", target, "-f", str(dump), "--html", str(page)]) == 0
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text(), re.DOTALL)
    assert found is not None
    data: dict[str, Any] = json.loads(found[1])
    return data


@pytest.mark.parametrize("target", STEPS)
def test_the_page_opens_at_the_deciding_frame(target: str, dump: Path, tmp_path: Path) -> None:
    data = asked(target, dump, tmp_path / "why.html")
    number = int(data["opens"].rpartition("=")[2])
    [run] = data["runs"]
    frame = run["frames"][number - 1]
    direction, word = STEPS[target]
    shown = json.dumps([run["words"][each] for each in (frame["s"], *frame.get("x", ()), *frame.get("tr", ()))])
    assert frame["w"].startswith(direction) and word in shown, shown


def test_the_page_states_verdict_cause_and_what_was_assumed(dump: Path, tmp_path: Path) -> None:
    [run] = asked("svc/cart.shop:80", dump, tmp_path / "why.html")["runs"]
    assert "does not reach svc/cart.shop:80" in run["description"] and "[not-ready]" in run["description"]
    assert any("the pod network is flannel" in each for each in run["notes"])


def test_where_nothing_is_sent_no_page_is_written(
    dump: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pods = re.findall(r'"name": "(queue-[a-z0-9]+-[a-z0-9]+)"', dump.read_text())
    page = tmp_path / "why.html"
    assert main(["why", "-S", "default/tools", "-D", f"shop/{pods[0]}:80", "-f", str(dump), "--html", str(page)]) == 0
    assert not page.exists() and "nothing was sent" in capsys.readouterr().err


@pytest.mark.browser
def test_a_browser_shows_that_step(dump: Path, tmp_path: Path, browser: Browser) -> None:
    page = tmp_path / "why.html"
    opens = asked("svc/cart.shop:80", dump, page)["opens"]
    browser.open(page)
    assert browser.text("#at") == opens.rpartition("=")[2]
    browser.open(page, "flow=1&step=2")
    assert browser.text("#at") == "2"
