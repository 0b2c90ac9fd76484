"""The view of policy rules, against the real `ip rule` of the same rules."""

from __future__ import annotations

import json

import pytest

from emu.kernel.commands import rule_add
from emu.lab import Lab
from emu.report.ip_rules import ip_rules
from linux import Linux

RULES = (
    "from 10.0.0.0/8 to 10.1.2.3 fwmark 0x80/0x80 iif lo priority 100 lookup 2",
    "not from 10.0.0.1 tos 0x10 oif lo ipproto tcp sport 10-20 dport 80 uidrange 0-5 priority 101 lookup main suppress_prefixlength 0",
    "fwmark 0x80 priority 102 goto 200",
    "priority 103 nop",
    "priority 104 lookup main suppress_ifgroup 3",
    "priority 200 prohibit",
    "from 10.0.0.100 priority 1536 lookup 2",
)


@pytest.mark.twin
def test_it_prints_what_ip_prints(linux: Linux) -> None:
    net, there = Lab().host("node"), linux.namespace("node")
    for rule in RULES:
        rule_add(net, rule)
        linux.run(there, "ip", "rule", "add", *rule.split())
    shown = ip_rules(net)
    assert [line.rstrip() for line in linux.run(there, "ip", "rule", "show").splitlines()] == shown.text.splitlines()
    assert json.loads(linux.run(there, "ip", "-j", "rule", "show")) == shown.data
