"""Rules that were looked at: the walk's own log of what it asked is the judge, and the reasons are read by people."""

from __future__ import annotations

from functools import partial

import pytest
from scapy.layers.inet import IP, UDP

import emu
from emu.capture.captured import Captured
from emu.capture.interface import Interface
from emu.kernel.netfilter import table
from emu.kernel.netfilter.hooks import LOCAL_IN, HookState
from emu.kernel.netfilter.lookup import Program, scan
from emu.kernel.netfilter.ruleset import Chain, Rule
from emu.report.passed_over import Looked, looked_at
from emu.scenario import gallery
from emu.scenario.run import run
from emu.wire.frame import Frame

RULES = """\
*nat
:PREROUTING ACCEPT [0:0]
:A - [0:0]
:B - [0:0]
-A PREROUTING -d 10.9.9.9/32 -j A
-A PREROUTING -p tcp -j A
-A PREROUTING -i eth1 -j A
-A PREROUTING -d 10.9.0.0/16 -p udp -m udp --dport 53 -j A
-A PREROUTING -m comment --comment "the one" -p udp -j A
-A PREROUTING -d 10.7.0.0/16 -j A
-A A -s 10.1.0.0/16 -j RETURN
-A A -m mark --mark 0x4 -j RETURN
-A A -m mark --mark 0x4 -m length --length 9999 -j RETURN
-A A -p udp -m udp --dport 9 -j B
-A A -j RETURN
-A B -p udp -m udp --sport 1:6 -j RETURN
-A B -p udp -j DNAT --to-destination 10.0.1.2:99
-A B -j RETURN
COMMIT
*filter
:FORWARD ACCEPT [0:0]
-A FORWARD -o eth0 -j DROP
-A FORWARD -d 10.9.9.1/32 -j DROP
-A FORWARD -p udp -m udp --dport 99 -j ACCEPT
-A FORWARD -j DROP
COMMIT
"""


def routed() -> tuple[list[Looked], Captured]:
    lab = emu.Lab()
    client, router, server = lab.host("client"), lab.router("router"), lab.host("server")
    lab.cable(client, "10.0.0.2/24", router, "10.0.0.1/24", default=True)
    lab.cable(server, "10.0.1.2/24", router, "10.0.1.1/24", default=True)
    lab.iptables(router, RULES)
    client.sockets.send_packet(IP(dst="10.9.9.1") / UDP(sport=7, dport=9))
    lab.run(1)
    frames = lab.frames()
    came = next(
        each for each in frames if each.interface == "router/eth0" and each.trail == () and "UDP" in each.line()
    )
    left = next(each for each in frames if each.interface == "router/eth1" and "UDP" in each.line())
    assert came.packet_number == left.packet_number
    return list(looked_at(left, router.ipv4.tables.ruleset, came.place)), left


def test_each_rule_that_was_passed_over_has_its_reason() -> None:
    looked, _ = routed()
    assert [(f"{each.rule.chain} {each.rule.number}", "matched" if each.matched else each.why) for each in looked] == [
        ("PREROUTING 1", "-d 10.9.9.9/32: the destination is 10.9.9.1"),
        ("PREROUTING 2", "-p tcp: the protocol is udp"),
        ("PREROUTING 3", "-i eth1: it came in by eth0"),
        ("PREROUTING 4", "--dport 53: the destination port is 9"),
        ("PREROUTING 5", "matched"),
        ("A 1", "-s 10.1.0.0/16: the source is 10.0.0.2"),
        ("A 2", "-m mark --mark 0x4 does not hold"),
        ("A 3", "one of these does not hold: -m mark --mark 0x4; -m length --length 9999"),
        ("A 4", "matched"),
        ("B 1", "--sport 1:6: the source port is 7"),
        ("B 2", "matched"),
        ("FORWARD 1", "-o eth0: it leaves by eth1"),
        ("FORWARD 2", "-d 10.9.9.1/32: the destination is 10.0.1.2"),
        ("FORWARD 3", "matched"),
    ]


@pytest.mark.pure("the walk is compiled anew with rules that note each question, in place of the module's own")
@pytest.mark.parametrize(
    "name", ["pod-to-service", "service-same-node", "aws-pod-to-internet", "hairpin-on", "calico-pod-to-pod"]
)
def test_what_was_looked_at_is_what_the_walk_asked(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each chain is compiled without an index, and each rule notes that it was asked. A walk without a match leaves nothing in
    the trail: its rules, all of a base chain, are not listed."""
    asked: dict[tuple[int, str], list[Rule]] = {}

    def noting(chain: Chain) -> Program:
        return tuple(((partial(note, rule), *tests), op, argument, rule) for tests, op, argument, rule in scan(chain))

    def note(rule: Rule, frame: Frame, state: HookState) -> bool:
        if state.hook != LOCAL_IN:
            asked.setdefault((frame.packet, state.net.name), []).append(rule)
        return True

    def unknown(*_: object) -> None:
        """No rules are remembered: each packet asks."""

    monkeypatch.setattr(table, "walker", partial(table.walker, compiled=noting, known=unknown))
    cluster = run(gallery.stories()[name]).cluster
    assert cluster.capture is not None
    came: dict[tuple[int, str], Interface] = {}
    found: dict[tuple[int, str], list[Looked]] = {}
    left: set[tuple[int, str]] = set()
    for each in cluster.capture.frames():
        place = each.packet_number, each.place.owner
        rules = cluster.namespaces[each.place.owner].ipv4.tables.ruleset
        looked = list(looked_at(each, rules, came.get(place)))
        found.setdefault(place, []).extend(looked)
        if each.direction == "in":
            came[place] = each.place
        elif each.direction == "out":
            left.add(place)
    compared = 0
    for place in left:
        silent = list(asked.get(place, ()))
        at = 0
        for one in found[place]:
            at = silent.index(one.rule, at)
            del silent[at]
            assert one.matched or one.why
        assert all(rule.based for rule in silent)
        compared += len(found[place])
    assert compared > 50
    assert any(not each.matched for looked in found.values() for each in looked)


def test_a_policy_that_drops_had_a_whole_chain_before_it() -> None:
    lab = emu.Lab()
    client, server = lab.host("client"), lab.host("server")
    lab.cable(client, "10.0.0.1/24", server, "10.0.0.2/24")
    lab.iptables(server, "-A INPUT -p tcp -j ACCEPT", "-A INPUT -s 10.0.0.9 -j ACCEPT", "-P INPUT DROP")
    client.sockets.send_packet(IP(dst="10.0.0.2") / UDP(sport=7, dport=9))
    lab.run(1)
    (dropped,) = lab.frames("server/drop")
    entry = next(each.place for each in lab.frames("server/eth0") if each.direction == "in")
    looked = looked_at(dropped, server.ipv4.tables.ruleset, entry)
    assert [(each.rule.number, each.why) for each in looked] == [
        (1, "-p tcp: the protocol is udp"),
        (2, "-s 10.0.0.9/32: the source is 10.0.0.1"),
    ]
