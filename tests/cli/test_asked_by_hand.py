"""Small things that people met who used emu for an hour, each with the question that showed it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import emu
from emu.cli import main

DOCKER = """*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A OUTPUT -d 127.0.0.11/32 -p udp -m udp --dport 53 -j DNAT --to-destination 127.0.0.11:45003
COMMIT
"""


@pytest.fixture
def rules(tmp_path: Path) -> str:
    path = tmp_path / "node.rules"
    path.write_text(DOCKER, encoding="utf-8")
    return str(path)


def test_a_translation_that_a_packet_meets_again_behind_lo_is_stated_once(
    rules: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    routes = tmp_path / "routes.json"
    routes.write_text(json.dumps([{"dst": "default", "gateway": "192.168.49.1", "dev": "eth0"}]), encoding="utf-8")
    ends = ["--from", "127.0.0.1", "--to", "127.0.0.11:53/udp"]
    assert main(["trace", "--rules", rules, "--routes", str(routes), *ends]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert lines.count("DNAT 127.0.0.11:53 -> 127.0.0.11:45003") == 1
    assert lines.count("un-DNAT 127.0.0.11:45003 -> 127.0.0.11:53") == 1


def test_a_service_is_nothing_that_a_nodes_rules_know(rules: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trace", "--rules", rules, "--from", "10.0.0.9", "--to", "svc/api.shop:80"]) == 2
    assert "rules know addresses alone" in capsys.readouterr().err


def test_two_interfaces_in_one_subnet() -> None:
    """The kernel appends the second connected route."""
    lab = emu.Lab()
    one, two = lab.host("one"), lab.host("two")
    lab.cable(one, "10.0.0.1/24", two, "10.0.0.2/24")
    lab.cable(one, "10.0.0.3/24", two, "10.0.0.4/24")
    connected = [each.text() for each in one.ipv4.fib.main if each.prefix.length == 24]
    assert len(connected) == 2 and len({text.partition("dev ")[2].split()[0] for text in connected}) == 2
