"""The walk over chains: jumps, verdicts, policies, counters, trails, and where tables stand at the hooks."""

from __future__ import annotations

import pytest

from emu.errors import InputError
from emu.kernel.netfilter.hooks import FORWARD, LOCAL_OUT, POST_ROUTING, PRE_ROUTING, Drop, Reject
from emu.kernel.netfilter.ruleset import RuleSet
from emu.kernel.netfilter.table import Tables
from emu.trail import Policy
from rules import FakeNetns, packet, ruleset


def names(trail: list) -> list[str]:
    return [str(entry) for entry in trail]


def test_jump_goto_and_return_walk_as_in_the_kernel() -> None:
    net = FakeNetns()
    net.tables.replace(
        ruleset(
            "filter", ":a - [0:0]", ":b - [0:0]", ":c - [0:0]",
            "-A FORWARD -j a", "-A FORWARD -j DROP",
            "-A a -p udp -j ACCEPT", "-A a -j b", "-A a -j ACCEPT",
            "-A b -g c", "-A b -j DROP",
            "-A c -p tcp -m tcp --dport 80 -j RETURN", "-A c -j DROP",
        )
    )  # fmt: skip
    frame = packet(dport=80)
    assert net.run("FORWARD", frame) is None
    assert names(frame.trail or []) == [
        "-A FORWARD -j a",
        "-A a -j b",
        "-A b -g c",
        "-A c -p tcp -m tcp --dport 80 -j RETURN",
        "-A a -j ACCEPT",  # the goto's chain returns to where b was called, past b's own rest
    ]
    frame = packet(dport=81)
    verdict = net.run("FORWARD", frame)
    assert isinstance(verdict, Drop)
    assert (verdict.reason, str(verdict.by)) == ("NETFILTER_DROP", "-A c -j DROP")


def test_a_policy_decides_at_the_end_and_after_a_return() -> None:
    net = FakeNetns()
    net.tables.replace(ruleset("filter", ":FORWARD DROP [0:0]", "-A FORWARD -p tcp -j RETURN", "-A FORWARD -j ACCEPT"))
    frame = packet()
    verdict = net.run("FORWARD", frame)
    assert isinstance(verdict, Drop)
    assert verdict.by == Policy("filter", "FORWARD", "DROP")
    assert (frame.trail or [])[-1] == Policy("filter", "FORWARD", "DROP")
    frame = packet(proto=17)
    assert net.run("FORWARD", frame) is None
    assert names(frame.trail or []) == ["-A FORWARD -j ACCEPT"]  # ACCEPT by policy would be noise


def test_reject_states_what_to_answer_and_which_rule() -> None:
    net = FakeNetns()
    net.tables.replace(ruleset("filter", "-A OUTPUT -p tcp -j REJECT --reject-with tcp-reset", "-A OUTPUT -j REJECT"))
    for proto, word, number in ((6, "tcp-reset", 1), (17, "icmp-port-unreachable", 2)):
        verdict = net.run("OUTPUT", packet(proto=proto))
        assert isinstance(verdict, Reject)
        assert (verdict.with_, verdict.by.number) == (word, number)


def test_empty_chains_are_not_at_the_hooks_and_rules_come_and_go() -> None:
    net = FakeNetns()
    assert net.hooks.fns == [(), (), (), (), ()]
    net.tables.restore("*filter\n:FORWARD ACCEPT [0:0]\n:x - [0:0]\n-A x -j DROP\nCOMMIT\n*mangle\nCOMMIT\n")
    assert net.hooks.fns == [(), (), (), (), ()]
    net.tables.restore("*raw\n-A PREROUTING -p tcp\nCOMMIT\n*mangle\n-A PREROUTING -p tcp\nCOMMIT\n")
    net.tables.restore("*filter\n-A FORWARD -p tcp\nCOMMIT\n", noflush=True)
    assert [len(fns) for fns in net.hooks.fns] == [2, 0, 1, 0, 0]
    frame = packet()
    net.run("PREROUTING", frame)
    assert [rule.table for rule in frame.trail or []] == ["raw", "mangle"]
    net.tables.replace(RuleSet({}))
    assert net.hooks.fns == [(), (), (), (), ()]


def test_a_frame_without_trail_walks_and_counts_too() -> None:
    net = FakeNetns()
    net.tables.replace(ruleset("filter", ":INPUT DROP [0:0]", "-A INPUT -p udp"))
    frame = packet(proto=17, size=72)
    frame.trail = None
    assert isinstance(net.run("INPUT", frame), Drop)
    net.run("INPUT", packet(proto=17))
    net.run("INPUT", packet(proto=6))
    rule = net.tables.ruleset.tables["filter"]["INPUT"].rules[0]
    assert net.tables.counters == {rule: [2, 100 + 28]}
    assert "[2:128] -A INPUT -p udp\n" in net.tables.save(counters=True)


