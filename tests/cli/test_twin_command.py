"""`emu twin`: the report's forms, exit statuses, and the message where no kernel can judge."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from emu.cli import main
from emu.kernel.net import ip_forward
from twins import needs_twin, scenario

Capsys = pytest.CaptureFixture[str]
ACROSS = scenario("- ping: {from: default/client, to: default/web}")


@pytest.fixture
def story(tmp_path: Path) -> str:
    path = tmp_path / "story.yaml"
    path.write_text(ACROSS)
    return str(path)


class TestJudged:
    pytestmark = needs_twin

    def test_equal(self, story: str, capsys: Capsys) -> None:
        assert main(["twin", story]) == 0
        captured = capsys.readouterr()
        assert captured.err == ""
        first, second = captured.out.splitlines()
        assert "frames held against Linux" in first
        assert second == "equal"

    def test_different(self, story: str, capsys: Capsys, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(ip_forward, "decrease_ttl", lambda frame: None)
        assert main(["twin", story]) == 1
        assert "frames at node-1/eth0" in capsys.readouterr().out

    def test_several_for_machines(self, story: str, tmp_path: Path, capsys: Capsys) -> None:
        other = tmp_path / "other.yaml"
        other.write_text(scenario('- udp: {from: default/client, to: "svc/web:53", send: hello}'))
        assert main(["twin", story, str(other), "-o", "json"]) == 0
        results = json.loads(capsys.readouterr().out)
        assert [each["result"] for each in results] == ["equal", "equal"]
        assert all(each["frames"] for each in results)


def test_bad_input_is_reported_before_anything_is_judged(story: str, tmp_path: Path, capsys: Capsys) -> None:
    assert main(["twin", story, str(tmp_path / "none.yaml")]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "none.yaml" in captured.err


def test_without_root(story: str, capsys: Capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert main(["twin", story]) == 3
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "needs root" in captured.err


def test_no_file(capsys: Capsys) -> None:
    assert main(["twin"]) == 2
    assert "FILE" in capsys.readouterr().err
