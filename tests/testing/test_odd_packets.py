"""Each odd packet that is drawn can be built, and the kinds that people name are among them."""

from __future__ import annotations

import re

from hypothesis import Phase, given, seed, settings

from emu import craft
from emu.scenario.script import load_text
from emu.scenario.steps.send import Send
from emu.testing.odd_packets import odd_packets
from emu.testing.scenarios import BRIDGED, MACS, MOST_ODD, NETWORKS, SmallScenario, small_scenarios
from emu.testing.strategies import examples

ODD = odd_packets(BRIDGED, MACS)


@examples(100)
@given(ODD)
def test_it_can_be_built(text: str) -> None:
    packet = craft.expression(text)
    assert craft.build(packet, 0x0AF40102, bytes(6))
    assert len(text) < 500


KINDS = (
    r"^IP\(.*/UDP\(", r"/TCP\(.*flags='F", r"^IP\(.*options=b", r"ICMP\(type=3.*/IP\(", r"^IP\([^)]*\)/IP\(", r"/VXLAN\(", r"/SCTP\(",
    r"^IP\(.*proto=\d", r"^Ether\([^)]*\)/ARP\(", r"/Dot1Q\(", r"^Dot3\(", r"ttl=0", r"frag=8191", r"src='127\.0\.0\.1'",
)  # fmt: skip


def test_each_kind_is_drawn() -> None:
    texts: list[str] = []

    @seed(1)
    @settings(max_examples=1200, database=None, deadline=None, phases=[Phase.generate])
    @given(ODD)
    def collect(text: str) -> None:
        texts.append(text)

    collect()
    assert [kind for kind in KINDS if not any(re.search(kind, text) for text in texts)] == []


@examples(30)
@given(small_scenarios(networks=NETWORKS, wide=True, odd=True))
def test_a_scenario_has_few_of_them_and_as_they_were_drawn(drawn: SmallScenario) -> None:
    sent = [step.part for step in load_text(drawn.text).steps if isinstance(step.part, Send)]
    flows = [flow.to for flow in drawn.flows if flow.kind == "send"]
    assert [part.scapy for part in sent] == flows
    assert len(drawn.flows) <= 4 + MOST_ODD