def test_counters_are_each_namespaces_own_and_stay_with_rules_that_stay() -> None:
    rules = ruleset("filter", ":u - [0:0]", "-A INPUT -j u", "-A u -p tcp")
    one, two = FakeNetns(), FakeNetns()
    one.tables.replace(rules)
    two.tables.replace(rules)
    one.run("INPUT", packet())
    assert len(one.tables.counters) == 2
    assert two.tables.counters == {}
    one.tables.restore("*filter\n-I INPUT -j ACCEPT\nCOMMIT\n", noflush=True)
    assert {(str(rule), rule.number): count for rule, count in one.tables.counters.items()} == {
        ("-A INPUT -j u", 2): [1, 40],
        ("-A u -p tcp", 1): [1, 40],
    }
    one.tables.restore("*filter\n:u - [0:0]\n-A u -p tcp\nCOMMIT\n", noflush=True)
    assert [str(rule) for rule in one.tables.counters] == ["-A INPUT -j u"]  # a chain named again begins at zero


def test_wrong_text_changes_nothing() -> None:
    net = FakeNetns()
    net.tables.restore("*filter\n-A INPUT -p tcp\nCOMMIT\n")
    before = net.tables.ruleset
    with pytest.raises(InputError, match="NOWHERE"):
        net.tables.restore("*filter\n-A INPUT -p udp\nCOMMIT\n*nat\n-A NOWHERE\nCOMMIT\n")
    assert net.tables.ruleset is before


def test_the_nat_table_waits_to_be_asked() -> None:
    net = FakeNetns()
    net.tables.replace(ruleset("nat", ":a - [0:0]", "-A PREROUTING -j a", "-A a -p tcp -j ACCEPT"))
    assert net.hooks.fns == [(), (), (), (), ()]
    assert net.tables.nat_chain(LOCAL_OUT) is None
    assert net.tables.nat_chain(POST_ROUTING) is None
    chain = net.tables.nat_chain(PRE_ROUTING)
    assert chain is not None
    frame = packet()
    assert chain(frame, net.state("PREROUTING")) is None
    assert names(frame.trail or []) == ["-A PREROUTING -j a", "-A a -p tcp -j ACCEPT"]


def test_mangle_output_routes_again_what_it_changed() -> None:
    net = FakeNetns()
    net.tables.replace(ruleset("mangle", "-A OUTPUT -p tcp -j MARK --set-mark 5", "-A OUTPUT -p icmp -j DROP"))
    assert net.run("OUTPUT", packet(proto=17)) is None
    assert net.rerouted == 0
    assert net.run("OUTPUT", packet()) is None
    assert net.rerouted == 1
    assert net.run("OUTPUT", packet(mark=5)) is None
    assert isinstance(net.run("OUTPUT", packet(proto=1)), Drop)
    assert net.rerouted == 1
    net.unroutable = "EINVAL"
    refused = net.run("OUTPUT", packet())
    assert isinstance(refused, Drop)
    assert refused.error == "EINVAL"


def test_merge_keeps_each_sides_order() -> None:
    ours = ruleset("nat", ":CNI-X - [0:0]", "-A POSTROUTING -s 10.244.0.0/16 -j CNI-X", "-A POSTROUTING -p tcp")
    more = ruleset("nat", ":K - [0:0]", "-A POSTROUTING -j K", "-A PREROUTING -j K")
    after = ours.merge(more)
    assert [str(rule) for rule in after.tables["nat"]["POSTROUTING"].rules] == [
        "-A POSTROUTING -s 10.244.0.0/16 -j CNI-X",
        "-A POSTROUTING -p tcp",
        "-A POSTROUTING -j K",
    ]
    before = ours.merge(more, insert=True)
    chain = before.tables["nat"]["POSTROUTING"]
    assert [rule.number for rule in chain.rules] == [1, 2, 3]
    assert str(chain.rules[0]) == "-A POSTROUTING -j K"
    assert set(before.tables["nat"]) >= {"CNI-X", "K"}
    assert before.chain("nat", "CNI-X") is ours.chain("nat", "CNI-X")
    assert before.chain("nat", "PREROUTING") is more.chain("nat", "PREROUTING")
    both = ruleset("filter", ":FORWARD DROP [0:0]").merge(ruleset("filter", "-A FORWARD -j ACCEPT"))
    assert both.tables["filter"]["FORWARD"].policy == "DROP"
    assert set(ours.merge(both).tables) == {"nat", "filter"}


def test_tables_start_with_the_rules_they_are_given() -> None:
    net = FakeNetns()
    tables = Tables(net.hooks, ruleset("filter", "-A FORWARD -j DROP"))
    assert isinstance(net.hooks.run(FORWARD, packet()), Drop)
    assert "-A FORWARD -j DROP" in tables.save()
