"""The step `replay`: its shape and checks, what holds and what fails in a run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from emu.errors import InputError
from emu.scenario.run import FAILED, HELD, run
from emu.scenario.script import load
from replayed import DATA, PODS
from tshark import Tshark

SCENARIO = """\
apiVersion: emu/v1
kind: Scenario
metadata: {name: replays}
steps:
- name: again
  replay: STEP
---
"""


def write(folder: Path, step: str, before: str = "") -> Path:
    shutil.copy(DATA / "http.pcap", folder / "trace.pcap")
    path = folder / "replays.yaml"
    path.write_text(SCENARIO.replace("- name: again", f"{before}- name: again").replace("STEP", step) + PODS)
    return path


HTTP = '{pcap: trace.pcap, from: default/client, to: "svc/web:80"}'


@pytest.mark.parametrize(
    "step",
    [
        HTTP,
        HTTP.replace("}", ", mode: frames}"),
        HTTP.replace("}", ", loop: 2, maxsleep: 100ms}"),
        '{pcap: trace.pcap, map: {192.168.1.10: default/client, 203.0.113.80: "svc/web:80"}}',
        '{pcap: trace.pcap, portmap: "80:8080", from: default/client, to: default/web}',
        '{from: default/client, to: "svc/web:80", talk: [{client: EHLO}, {server: ok, after: 20ms}, {client: {hex: ff00}}]}',
        '{from: default/client, to: "svc/web:53", protocol: UDP, talk: [{client: q}, {server: a}]}',
    ],
)
def test_what_is_as_recorded_holds(step: str, tmp_path: Path) -> None:
    done = run(write(tmp_path, step))
    assert (done.exit_status, done.failures) == (HELD, [])
    assert done.checks >= 1 and all(each.flow.delivered for each in done.flows)


def test_a_flow_of_a_talk_has_the_talks_bytes_in_its_capture(tmp_path: Path, tshark: Tshark) -> None:
    step = '{from: default/client, to: "svc/web:80", talk: [{client: EHLO}, {server: fine}]}'
    done = run(write(tmp_path, step), tmp_path / "out")
    assert tshark.problems(done.steps[0].flows[0].files[0]) == []
    data = b"".join(each.data for each in done.steps[0].flows[0].flow.frames)
    assert b"EHLO" in data and b"fine" in data


def test_a_difference_fails_the_step(tmp_path: Path) -> None:
    drop = '- iptables: {node: node-2, rules: "-I FORWARD -p tcp --dport 80 -j DROP"}\n'
    done = run(write(tmp_path, HTTP.replace("}", ", timeout: 1s}"), drop))
    assert done.exit_status == FAILED
    assert any("packet 1: dropped at" in each or "packet 1" in each for each in done.failures)


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ("{from: default/client}", "a replay has one recording"),
        ("{pcap: trace.pcap}", "no host of the capture is one of the cluster"),
        ("{pcap: none.pcap, from: default/client}", "No such file"),
        ("{pcap: replays.yaml, from: default/client}", "is no capture"),
        ('{pcap: trace.pcap, from: "default/client:80"}', "has a port"),
        ("{pcap: trace.pcap, map: {other: default/client}}", "'other' is not an IPv4 address"),
        ("{pcap: trace.pcap, from: default/client, ttl: 3}", "is not a text"),
        ('{pcap: trace.pcap, from: default/client, ttl: "3"}', "sockets make their own packets"),
        ('{pcap: trace.pcap, from: default/client, portmap: "x"}', "--portmap: cannot read 'x'"),
        ("{from: default/client, to: svc/web, talk: [{client: a}]}", "has no port"),
        ('{from: default/client, to: "svc/web:80", talk: [{client: a, server: b}]}', "a line belongs to one side"),
        ("{pcap: trace.pcap, form: default/client}", "form"),
    ],
)
def test_what_is_wrong_is_found_before_the_run(step: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as wrong:
        load(write(tmp_path, step))
    text = str(wrong.value)
    assert words in text and "replays.yaml" in text
