"""The dummy plugin on emulated namespaces: what it makes, what happens to packets there, and how it fails.

The machine's plugins have no `dummy`, and its kernel makes no such device: the plugin's and the driver's sources are the
reference here.
"""

from __future__ import annotations

from typing import Any

import pytest

from emu.clock import SECOND, Clock
from emu.kernel import boot
from emu.kernel.link.device import OUT
from emu.kernel.link.dummy import Dummy
from emu.kernel.net.netns import Netns
from emu.kube.cni import invoke
from emu.kube.cni.plugins.host_local import HostLocalStore
from emu.kube.cni.spec import Attachment, CniError, Host
from emu.wire.addr import mac_text

STATIC = {"type": "static", "addresses": [{"address": "10.5.0.1/24"}]}
HOST_LOCAL = {"type": "host-local", "ranges": [[{"subnet": "10.5.0.0/24"}]]}


class Machine:
    """A node and one container."""

    def __init__(self) -> None:
        clock = Clock(1)
        self.node, self.pod = boot.namespace(clock, "node"), boot.namespace(clock, "pod")
        self.attachment = Attachment("c1", self.pod, "dummy0", Host(self.node))

    def config(self, **keys: Any) -> dict[str, Any]:
        return {"cniVersion": "1.0.0", "name": "net", "type": "dummy", **keys}

    def add(self, **keys: Any) -> dict[str, Any]:
        return invoke.add("dummy", self.config(**keys), self.attachment).to_json("1.0.0")

    def check(self, result: dict[str, Any], **keys: Any) -> None:
        invoke.check("dummy", self.config(prevResult=result, **keys), self.attachment)

    def delete(self, **keys: Any) -> None:
        invoke.delete("dummy", self.config(**keys), self.attachment)


def pings(net: Netns, target: str) -> bool:
    socket = net.sockets.ping()
    socket.send(target, 1)
    net.clock.run(limit_ns=net.clock.now + SECOND)
    socket.close()
    return len(socket.replies) == 1


def test_what_is_there_after_add() -> None:
    machine = Machine()
    result = machine.add(ipam=STATIC)
    device = machine.pod.device("dummy0")
    assert isinstance(device, Dummy)
    assert (device.up, device.mtu, device.mac[0] & 3) == (True, 1500, 2)
    assert result == {
        "cniVersion": "1.0.0",
        "interfaces": [{"name": "dummy0", "mac": mac_text(device.mac), "sandbox": "/var/run/netns/pod"}],
        "ips": [{"address": "10.5.0.1/24", "interface": 0}],
    }
    assert [route.text() for route in machine.pod.ipv4.fib.main] == [
        "10.5.0.0/24 dev dummy0 proto kernel scope link src 10.5.0.1"
    ]
    machine.check(result, ipam=STATIC)


def test_its_own_address_answers_and_what_leaves_is_gone_without_arp() -> None:
    machine = Machine()
    machine.add(ipam=STATIC)
    sent: list[int] = []
    machine.pod.device("dummy0").tap = lambda frame, direction: sent.append(frame.ethertype)
    assert pings(machine.pod, "10.5.0.1")
    assert sent == []
    assert not pings(machine.pod, "10.5.0.9")
    assert sent == [0x0800]
    assert machine.pod.absorbed == 1
    assert not machine.pod.drops
    tally = machine.pod.tally()
    assert (tally.entered, tally.waiting) == (tally.ended, 0)


def test_the_tap_sees_the_direction() -> None:
    machine = Machine()
    machine.add(ipam=STATIC)
    seen: list[int] = []
    machine.pod.device("dummy0").tap = lambda frame, direction: seen.append(direction)
    pings(machine.pod, "10.5.0.9")
    assert seen == [OUT]


def test_del_and_del_again() -> None:
    machine = Machine()
    machine.add(ipam=HOST_LOCAL)
    machine.delete(ipam=HOST_LOCAL)
    machine.delete(ipam=HOST_LOCAL)
    assert [*machine.pod.devices] == ["lo"]
    assert not machine.pod.ipv4.fib.tables[254]
    assert HostLocalStore.of(machine.attachment.host, "net", "/var/lib/cni/networks").owner_of == {}


@pytest.mark.parametrize(
    ("keys", "msg", "left"),
    [
        ({}, "dummy interface requires an IPAM configuration", ["lo"]),
        ({"ipam": {"type": "nosuch"}}, 'failed to find plugin "nosuch": emu has aws-cni, ', ["lo"]),
        # here the device stays, as the plugin has it
        ({"ipam": {"type": "static"}}, "IPAM plugin returned missing IP config", ["lo", "dummy0"]),
    ],
)
def test_a_failed_add(keys: dict[str, Any], msg: str, left: list[str]) -> None:
    machine = Machine()
    with pytest.raises(CniError) as failed:
        machine.add(**keys)
    assert failed.value.code == 999 and failed.value.msg.startswith(msg)
    assert [*machine.pod.devices] == left


def test_an_add_that_cannot_set_its_route_gives_everything_back() -> None:
    machine = Machine()
    ipam = {**HOST_LOCAL, "routes": [{"dst": "0.0.0.0/0", "gw": "9.9.9.9"}]}
    with pytest.raises(CniError, match="network is unreachable"):
        machine.add(ipam=ipam)
    assert [*machine.pod.devices] == ["lo"]
    assert HostLocalStore.of(machine.attachment.host, "net", "/var/lib/cni/networks").owner_of == {}


def test_an_add_twice() -> None:
    machine = Machine()
    machine.add(ipam=STATIC)
    with pytest.raises(CniError, match="failed to create dummy: file exists"):
        machine.add(ipam=STATIC)
    assert machine.pod.device("dummy0").up


def test_check_of_what_was_damaged() -> None:
    machine = Machine()
    result = machine.add(ipam=STATIC)

    def found() -> str:
        with pytest.raises(CniError) as failed:
            machine.check(result, ipam=STATIC)
        return failed.value.msg

    device = machine.pod.device("dummy0")
    machine.pod.ipv4.remove_address(next(each for each in machine.pod.ipv4.addresses if each.device is device))
    assert found() == "Failed to match addr 10.5.0.1/24 on interface dummy0"
    machine.pod.set_link("dummy0", up=False)
    assert found() == "Interface dummy0 is down"
    former, device.mac = device.mac, b"\2\0\0\0\0\1"
    assert found() == (f"Interface dummy0 Mac {mac_text(former)} doesn't match container Mac: 02:00:00:00:00:01")
    machine.pod.detach(device)
    assert found() == "Container Interface name in prevResult: dummy0 not found"
    boot.veth(machine.pod, "dummy0", machine.node, "other", former, former)
    assert found() == "Error: Container interface dummy0 not of type dummy"
    with pytest.raises(CniError, match=r"^Required prevResult missing"):  # the IPAM is asked first
        machine.check({}, ipam=STATIC)
    with pytest.raises(CniError, match="dummy interface requires an IPAM configuration"):
        machine.check(result)


def test_check_without_a_result() -> None:
    machine = Machine()
    machine.add(ipam=HOST_LOCAL)
    with pytest.raises(CniError, match="dummy: Required prevResult missing"):
        machine.check({}, ipam=HOST_LOCAL)
