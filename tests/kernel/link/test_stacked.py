"""VLAN, macvlan and ipvlan devices beside the kernel's: the same commands and frames, and what each interface sees.

`recorded/links.json` is of a kernel that has them all; where this machine's kernel has a case's devices, it is asked as well.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest

from emu.clock import Clock
from emu.errors import InputError
from emu.kernel import boot
from emu.kernel.link.device import Device
from emu.kernel.net import link_change, stacked_links
from emu.kernel.net.netns import Netns
from link_cases import CASES
from link_pair import TwinError, emulated, kernel
from twins import needs_twin

RECORDED = Path(__file__).parents[2] / "reference" / "recorded" / "links.json"
MAC = bytes((2, 0, 0, 0, 1, 0))
OTHER = bytes((2, 0, 0, 0, 1, 1))
# A macvlan filters groups by 8 bits of a hash that is salted by its namespace (drivers/net/macvlan.c, mc_hash): one run in
# some sixty lets a foreign group in. New namespaces have new salts.
KERNELS = 3


@cache
def recorded() -> dict[str, list[list[str]]]:
    found: dict[str, list[list[str]]] = json.loads(RECORDED.read_text())["cases"]
    return found


def test_every_case_is_recorded() -> None:
    assert sorted(recorded()) == sorted(CASES)


@pytest.mark.parametrize("name", CASES)
def test_each_interface_sees_what_a_kernel_shows(name: str) -> None:
    case = CASES[name]
    for act, theirs, ours in zip(case.acts, recorded()[name], emulated(case), strict=True):
        assert ours == theirs, act


@pytest.mark.parametrize("name", [pytest.param(name, marks=needs_twin) for name in CASES if name.startswith("macvlan")])
def test_this_machines_kernel_does_the_same(name: str) -> None:
    ours = emulated(CASES[name])
    for _ in range(KERNELS):
        try:
            theirs = kernel(CASES[name])
        except TwinError as error:
            pytest.skip(f"skipped: {error}")
        if ours == theirs:
            return
    assert ours == theirs


# -- devices --------------------------------------------------------------------------------------


@pytest.fixture
def node() -> Netns:
    clock = Clock(1)
    net = boot.namespace(clock, "node")
    boot.veth(net, "eth0", boot.namespace(clock, "lan"), "eth0", bytes((2, 0, 0, 0, 0, 1)), bytes((2, 0, 0, 0, 0, 2)))
    return net


def wrong(call: object) -> str:
    assert callable(call)
    with pytest.raises(InputError) as caught:
        call()
    return caught.value.what


def test_what_the_kernel_refuses(node: Netns) -> None:
    eth0, lo = node.device("eth0"), node.device("lo")
    stacked_links.vlan(node, "v5", eth0, 5)
    assert wrong(lambda: stacked_links.vlan(node, "w5", eth0, 5)) == "file exists"
    assert wrong(lambda: stacked_links.vlan(node, "v5", eth0, 6)) == "file exists"
    assert wrong(lambda: stacked_links.vlan(node, "v4095", eth0, 4095)) == "numerical result out of range"
    assert wrong(lambda: stacked_links.vlan(node, "v7", eth0, 7, mtu=1501)) == "invalid argument"
    assert wrong(lambda: stacked_links.vlan(node, "v7", lo, 7)) == "operation not supported"
    assert wrong(lambda: link_change.set_mtu(node.device("v5"), 1501)) == "numerical result out of range"
    stacked_links.macvlan(node, "m0", eth0, MAC)
    assert wrong(lambda: stacked_links.ipvlan(node, "i0", eth0)) == "device or resource busy"
    assert wrong(lambda: stacked_links.macvlan(node, "m1", eth0, OTHER, "passthru")) == "invalid argument"
    bridge = boot.bridge(node, "br0", bytes((2, 0, 0, 0, 0, 3)))
    assert "another device has its frames" in wrong(lambda: bridge.add_port(eth0))


def test_two_children_with_one_mac_are_not_up_together(node: Netns) -> None:
    eth0 = node.device("eth0")
    stacked_links.macvlan(node, "m0", eth0, MAC)
    stacked_links.macvlan(node, "m1", eth0, MAC)
    node.set_link("m0", up=True)
    assert wrong(lambda: node.set_link("m1", up=True)) == "address already in use"
    link_change.set_mac(node, node.device("m1"), OTHER)
    node.set_link("m1", up=True)
    assert wrong(lambda: link_change.set_mac(node, node.device("m1"), MAC)) == "address already in use"


def test_the_lower_device_takes_the_others_with_it(node: Netns) -> None:
    eth0 = node.device("eth0")
    pod = boot.namespace(node.clock, "pod")
    made: list[Device] = [stacked_links.vlan(pod, "v5", eth0, 5), stacked_links.macvlan(pod, "m0", eth0, MAC)]
    for each in made:
        pod.set_link(each.name, up=True)
    link_change.set_mtu(eth0, 1400)
    assert [each.mtu for each in made] == [1400, 1400]
    link_change.set_mac(node, eth0, bytes((2, 0, 0, 0, 0, 9)))
    assert [each.mac[-1] for each in made] == [9, 0]  # a VLAN bears the lower device's address
    node.set_link("eth0", up=False)
    assert [(each.up, each.carrier) for each in made] == [(False, False), (True, False)]
    assert wrong(lambda: pod.set_link("v5", up=True)) == "network is down"
    node.set_link("eth0", up=True)
    assert [(each.up, each.carrier) for each in made] == [(True, True), (True, True)]
    link_change.delete(eth0)
    assert sorted(pod.devices) == ["lo"]


def test_the_last_child_gives_the_lower_device_back(node: Netns) -> None:
    eth0 = node.device("eth0")
    for name in ("i0", "i1"):
        stacked_links.ipvlan(node, name, eth0, "l3")
    link_change.delete(node.device("i0"))
    assert wrong(lambda: stacked_links.macvlan(node, "m0", eth0, MAC)) == "device or resource busy"
    link_change.delete(node.device("i1"))
    stacked_links.macvlan(node, "m0", eth0, MAC)
    assert wrong(lambda: link_change.set_mac(node, stacked_links.ipvlan(node, "i2", node.device("m0")), MAC))


def test_all_ipvlans_of_a_device_are_in_the_mode_of_the_newest(node: Netns) -> None:
    eth0 = node.device("eth0")
    first = stacked_links.ipvlan(node, "i0", eth0, "l2")
    assert not first.noarp
    stacked_links.ipvlan(node, "i1", eth0, "l3s")
    assert [first.noarp, first.port.mode] == [True, "l3s"]
