"""The judges keep their promise: namespaces are real, and gone afterwards; captures are judged together as alone. (tests/capture tries
the tshark judge, too.)"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from linux import Linux, run
from tshark import EPB, Tshark, blocks

ROOT = Path(__file__).parent.parent


def test_namespaces_are_real_and_do_not_meet(linux: Linux) -> None:
    one, two = linux.namespace("one"), linux.namespace("two")
    linux.run(one, "iptables-restore", stdin="*filter\n:INPUT DROP [0:0]\nCOMMIT\n")
    assert ":INPUT DROP" in linux.run(one, "iptables-save", "-t", "filter")
    assert ":INPUT DROP" not in linux.run(two, "iptables-save")


def test_namespaces_are_gone_afterwards(linux: Linux) -> None:
    other = Linux(f"emutx{os.getpid()}")
    full = other.namespace("short-lived")
    assert full in run("ip", "netns", "list")
    other.close()
    assert full not in run("ip", "netns", "list")


def test_a_complaint_is_reported(linux: Linux) -> None:
    with pytest.raises(AssertionError, match="Cannot find device"):
        linux.run(linux.namespace("one"), "ip", "link", "set", "nothing", "up")


def test_captures_that_are_judged_together_are_judged_as_each_alone(tshark: Tshark, tmp_path: Path) -> None:
    """A fault is found in its file, at its frame; one interface of a file is none of another's."""
    paths = sorted((ROOT / "captures" / "lossy-link").glob("*.pcapng"))
    analysed = tshark.analysis_of(paths)
    assert analysed == {path: tshark.analysis(path) for path in paths} and any(analysed.values())
    faulty = bytearray(paths[1].read_bytes())
    packets = [at + 28 for kind, at, _ in blocks(bytes(faulty)) if kind == EPB]
    number = next(number for number, at in enumerate(packets) if faulty[at + 12 : at + 14] == b"\x08\x00")
    faulty[packets[number] + 14 + 8] ^= 1  # its TTL
    copies = [tmp_path / "whole.pcapng", tmp_path / "faulty.pcapng", tmp_path / "again.pcapng"]
    for path, data in zip(copies, (paths[0].read_bytes(), bytes(faulty), paths[0].read_bytes()), strict=True):
        path.write_bytes(data)
    found = tshark.problems_of(copies)
    assert found == {path: tshark.problems(path) for path in copies}
    assert [path for path, wrong in found.items() if wrong] == copies[1:2]
    assert {line.partition(" ")[0] for line in found[copies[1]]} == {f"#{number + 1}"}
    copies[2].write_bytes(copies[2].read_bytes()[:-7])
    with pytest.raises(AssertionError, match=r"again\.pcapng"):
        tshark.problems_of(copies)
