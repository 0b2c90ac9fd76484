"""A second try is counted and explained: what differed at the first one is reported."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from emu.cli import main
from emu.kernel.net import ip_forward
from emu.scenario.script import load_text
from emu.twin import judge
from emu.wire.frame import Frame
from emu.wire.rewrite import decrease_ttl
from twins import needs_twin, scenario, summary

ACROSS = scenario("- ping: {from: default/client, to: default/web}")
DIFFERED = "ping default/client -> default/web: frames at node-1/eth0: kernel: "


def once(real: Callable[[Frame], None]) -> Callable[[Frame], None]:
    """As `real`, but for the first call: that one does nothing."""
    calls: Iterator[int] = iter(range(1 << 30))
    return lambda frame: real(frame) if next(calls) else None


class TestJudged:
    pytestmark = needs_twin

    def test_the_report_states_what_differed_at_first(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(ip_forward, "decrease_ttl", once(decrease_ttl))
        report = judge(load_text(ACROSS), tries=2)
        assert report.exit_status == 0
        assert "equal at try 2" in report.text()
        (line,) = [each for each in report.text().splitlines() if each.startswith("try 1 differed: ")]
        assert DIFFERED in line and "ttl63" in line and "ttl64" in line and " ms late" in line
        assert report.data()["tries"] == 2

    def test_one_try_is_a_difference(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(ip_forward, "decrease_ttl", once(decrease_ttl))
        report = judge(load_text(ACROSS), tries=1)
        assert report.exit_status == 1 and not report.earlier

    def test_the_command_tries_again(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = tmp_path / "across.yaml"
        path.write_text(ACROSS)
        monkeypatch.setattr(ip_forward, "decrease_ttl", once(decrease_ttl))
        assert main(["twin", str(path), "-o", "json"]) == 0
        assert DIFFERED in json.loads(capsys.readouterr().out)["earlier"][0]


def test_the_closing_lines_of_a_run_state_it() -> None:
    counts = Counter({"table": 2, "gallery": 1})
    assert summary(Counter(), []) == []
    assert summary(counts, []) == ["the kernel judged 3 scenarios (gallery 1, table 2); all equal at the first try"]
    first, reason = summary(counts, ["tests/a.py::test_b[row]: tcp a -> b: frames at c"])
    assert first.endswith("; 1 differed at the first try:")
    assert reason == "  tests/a.py::test_b[row]: tcp a -> b: frames at c"
