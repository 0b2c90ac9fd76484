"""The kernel judge keeps its promise: namespaces are real, and gone afterwards. (tests/capture tries the tshark judge.)"""

from __future__ import annotations

import os

import pytest

from linux import Linux, run


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
