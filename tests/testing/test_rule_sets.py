"""Drawn rule sets load, come out of iptables-save as they went in, and no packet breaks what every namespace keeps."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from emu.kernel.netfilter.save import parse_restore, save
from emu.testing import invariants
from emu.testing.rules import rule_sets
from emu.testing.strategies import Spot, Topology, Traffic, examples, traffic

TOPOLOGY = Topology(1, (Spot(0, False), Spot(0, True)))


@given(rule_sets())
@examples(200)
def test_a_drawn_text_loads_and_is_saved_as_it_is(text: str) -> None:
    saved = save(parse_restore(text))
    assert save(parse_restore(saved)) == saved
    assert saved.count("\n-A ") == text.count("\n-A ")


@given(rule_sets(), st.lists(traffic(TOPOLOGY), min_size=1, max_size=3))
@examples(120)
def test_whatever_the_rules_are_the_router_keeps_its_invariants(text: str, flows: list[Traffic]) -> None:
    network = TOPOLOGY.build()
    network.routers[0].ipv4.tables.restore(text)
    for number, each in enumerate(flows, 1):
        network.send(each, number)
    network.lab.run(5)
    invariants.hold(network.lab)
