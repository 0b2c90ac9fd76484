"""What `ip link set` changes of a device, and what the kernel refuses."""

from __future__ import annotations

import pytest

from emu.clock import Clock
from emu.errors import InputError
from emu.kernel import boot
from emu.kernel.net import link_change
from emu.kernel.net.netns import Netns

ONE, OTHER, NEW = (bytes((2, 0, 0, 0, 0, last)) for last in (1, 2, 3))


def pair() -> tuple[Netns, Netns]:
    clock = Clock(1)
    net, far = boot.namespace(clock, "net"), boot.namespace(clock, "far")
    boot.veth(net, "eth0", far, "eth1", ONE, OTHER)
    boot.address(net, "eth0", "10.0.0.1/24")
    return net, far


@pytest.mark.parametrize("mac", [bytes(6), b"\1\0\0\0\0\1", b"\xff" * 6])
def test_an_address_that_is_no_devices(mac: bytes) -> None:
    net, _ = pair()
    with pytest.raises(InputError, match="cannot assign requested address"):
        link_change.set_mac(net, net.device("eth0"), mac)
    assert net.device("eth0").mac == ONE


def test_a_bridge_knows_its_new_address() -> None:
    net, _ = pair()
    bridge = boot.bridge(net, "br0", OTHER)
    link_change.set_mac(net, bridge, NEW)
    assert bridge.mac == NEW
    assert NEW in bridge.fdb
    assert OTHER not in bridge.fdb


@pytest.mark.parametrize(("mtu", "fits"), [(67, False), (68, True), (65535, True), (65536, False)])
def test_bounds_of_the_mtu(mtu: int, fits: bool) -> None:
    net, _ = pair()
    device = net.device("eth0")
    if fits:
        link_change.set_mtu(device, mtu)
    else:
        with pytest.raises(InputError, match="invalid argument"):
            link_change.set_mtu(device, mtu)
    assert device.mtu == (mtu if fits else 1500)


def test_the_promiscuous_flag_counts_once() -> None:
    net, _ = pair()
    device = net.device("eth0")
    for _ in range(2):
        link_change.set_promisc(device, on=True)
    link_change.set_promisc(device, on=False)
    assert not device.promisc


def test_a_device_that_moves_leaves_everything_behind() -> None:
    net, far = pair()
    bridge = boot.bridge(net, "br0", NEW)
    device = net.device("eth0")
    bridge.add_port(device)
    net.sysctl["net.ipv4.conf.eth0.rp_filter"] = 2
    link_change.move(device, net, far, "net1")
    assert [*net.devices] == ["lo", "br0"]
    assert (device.net, device.name, device.up, device.master) == (far, "net1", False, None)
    assert not bridge.ports
    assert not net.ipv4.fib.main
    assert far.sysctl.conf("net1", "rp_filter") == 0
    assert not far.device("eth1").carrier


def test_a_name_that_is_taken() -> None:
    net, far = pair()
    with pytest.raises(InputError, match="file exists"):
        link_change.move(net.device("eth0"), net, far, "eth1")
    assert net.device("eth0").up
    assert len(net.ipv4.fib.main) == 1
