"""`emu replay` and `emu rewrite` as people call them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from emu.capture.reader import reading
from emu.cli import main
from replayed import DATA, PODS
from tshark import Tshark


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pods.yaml").write_text(PODS)
    shutil.copy(DATA / "http.pcap", tmp_path / "trace.pcap")
    return tmp_path


def test_a_report_that_holds(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", "trace.pcap", "-f", "pods.yaml", "--from", "client", "--to", "svc/web:80"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == "10 packets, 1 flow: 6 rewritten, 4 not sent; as recorded"
    assert "dst 10.96.0.100:80 -> 10.244." in out and "80/80" in out


def test_the_same_as_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = "replay trace.pcap -f pods.yaml --from default/client --to svc/web:80 --mode frames -o json --show 3"
    assert main(command.split()) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["packets"], data["flows"], data["differences"], data["exitStatus"]) == (10, 1, 0, 0)
    assert data["verdicts"]["rewritten"] == 10
    assert [each["number"] for each in data["packetList"]] == [1, 2, 3]
    assert data["notListed"] == {"packets": 7, "flows": 0}
    assert data["packetList"][0]["rewritten"][0]["name"] == "dst"
    assert data["flowList"][0]["payloadEqual"] == data["flowList"][0]["payloadBytes"] == 80


def test_a_difference_is_exit_1(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["replay", "trace.pcap", "-f", "pods.yaml", "--from", "client", "--to", "svc/closed:81", "--timeout", "1"])
        == 1
    )
    out = capsys.readouterr().out
    assert "refused (RST) at default/web" in out and "dropped !" in out
    assert main(["replay", "trace.pcap", "-f", "pods.yaml", "--from", "client", "--to", "svc/web"]) == 0


def test_nothing_replayed_is_exit_1(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", "trace.pcap", "-f", "pods.yaml", "--map", "9.9.9.9=pod/client"]) == 1
    assert "nothing was replayed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "trace.pcap -f pods.yaml",
            "no host of the capture is one of the cluster (expected --from, --to, --map or --at)",
        ),
        ("none.pcap -f pods.yaml --from client", "none.pcap: No such file or directory"),
        ("pods.yaml -f pods.yaml --from client", "pods.yaml: is no capture"),
        ("trace.pcap -f pods.yaml --from clint", "no pod is called 'default/clint' (expected 'default/client'?)"),
        ("trace.pcap -f pods.yaml --from client --to svc/wob:80", "no Service is called 'wob'"),
        ("trace.pcap -f pods.yaml --from client --map x", "cannot read the map 'x'"),
        ("trace.pcap -f pods.yaml --from client --ttl 3", "--ttl edits packets, and sockets make their own"),
        ("trace.pcap -f pods.yaml --at node-1/eth9", "node-1 has no device 'eth9'"),
        ("trace.pcap -f pods.yaml --from client --pnat x", "--pnat: cannot read 'x'"),
    ],
)
def test_bad_input(words: str, message: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", *words.split()]) == 2
    *notes, error = capsys.readouterr().err.splitlines()
    assert message in error and error.startswith("error: ")
    assert all(each.startswith("note: ") for each in notes)


def test_loop_and_limit(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(
            [
                "replay",
                "trace.pcap",
                "-f",
                "pods.yaml",
                "--from",
                "client",
                "--to",
                "svc/web",
                "--loop",
                "3",
                "--limit",
                "24",
                "-o",
                "json",
            ]
        )
        == 0
    )
    data = json.loads(capsys.readouterr().out)
    assert (data["packets"], data["flows"]) == (24, 3)


def test_the_emulated_frames_as_a_file(folder: Path, capsys: pytest.CaptureFixture[str], tshark: Tshark) -> None:
    assert (
        main(["replay", "trace.pcap", "-f", "pods.yaml", "--from", "client", "--to", "svc/web", "-w", "out.pcapng"])
        == 0
    )
    assert tshark.problems(folder / "out.pcapng") == []
    with reading(folder / "out.pcapng") as capture:
        assert len(list(capture)) > 60


def test_rewrite(folder: Path, capsys: pytest.CaptureFixture[str], tshark: Tshark) -> None:
    command = "rewrite trace.pcap -w out.pcap --portmap 80:8080 --pnat 192.168.0.0/16:10.1.0.0/16 --ttl -1"
    assert main(command.split()) == 0
    rows = tshark.read(
        folder / "out.pcap", "ip.src", "ip.ttl", "tcp.dstport", "ip.checksum.status", "tcp.checksum.status"
    )
    assert rows[0] == {
        "ip.src": ["10.1.1.10"], "ip.ttl": ["63"], "tcp.dstport": ["8080"], "ip.checksum.status": ["1"],
        "tcp.checksum.status": ["1"],
    }  # fmt: skip
    assert main(["rewrite", "trace.pcap", "-w", "out.pcap"]) == 2  # not emu's by its name: only --force replaces it
    assert main(["rewrite", "trace.pcap", "-w", "out.pcap", "--force"]) == 0
    with reading(folder / "trace.pcap") as before, reading(folder / "out.pcap") as after:
        assert list(before) == list(after)
