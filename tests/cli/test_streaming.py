"""`emu run` and `emu replay` of many flows, as people call them: what streams to disk, `--no-results`, progress, an interrupt."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import emu.scenario.run as module
from emu.capture.capture import Capture
from emu.cli import held, main
from emu.scenario.run import run
from replayed import DATA, PODS

MANY = """\
apiVersion: emu/v1
kind: Scenario
metadata: {name: many}
cluster: {nodes: 2}
steps:
- name: visitors
  traffic:
    flows: 150
    rate: 200
    mix:
    - {weight: 3, ping: {from: default/client, to: default/web}, expect: {outcome: delivered}}
    - {tcp: {from: default/client, to: "default/web:81"}, expect: {outcome: EXPECTED}}
- name: last
  ping: {from: default/client, to: default/web}
  expect: {outcome: delivered}
---
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    real = Capture.stream
    monkeypatch.setattr(Capture, "stream", lambda self, where=None: real(self, where, held=100, piece=64))
    (tmp_path / "pods.yaml").write_text(PODS)
    for name, expected in (("good", "refused"), ("bad", "delivered")):
        text = MANY.replace("EXPECTED", expected) + PODS
        (tmp_path / f"{name}.yaml").write_text(text)
    shutil.copy(DATA / "http.pcap", tmp_path / "trace.pcap")
    return tmp_path


def test_without_results_flows_are_counted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "good.yaml", "-d", "held"]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert main(["run", "good.yaml", "--no-results", "-d", "counted"]) == 0
    out, err = capsys.readouterr()
    counted = out.splitlines()
    assert all(line.startswith("note: ") for line in err.splitlines())  # no terminal: no progress
    pings = sum("delivered" in row for row in rows[1:151])
    for row, words in zip(counted[1:3], (f"{pings} flows  ", f"{150 - pings} flows  "), strict=True):
        assert row.startswith("1 ")
        assert f" visitors: {words}" in row
    assert len(counted) == 6
    assert rows[-2].partition(";")[0] == counted[-2].partition(";")[0]
    every = [(folder / name / "many" / "all.pcapng").read_bytes() for name in ("held", "counted")]
    assert every[0] == every[1]
    names = sorted(path.name for path in (folder / "counted" / "many").iterdir())
    assert names == [".emu-files", "02-last.client.pcapng", "02-last.pcapng", "all.pcapng"]


def test_what_is_not_as_expected_has_a_row_all_the_same(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["run", "bad.yaml", "-w", "all.pcapng"]) == 1
    whole = capsys.readouterr().out.splitlines()
    assert main(["run", "bad.yaml", "--no-results", "-w", "none.pcapng"]) == 1
    out = capsys.readouterr().out.splitlines()
    wrong = [row for row in whole if row.startswith("FAILED")]
    assert [row for row in out if row.startswith("FAILED")] == wrong
    monkeypatch.setattr("emu.scenario.results.ODD_RESULTS", 3)
    assert main(["run", "bad.yaml", "--no-results", "-w", "few.pcapng"]) == 1
    out = capsys.readouterr().out.splitlines()
    left = len(wrong) - 3
    assert [row for row in out if row.startswith("FAILED")] == [
        *wrong[:3],
        f"FAILED step 1, visitors: {left} more flows are not as expected",
    ]
    assert out[-2].partition(";")[0] == whole[-2].partition(";")[0]


def test_json_has_the_counts(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "good.yaml", "--no-results", "-w", "all.pcapng", "-o", "json"]) == 0
    first, last = json.loads(capsys.readouterr().out)["steps"]
    assert first["flows"] == []
    assert sum(first["withoutResult"].values()) == 150
    assert "withoutResult" not in last
    assert len(last["flows"]) == 1


