"""What a page costs a browser: one flow of about 2,500 hops and the pod-to-service story, opened in chromium without a window.

`open` is from the request to the first step on the screen, `step` one key press with the layout that follows, `find` the filter
of all hops. The budgets are those of the page's design, for a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import gzip
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from browser import Browser, missing
from emu.report.html.page import of
from emu.report.html.scene import of_run
from emu.scenario.gallery import story
from emu.scenario.run import run
from emu.scenario.script import load_text

BYTES_SENT = 110_000
LARGE = """\
apiVersion: emu/v1
kind: Scenario
metadata: {name: large}
steps:
- tcp: {from: default/a, to: "default/b:80", send: "%s"}
  expect: {outcome: delivered}
---
{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {nodeName: node-1, containers: [{name: app}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: b}, spec: {nodeName: node-2, containers: [{name: app, ports: [{containerPort: 80}]}]}}
"""
STEPS = """
const times = [], n = M.steps.length, from = Math.max(0, Math.floor(n / 2) - 100);
for (let k = from; k < Math.min(n, from + 200); k++) {
  const begun = performance.now(); go(k); document.body.offsetHeight; times.push(performance.now() - begun);
}
times.sort((a, b) => a - b);
return [times[times.length >> 1], times[Math.floor(times.length * .95)]];
"""
FIND = """
const begun = performance.now(); $("#q").value = "ttl 61"; $("#q").oninput({target: $("#q")}); document.body.offsetHeight;
return performance.now() - begun;
"""
OPENED = """
const [entry] = performance.getEntriesByType("navigation");
document.body.offsetHeight;
return [entry.domContentLoadedEventEnd, document.querySelectorAll("*").length];
"""


class Budget(NamedTuple):
    """Milliseconds, and elements of the document."""

    open_ms: float = 2000
    step_ms: float = 100
    find_ms: float = 200
    elements: int = 3000


def pages() -> dict[str, str]:
    """By name: a page."""
    large = load_text(LARGE % ("x" * BYTES_SENT), folder=Path())
    return {
        "pod-to-service": of([of_run(run(story("pod-to-service"), record=True))]),
        "one large flow": of([of_run(run(large, record=True))]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    if missing():
        raise SystemExit(f"bench page: {missing()} is missing (Debian: apt install chromium chromium-driver)")
    budget = Budget()
    print(
        f"{'best of ' + str(rounds):18}{'hops':>6}{'KB':>7}{'KB gzip':>9}{'open':>9}{'step':>9}{'step p95':>10}{'find':>9}{'elements':>10}"
    )
    print(
        f"{'budget':18}{'':6}{'':7}{'':9}{budget.open_ms:6.0f} ms{budget.step_ms:6.0f} ms{'':10}{budget.find_ms:6.0f} ms{budget.elements:>10}"
    )
    with TemporaryDirectory() as folder:
        browser = Browser(Path(folder))
        try:
            for name, text in pages().items():
                path = Path(folder) / "page.html"
                path.write_text(text, encoding="utf-8")
                print(row(name, text, [measured(browser, path) for _ in range(rounds)], browser), flush=True)
        finally:
            browser.close()


def measured(browser: Browser, path: Path) -> tuple[float, float, float, float, float]:
    """Milliseconds to open, of a step (median and 95th percentile) and of a search; the number of elements."""
    browser.open(path, "flow=1&step=1")
    opened, elements = browser.run(OPENED)
    step, late = browser.run(STEPS)
    return opened, step, late, browser.run(FIND), elements


def row(name: str, text: str, found: list[tuple[float, float, float, float, float]], browser: Browser) -> str:
    opened, step, late, find, elements = (min(each) for each in zip(*found, strict=True))
    size = len(text.encode()), len(gzip.compress(text.encode(), mtime=0))
    hops = browser.run("return M.steps.length")
    return (
        f"{name:18}{hops:>6}{size[0] / 1000:>7.0f}{size[1] / 1000:>9.0f}{opened:>6.0f} ms{step:>6.1f} ms{late:>7.1f} ms"
        f"{find:>6.0f} ms{elements:>10.0f}"
    )


if __name__ == "__main__":
    main()
