"""New rules wait for the next packet: whatever comes first finds them, and hooks of others stay in their order."""

from __future__ import annotations

from emu.clock import Clock
from emu.kernel import boot
from emu.kernel.netfilter.hooks import FORWARD, PRE_ROUTING, PRI_FILTER, PRI_RAW, Drop, HookState
from emu.kernel.netfilter.save import parse_restore
from emu.kernel.netfilter.table import Tables
from emu.wire.frame import Frame
from rules import packet

ACCEPTS = "*filter\n-A FORWARD -p tcp -j ACCEPT\nCOMMIT\n*nat\n-A PREROUTING -j ACCEPT\nCOMMIT\n"
DROPS = ACCEPTS.replace("-p tcp -j ACCEPT", "-p tcp -j DROP")


def tables() -> Tables:
    net = boot.namespace(Clock(), "node")
    net.ipv4.tables.replace(parse_restore(ACCEPTS))
    found: Tables = net.ipv4.tables
    return found


def test_the_next_packet_meets_the_new_rules() -> None:
    made = tables()
    hooks, before = made._hooks, made._hooks.fns[FORWARD]
    assert hooks.run(FORWARD, packet("10.0.0.1", "10.0.0.2")) is None
    made.replace(parse_restore(DROPS))
    assert hooks.fns[FORWARD] != before and len(hooks.fns[FORWARD]) == 1
    assert isinstance(hooks.run(FORWARD, packet("10.0.0.1", "10.0.0.2")), Drop)
    made.replace(parse_restore(DROPS))
    made.replace(parse_restore(ACCEPTS))  # twice before a packet
    assert hooks.run(FORWARD, packet("10.0.0.1", "10.0.0.2")) is None
    assert len(hooks.fns[FORWARD]) == 1


def test_the_nat_table_is_the_new_one() -> None:
    made = tables()
    old = made.nat_chain(PRE_ROUTING)
    made.replace(parse_restore(ACCEPTS))
    assert made.nat_chain(PRE_ROUTING) not in (None, old)
    assert made.nat_chain(FORWARD) is None


def test_other_hook_functions_may_come_meanwhile() -> None:
    made, seen = tables(), []

    def early(frame: Frame, state: HookState) -> None:
        seen.append("early")

    def late(frame: Frame, state: HookState) -> None:
        seen.append("late")

    hooks = made._hooks
    hooks.register(FORWARD, PRI_RAW, early)
    made.replace(parse_restore(DROPS))
    hooks.register(FORWARD, PRI_FILTER + 1, late)
    assert isinstance(hooks.run(FORWARD, packet("10.0.0.1", "10.0.0.2")), Drop)
    assert (seen, len(hooks.fns[FORWARD])) == (["early"], 3)
    made.replace(parse_restore(ACCEPTS))
    assert hooks.run(FORWARD, packet("10.0.0.1", "10.0.0.2")) is None
    assert seen == ["early", "early", "late"]


def test_a_hook_that_gets_or_loses_its_rules_changes_at_once() -> None:
    """A hook without functions costs a packet nothing, so that it matters whether there are any."""
    made = tables()
    made.replace(parse_restore("*nat\nCOMMIT\n"))
    assert (made._hooks.fns[FORWARD], made.nat_chain(PRE_ROUTING)) == ((), None)
    made.replace(parse_restore(DROPS))
    assert len(made._hooks.fns[FORWARD]) == 1


def test_counters_go_over_though_no_packet_came() -> None:
    made = tables()
    frame = packet("10.0.0.1", "10.0.0.2")
    made._hooks.run(FORWARD, frame)
    rules = made.ruleset
    made.replace(parse_restore(DROPS))
    made.replace(rules)
    assert sum(count for count, _ in made.counters.values()) == 0  # other rules were in force in between
    made._hooks.run(FORWARD, frame)
    made.replace(rules)
    assert [count for count, _ in made.counters.values()] == [1]