@pytest.mark.parametrize(
    ("name", "options", "cluster", "step"),
    [
        ("--html", ["--html", "page.html"], "", ""),
        ("-o json or yaml", ["-o", "json"], "", ""),
        ("--walk", ["--walk"], "", ""),
        ("a step seen", [], "", "- seen: [{frame: {icmp: {type: 8}}}]\n"),
        ("invariants", [], "invariants: all\n", ""),
        ("", [], "", ""),
        ("", ["--no-results", "--walk", "-o", "json"], "", ""),
    ],
)
def test_what_holds_all_of_many_flows_is_noted(
    name: str, options: list[str], cluster: str, step: str, folder: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    text = MANY.replace("EXPECTED", "refused").replace("flows: 150", "flows: 12")
    text = text.replace("cluster:", f"{cluster}cluster:").removesuffix("---\n") + step + "---\n" + PODS
    (folder / "held.yaml").write_text(text)
    for most in (12, 11):
        monkeypatch.setattr(held, "MANY", most)
        assert main(["run", "held.yaml", "-w", "all.pcapng", "--force", *options]) == 0
        found = [line for line in capsys.readouterr().err.splitlines() if "in memory" in line]
        expected = [f"note: many: {name} keeps "] if name and most == 11 else []
        assert [line[: len(each)] for line, each in zip(found, expected, strict=True)] == expected
    assert all(" kB a flow, " in line and " for 12 flows" in line for line in found)


def test_labels_need_results(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "good.yaml", "--no-results", "--labels", "truth.csv"]) == 2
    assert "labels have what each flow came to (expected --labels without --no-results)" in capsys.readouterr().err
    assert not (folder / "captures").exists()


def test_labels_are_the_same_row_by_row(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["run", "good.yaml", "-w", "all.pcapng", "--labels", "streamed.csv"]) == 0
    monkeypatch.setattr(Capture, "stream", lambda self, where=None: None)
    assert main(["run", "good.yaml", "-w", "all.pcapng", "--force", "--labels", "held.csv"]) == 0
    assert (folder / "held.csv").read_bytes() == (folder / "streamed.csv").read_bytes()


def test_an_interrupted_run_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the files that it was about to write, nor what it had on disk; what was there before is as it was."""
    monkeypatch.setattr(module, "SHOWN", 50)
    assert main(["run", "good.yaml", "-d", "out"]) == 0
    before = {path: path.read_bytes() for path in (folder / "out").rglob("*") if path.is_file()}
    there = sorted(folder.iterdir())

    def progress(done: int, of: int, what: str) -> None:
        if what == "visitors, 100 flows":
            raise KeyboardInterrupt

    for results in (True, False):
        with pytest.raises(KeyboardInterrupt):
            run("bad.yaml", "out", stream=folder, progress=progress, results=results)
    assert {path: path.read_bytes() for path in (folder / "out").rglob("*") if path.is_file()} == before
    assert sorted(folder.iterdir()) == there


def test_a_replay_writes_the_same_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = "replay trace.pcap -f pods.yaml --from client --to svc/web:80 --loop 5"
    assert main([*command.split(), "-w", "streamed.pcapng"]) == 0
    monkeypatch.setattr(Capture, "stream", lambda self, where=None: None)
    assert main([*command.split(), "-w", "held.pcapng"]) == 0
    held = (folder / "held.pcapng").read_bytes()
    assert len(held) > 100_000
    assert (folder / "streamed.pcapng").read_bytes() == held


def test_a_replay_in_a_scenario_streams(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    step = "- replay: {from: default/client, to: 'svc/web:80', pcap: trace.pcap, loop: 20}\n---\n"
    (folder / "replay.yaml").write_text(MANY.partition("- name")[0] + step + PODS)
    rows = {}
    for words in ("-d held", "-d counted --no-results"):
        assert main(["run", "replay.yaml", *words.split()]) == 0
        rows[words] = capsys.readouterr().out.splitlines()
    assert len(rows["-d held"]) == 23
    assert any(" replay: 20 flows " in row for row in rows["-d counted --no-results"])
    assert (folder / "held" / "many" / "all.pcapng").read_bytes() == (
        folder / "counted" / "many" / "all.pcapng"
    ).read_bytes()
