"""The nodes' interfaces as `ip` wires them by the scenario's own words, beside the emulator's: several LANs, cables, MACs, MTUs, gateways."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from emu.kernel import boot
from emu.kernel.net.netns import Netns
from emu.scenario.build import build
from emu.scenario.script import load_text
from emu.twin import judge
from emu.twin.machines import compared
from twins import agrees, needs_twin

pytestmark = needs_twin

HEAD = "apiVersion: emu/v1\nkind: Scenario\nmetadata: {name: machines}\ncluster:\n"
TWO = """\
  underlay: switched
  lans:
  - {name: front, subnet: 192.168.1.0/24, mtu: 1400}
  - {name: wide, subnet: 172.20.0.0/16, gateway: 172.20.255.254}
  - {name: storage, subnet: 10.9.0.0/28, gateway: false, mtu: 9000}
  nodes:
  - name: a
    interfaces:
    - {name: eth0, lan: front, address: 192.168.1.40/24, mac: "52:54:00:00:00:01"}
    - {name: eth1, address: 10.9.0.3/28, mtu: 1500}
  - name: b
    interfaces:
    - {name: ens3, lan: storage, address: 10.9.0.4/28}
    - {name: ens4, address: 172.20.0.9/16, gateway: true}
    - {name: ens5, address: 192.168.1.41/24}
  - name: c
    interfaces: [{lan: front, address: 192.168.1.42/25, gateway: 192.168.1.40, mtu: 1300}]
  - name: d
    interfaces: [{lan: front, address: 192.168.1.43/24, gateway: false}]
"""
CABLES = """\
  nodes:
  - name: a
    interfaces: [{address: 10.1.0.10/29, mac: "52:54:00:00:00:01"}, {name: eth1, address: 10.2.0.9/24, gateway: 10.2.0.7}]
  - {name: b, interfaces: [{address: 10.3.0.9/24, mtu: 9000}]}
"""


@pytest.mark.parametrize("text", [TWO, CABLES])
def test_the_kernel_has_the_same_interfaces(text: str) -> None:
    scenario = load_text(HEAD + text)
    cluster = build(scenario)
    assert compared(scenario.document.value["cluster"], cluster.namespaces) == []
    assert {net.name for net in cluster.namespaces.values()} >= {"a", "b"}


FAULTS: dict[str, Callable[[Netns], object]] = {
    "links": lambda net: net.device("eth1").set_mtu(1499),
    "addresses": lambda net: boot.address(net, "eth1", "10.9.0.7/28"),
    "routes": lambda net: net.ipv4.fib.remove(next(each for each in net.ipv4.fib.main if not each.prefix.length)),
}


@pytest.mark.parametrize("what", FAULTS)
def test_a_difference_is_found(what: str) -> None:
    scenario = load_text(HEAD + TWO)
    cluster = build(scenario)
    FAULTS[what](cluster.nodes["a"].net)
    found = compared(scenario.document.value["cluster"], cluster.namespaces)
    assert f"interfaces: {what}" in {each.what for each in found} and {each.where for each in found} == {"a"}


def test_it_is_a_part_of_the_twins_wiring(monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = load_text(HEAD + TWO + "steps: [{ping: {from: node/a, to: node/b}}]\n")
    agrees(scenario, "wiring", wiring=True)
    monkeypatch.setattr("emu.twin.machines.compared", lambda cluster, nets: compared({**cluster, "lans": []}, nets))
    assert judge(scenario, wiring=True, tries=1).exit_status == 1
