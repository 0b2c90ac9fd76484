"""What all tests share: the judges (tshark, this machine's kernel) as fixtures, and a loud word where one is missing."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import groupby

import pytest
from hypothesis import HealthCheck, settings

from browser import Browser
from browser import missing as browser_missing
from emu.compiled import COMPILED
from linux import Linux
from linux import missing as linux_missing
from peer_suites import NO_SUITES
from tshark import Tshark, available
from twins import AGAIN, JUDGED, summary
from unknown_dataplane import without_dataplane

NO_TSHARK = "skipped: no tshark"
NO_KERNEL = "skipped: no real kernel to ask"
NO_BROWSER = "skipped: no browser"
NO_AXE = "skipped: no axe-core"

# a busy machine is no fault of a property
settings.register_profile("emu", parent=settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("emu")


@pytest.fixture(scope="session")
def tshark(tmp_path_factory: pytest.TempPathFactory) -> Tshark:
    """Wireshark's programs, with an empty home."""
    if not available():
        if os.environ.get("EMU_REQUIRE_TSHARK"):
            pytest.fail("tshark is required (EMU_REQUIRE_TSHARK) and missing")
        pytest.skip(NO_TSHARK)
    return Tshark(tmp_path_factory.mktemp("wireshark-home"))


@pytest.fixture
def unknown_dataplane(monkeypatch: pytest.MonkeyPatch) -> None:
    """What enforces policies with kindnet is not modelled."""
    without_dataplane(monkeypatch)


@pytest.fixture
def linux() -> Iterator[Linux]:
    """Namespaces on this machine's kernel, deleted after the test. Tests that use it bear the mark `twin`."""
    if linux_missing():
        if os.environ.get("EMU_REQUIRE_TWIN"):
            pytest.fail(f"a real kernel is required (EMU_REQUIRE_TWIN) and cannot be asked: {linux_missing()}")
        pytest.skip(f"{NO_KERNEL} ({linux_missing()})")
    kernel = Linux(f"emut{os.getpid()}")
    try:
        yield kernel
    finally:
        kernel.close()


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """chromium without a window, of this size at the beginning: 1440 x 900."""
    if browser_missing():
        if os.environ.get("EMU_REQUIRE_BROWSER"):
            pytest.fail(f"a browser is required (EMU_REQUIRE_BROWSER) and {browser_missing()} is missing")
        pytest.skip(f"{NO_BROWSER} ({browser_missing()} is missing)")
    window = Browser(tmp_path_factory.mktemp("browser"))
    try:
        yield window
    finally:
        window.close()


JUDGES = {"browser": pytest.mark.browser, "linux": pytest.mark.twin, "tshark": pytest.mark.wireshark}


TOGETHER = 16  # or more twin tests in a row: they share what their module sets up


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what asks a judge, and skip what needs interpreted modules where compiled ones run. Where workers share the suite, spread the twin, which mostly waits, among what keeps CPUs busy."""
    for item in items:
        for fixture in JUDGES.keys() & set(getattr(item, "fixturenames", ())):
            item.add_marker(JUDGES[fixture])
        marked = item.get_closest_marker("pure")
        if marked is not None and COMPILED:
            item.add_marker(pytest.mark.skip(reason=f"needs the interpreted modules: {marked.args[0]}"))
    if hasattr(config, "workerinput"):
        waiting = [item for item in items if item.path.parent.name == "twin"]
        busy = [item for item in items if item.path.parent.name != "twin"]
        items[:] = []
        taken = done = 0
        for _, module in groupby(busy, key=lambda item: item.path):  # what a module sets up is set up once
            items += (own := [*module])
            done += len(own)
            until = len(waiting) * done // len(busy)
            if until - taken >= TOGETHER or done == len(busy):
                items += waiting[taken:until]
                taken = until
        items += waiting[taken:]


@pytest.fixture(autouse=True)
def _judged(record_property: Callable[[str, object], None]) -> Iterator[None]:
    """What the twin judged in a test goes with its report, to whichever process counts."""
    JUDGED.clear()
    AGAIN.clear()
    yield
    if JUDGED:
        record_property("judged", dict(JUDGED))
    if AGAIN:
        record_property("again", list(AGAIN))


def judged(terminalreporter: pytest.TerminalReporter) -> list[str]:
    """What the kernel judged in this run, as lines."""
    counts: Counter[str] = Counter()
    again: list[str] = []
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", "") == "teardown":
                for name, value in report.user_properties:
                    counts.update(value if name == "judged" else {})
                    again += [f"{report.nodeid}: {each}" for each in (value if name == "again" else ())]
    return summary(counts, again)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Report loudly which judge was missing, and how many tests went without it."""
    skipped = [str(report.longrepr) for report in terminalreporter.stats.get("skipped", [])]
    for words in (NO_TSHARK, NO_KERNEL, NO_BROWSER, NO_AXE, NO_SUITES, "skipped: no scripts of packetdrill"):
        count = sum(words in reason for reason in skipped)
        if count:
            terminalreporter.write_sep("#", f"{words} ({count} tests)", red=True, bold=True)
    for line in judged(terminalreporter):
        terminalreporter.write_line(line, bold=True)
