"""A link that goes down and comes up: which routes go, which stay, which come back (measured on Linux 6.18)."""

from __future__ import annotations

from emu.kernel import boot
from emu.kernel.net.netns import Netns
from emu.lab import Lab


def texts(net: Netns) -> set[str]:
    return {
        route.text() for number in (254, 255) for route in net.ipv4.fib.table(number) if route.device.name == "eth0"
    }


def test_down_and_up() -> None:
    lab = Lab(capture=False)
    one, other = lab.host("one"), lab.host("other")
    lab.cable(one, "10.0.0.1/24", other, "10.0.0.2/24")
    boot.route(one, "10.9.0.0/16 via 10.0.0.2 dev eth0")
    kernel = {route.text() for number in (254, 255) for route in one.ipv4.fib.table(number) if route.proto == "kernel"}
    before = texts(one)
    one.set_link("eth0", up=False)
    assert texts(one) == {"local 10.0.0.1 dev eth0 proto kernel scope host src 10.0.0.1"}
    assert one.ipv4.is_local(0x0A000001)
    one.set_link("eth0", up=True)
    assert texts(one) == before & kernel, "connected routes come back, people's do not"


def test_a_device_that_goes_leaves_nothing() -> None:
    lab = Lab(capture=False)
    one, other = lab.host("one"), lab.host("other")
    near, _far = lab.cable(one, "10.0.0.1/24", other, "10.0.0.2/24")
    one.detach(near)
    assert [route.text() for number in (254, 255) for route in one.ipv4.fib.table(number) if route.device is near] == []
    assert not one.ipv4.is_local(0x0A000001)
