"""Input beyond all bounds: long, deep, endless, in other scripts. One short message, exit status 2, in no time."""

from __future__ import annotations

import json
import os
import re
import threading
from pathlib import Path
from typing import Any

import pytest

from emu.cli import main
from emu.errors import SHOWN, InputError
from emu.kube.api import documents as documents_module
from emu.kube.api.documents import documents, read_text
from emu.scenario.quantity import duration_ns
from emu.wire.addr import decimal
from small import PODS

LONG = "a" * 5000


def scenario(steps: str, cluster: str = "{nodes: 1}", more: str = "") -> str:
    head = f"apiVersion: emu/v1\nkind: Scenario\nmetadata: {{name: story}}\ncluster: {cluster}\n{more}"
    return f"{head}steps:\n{steps}\n{PODS}"


def wrong(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The message of a command that is given bad input."""
    assert main(words) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    assert line.startswith("error: ")
    return line


STEPS = {
    "scale to less than nothing": ("- scale: {deployment/x: -1}", r'scale\["deployment/x"\]: -1 is out of range'),
    "scale one of two": ("- scale: {deployment/y: 1, deployment/x: 100001}", r'scale\["deployment/x"\]: 100001 is out'),
    "scale by a word": ("- scale: {deployment/x: many}", r'scale\["deployment/x"\]: "many" is not a whole number'),
    "scale as kubectl names it": (
        "- scale: {deployment: x, replicas: 3}",
        r'scale.deployment: "x" is not a whole number \(expected such as scale: \{statefulset/web: 2\}\)',
    ),
    "a ping without its ends": (
        "- ping: default/web",
        r'ping: "default/web" is not a mapping \(expected such as ping: \{from: default/client, to: default/web-0',
    ),
    "a wait in a list": ("- wait: [1]", r"wait: a list is not a number or a text \(expected such as wait: 5s\)"),
    "a wait of 11,000 years": ("- wait: 99999999h", r'wait: "99999999h" is too long \(expected at most 168h\)'),
    "a wait in seconds": ("- wait: 1.0e+300", r"wait: \"1e\+300\" is too long"),
    "an endless wait": ("- wait: .inf", r"wait: inf is not a duration"),
    "a wait of nothing that is a number": ("- wait: .nan", r"wait: nan is not a duration"),
    "a wait with many digits": (f"- wait: {'9' * 5000}s", r"wait: .* is too long"),
    "pings for years": (
        "- ping: {from: default/client, to: default/web, count: 10000, interval: 1h}",
        r"ping.interval: .* is too long",
    ),
    "a timeout of years": ("- udp: {from: default/client, to: 10.0.0.1:53, timeout: 1000h}", r"udp.timeout: .* is too long"),
    "half a character": ("- send: {from: node/node-1, scapy: \"'\\\\ud800'\"}", r"send.scapy: .*surrogate"),
    "a long payload": (
        f"- send: {{from: node/node-1, scapy: \"IP(dst='1.1.1.1')/'{'a' * 65536}'\"}}", r"send.scapy: Scapy cannot build",
    ),
    "400 layers": (f"- send: {{from: node/node-1, scapy: \"{'/'.join(['IP()'] * 400)}\"}}", r"send.scapy: .* 64 layers"),
    "a name of the host's": ("- send: {from: node/node-1, scapy: \"IP(dst='localhost')\"}", r"send.scapy: .*not an address"),
    "a range": ("- send: {from: node/node-1, scapy: \"IP(dst='10.244.0.0/16')/ICMP()\"}", r"send.scapy: .*many addresses"),
}  # fmt: skip


@pytest.mark.parametrize("command", ["run", "validate"])
@pytest.mark.parametrize("case", STEPS)
def test_steps(case: str, command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    step, error_text = STEPS[case]
    path = tmp_path / "story.yaml"
    path.write_text(scenario(step))
    line = wrong([command, str(path), *(["-d", str(tmp_path / "out")] if command == "run" else [])], capsys)
    assert re.search(r"story.yaml:6: steps\[0\]\." + error_text, line), line
    assert len(line) < 1200
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "text",
    [
        scenario("- wait: 1s", more=f"manifests: ['{LONG}']\n"),
        scenario("- wait: 1s", more='manifests: ["a\\0b"]\n'),
        scenario("- wait: 1s", more=f"manifests: ['{LONG}/{LONG}']\n"),
        scenario("- wait: 1s", cluster=f"{{nodes: 1, network: {LONG}.conflist}}"),
        scenario("- wait: 1s", cluster='{nodes: 1, network: "a\\0.conflist"}'),
        scenario("- wait: 1s", cluster=f"{{nodes: [{{name: {LONG}}}]}}"),
        scenario("- wait: 1s", cluster='{nodes: [{name: "a\\nb"}]}'),
        scenario("- wait: 1s", cluster="{nodes: [{name: ../x}]}"),
        scenario("- wait: 1s", cluster="{nodes: [{name: node/1}]}"),
        scenario("- wait: 1s", more=f"{LONG}: 1\n"),
        scenario(f"- {LONG}: 1"),
        scenario(f"- ping: {{from: {LONG}, to: default/web}}"),
        scenario(f"- ping: {{from: '{'a b ' * 2000}', to: default/web}}"),
        scenario(f"- tcp: {{from: default/client, to: 'svc/{LONG}:80'}}"),
        scenario(f"- wait: {LONG}"),
        scenario("- wait: 1s", more=f"metadata: {{name: {LONG}}}\n").replace("metadata: {name: story}\n", "", 1),
        scenario("- wait: 1s").replace("name: client", f"name: {LONG}_"),
        scenario("- wait: 1s").replace("kind: Pod", f"kind: Pod\n{LONG}: {LONG}\nkind: Pod"),
    ],
    ids=lambda text: text[-130:-100],
)
def test_messages_are_short(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "story.yaml"
    path.write_text(text)
    line = wrong(["validate", str(path)], capsys)
    assert len(line.replace(str(tmp_path), "")) < 6 * SHOWN
    assert "a" * (SHOWN + 1) not in line


def test_a_short_message_is_whole() -> None:
    error = InputError("one " * 40, file="f", line=1, path="p", expected="x")
    assert str(error) == f"f:1: p: {'one ' * 40} (expected x)"


# -- files that never end -----------------------------------------------------------------------------------------


def device(folder: Path, minor: int) -> Path:
    path = folder / "device"
    try:
        os.mknod(path, 0o020666, os.makedev(1, minor))
        path.open("rb").close()
    except PermissionError:
        pytest.skip("no device nodes can be made and opened here")
    return path


@pytest.mark.parametrize(
    "words",
    [
        ["run"],
        ["validate"],
        ["show", "routes", "node-1", "-f"],
        ["trace", "-S", "10.0.0.1", "-D", "10.0.0.2", "--rules"],
    ],
)
def test_a_device_is_no_input(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    zero = device(tmp_path, 5)
    assert "is a device (expected a file, a FIFO or standard input)" in wrong([*words, str(zero)], capsys)


def test_a_device_as_manifest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    device(tmp_path, 5)
    (tmp_path / "story.yaml").write_text(scenario("- wait: 1s", more="manifests: [device]\n"))
    assert "is a device" in wrong(["run", str(tmp_path / "story.yaml")], capsys)


def test_a_device_as_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    device(tmp_path, 5).rename(tmp_path / "own.conflist")
    (tmp_path / "story.yaml").write_text(scenario("- wait: 1s", cluster="{nodes: 1, network: own.conflist}"))
    assert "is a device" in wrong(["run", str(tmp_path / "story.yaml")], capsys)


def test_a_fifo_is_read_and_an_endless_one_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    def endless() -> None:
        try:
            with pipe.open("wb") as file:
                while True:
                    file.write(b"# and so on\n" * 100)
        except BrokenPipeError:
            pass

    writer = threading.Thread(target=lambda: pipe.write_bytes("\ufeffé".encode()))
    writer.start()
    assert read_text(pipe) == "é"
    writer.join()
    monkeypatch.setattr(documents_module, "MAX_BYTES", 1 << 20)
    writer = threading.Thread(target=endless)
    writer.start()
    with pytest.raises(InputError, match=r"is too long \(expected at most 1 MiB"):
        read_text(pipe)
    writer.join(60)
    assert not writer.is_alive()


@pytest.mark.parametrize(
    "text",
    [
        "".join(f"- &a{number} x\n- *a{number}\n" for number in range(100_000)),
        "- &a [x, x]\n" + "- *a\n" * 100_000,
        "a0: &a0 x\n" + "".join(f"a{number + 1}: &a{number + 1} [*a{number}]\n" for number in range(100_000)),
    ],
    ids=["pairs", "fan", "chain"],
)
def test_anchors_without_number_are_refused_from_their_first_lines(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    composed = 0

    def compose(*args: Any) -> None:
        nonlocal composed
        composed += 1

    monkeypatch.setattr(documents_module, "_measure_depth", compose)
    with pytest.raises(InputError, match="too many anchors and aliases") as error:
        list(documents(text, "f.yaml"))
    assert (error.value.line or 0) <= 10_001
    assert composed == 0


def test_what_only_looks_like_anchors_is_read() -> None:
    text = "".join(f"- '*a{number} &b and *c &d'\n" for number in range(6_000))
    (document,) = documents(text, "f.yaml")
    assert len(document.value) == 6_000


# -- digits -------------------------------------------------------------------------------------------------------

SUPERSCRIPT, ARABIC, MANY = "²", "٣", "9" * 5000


@pytest.mark.parametrize("text", [SUPERSCRIPT, ARABIC, MANY, "", " 1", "1_0", "+1", "-1", "0x1"])
def test_what_is_no_decimal(text: str) -> None:
    assert decimal(text) is None


def test_what_is_a_decimal() -> None:
    assert [decimal(text) for text in ("0", "007", str(2**64 - 1))] == [0, 7, 2**64 - 1]


@pytest.mark.parametrize("digits", [SUPERSCRIPT, ARABIC, MANY])
@pytest.mark.parametrize(
    "rule",
    [
        "-A FORWARD -p N -j DROP", "-A FORWARD -s 10.0.0.0/N -j DROP", "-A FORWARD -p tcp --dport N -j DROP",
        "-A FORWARD -j LOG --log-level N", "-I FORWARD N -j DROP", "-A FORWARD -m mark --mark N -j DROP",
        "-A FORWARD -m ttl --ttl-eq N -j DROP", "-A FORWARD -m limit --limit N/s -j DROP",
        "-A FORWARD -m multiport -p tcp --dports N -j DROP", "-A FORWARD -m length --length N -j DROP",
        "-A FORWARD -m statistic --mode nth --every N -j DROP", "-A FORWARD -p icmp --icmp-type N -j DROP",
        "-A FORWARD -m connmark --mark N -j DROP", "-A FORWARD -m recent --seconds N --name x -j DROP",
    ],
)  # fmt: skip
def test_digits_in_rules(rule: str, digits: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "node.rules"
    path.write_text(f"*filter\n:FORWARD ACCEPT [0:0]\n{rule.replace('N', digits)}\nCOMMIT\n", encoding="utf-8")
    status = main(["validate", str(path)])
    printed = capsys.readouterr()
    assert status in (0, 2), printed.err  # what the reader of dumps does not know is undecided
    assert len(printed.err) < 2000


@pytest.mark.parametrize("digits", [SUPERSCRIPT, ARABIC, MANY])
def test_digits_elsewhere(digits: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules = tmp_path / "node.rules"
    rules.write_text("*filter\nCOMMIT\n")
    ends = ["trace", "--rules", str(rules), "-S", "10.0.0.1", "-D"]
    assert "error: " in wrong([*ends, "10.0.0.2:80/tcp", "--sysctl", f"net.ipv4.ip_forward={digits}"], capsys)
    assert "error: " in wrong([*ends, f"10.0.0.2:{digits}/tcp"], capsys)
    path = tmp_path / "story.yaml"
    for step in (
        f"- tcp: {{from: default/client, to: '10.0.0.1:{digits}'}}",
        f"- tcp: {{from: default/client, to: 'svc/web:{digits}'}}",
        f"- udp: {{from: default/client, to: 'default/web:{digits}'}}",
        f"- ping: {{from: default/client, to: '10.0.0.{digits}'}}",
    ):
        path.write_text(scenario(step), encoding="utf-8")
        assert "story.yaml" in wrong(["validate", str(path)], capsys)


def test_a_number_that_python_does_not_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "pod.json"
    path.write_text(
        json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}})[:-1] + f', "x": {MANY}}}'
    )
    assert "pod.json:1: broken JSON: a number is too long" in wrong(["validate", str(path)], capsys)


def test_a_week_is_a_duration() -> None:
    assert duration_ns("168h") == duration_ns(7 * 86400) == 168 * 3600 * 10**9
