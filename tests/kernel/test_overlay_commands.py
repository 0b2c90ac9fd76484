"""Commands of ip link add, ip address, ip neigh and bridge fdb: what they change, and what they refuse in the kernel's words.

`tests/twin/test_twin_table_overlay_steps.py` has the kernel's side.
"""

from __future__ import annotations

import pytest

from emu.clock import Clock
from emu.errors import InputError
from emu.kernel import boot, commands
from emu.kernel.link.vxlan import Vxlan
from emu.kernel.net.netns import Netns
from emu.report import views

MAC = "02:00:00:00:00:09"


@pytest.fixture
def net() -> Netns:
    made, other = (boot.namespace(Clock(), name) for name in ("host", "other"))
    boot.veth(made, "eth0", other, "eth0", "02:00:00:00:00:01", "02:00:00:00:00:02")
    boot.address(made, "eth0", "10.0.0.1/24")
    return made


def addresses(net: Netns) -> list[str]:
    return [f"{each} {each.device.name}" for each in net.ipv4.addresses if each.device.name != "lo"]


def test_a_vxlan_device_is_added_down(net: Netns) -> None:
    commands.LINK["add"](
        net, f"name vx0 mtu 1300 address {MAC} type vxlan id 7 local 10.0.0.1 dev eth0 dstport 4789 nolearning"
    )
    device = net.device("vx0")
    assert isinstance(device, Vxlan) and not device.up
    assert (device.mtu, device.mac.hex(":")) == (1300, MAC)
    assert device.config.text() == "id 7 dstport 4789 local 10.0.0.1 dev eth0 udpcsum nolearning"
    commands.LINK["add"](net, "vx1 type vxlan id 8 dev eth0")
    assert net.device("vx1").mac[0] & 3 == 2 and net.device("vx1").mtu == 1450
    commands.LINK["set"](net, "vx0 up")
    assert net.device("vx0").up


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("vx0 type bridge", "a device of type 'bridge' is not made here"),
        ("vx0", "a device of type '' is not made here"),
        (" type vxlan id 7", "cannot read ''"),
        ("vx0 mtu type vxlan id 7", "cannot read 'vx0 mtu'"),
        ("vx0 mtu x type vxlan id 7", "'x' is no MTU"),
        ("vx0 txqueuelen 1 type vxlan id 7", "cannot read 'vx0 txqueuelen 1'"),
        ("vx0 address x type vxlan id 7", "'x'"),
    ],
)
def test_what_cannot_be_read_is_refused_without_the_host(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        commands.check_link("add", text)


def test_a_name_or_vni_that_is_taken(net: Netns) -> None:
    commands.LINK["add"](net, "vx0 type vxlan id 7 dev eth0")
    for text in (
        "vx0 type vxlan id 8 dev eth0",
        "vx1 type vxlan id 7 dev eth0",
        "eth0 type vxlan id 9",
        "vx2 type vxlan id 9 dev none",
    ):
        with pytest.raises(InputError):
            commands.LINK["add"](net, text)


def test_addresses(net: Netns) -> None:
    commands.ADDRESS["add"](net, "10.9.0.1/24 dev eth0")
    commands.ADDRESS["add"](net, "10.8.0.1 dev eth0")
    assert addresses(net) == ["10.0.0.1/24 eth0", "10.9.0.1/24 eth0", "10.8.0.1/32 eth0"]
    commands.ADDRESS["del"](net, "10.9.0.1/24 dev eth0")
    commands.ADDRESS["del"](net, "10.8.0.1 dev eth0")
    assert addresses(net) == ["10.0.0.1/24 eth0"]
    with pytest.raises(InputError, match="Cannot assign requested address"):
        commands.ADDRESS["del"](net, "10.9.0.1/24 dev eth0")
    for text in ("10.9.0.1/24", "10.9.0.1/24 eth0 dev", "x dev eth0"):
        with pytest.raises(InputError):
            commands.check_address("add", text)


def test_neighbours(net: Netns) -> None:
    commands.NEIGH["add"](net, f"10.0.0.9 lladdr {MAC} dev eth0")
    assert views["neigh"](net).text == f"10.0.0.9 dev eth0 lladdr {MAC} PERMANENT"
    with pytest.raises(InputError, match="File exists"):
        commands.NEIGH["add"](net, f"10.0.0.9 lladdr {MAC} dev eth0")
    commands.NEIGH["replace"](net, "10.0.0.9 lladdr 02:00:00:00:00:08 dev eth0 nud permanent")
    assert "02:00:00:00:00:08" in views["neigh"](net).text
    commands.NEIGH["del"](net, "10.0.0.9 dev eth0")
    assert views["neigh"](net).text == ""
    with pytest.raises(InputError, match="No such file or directory"):
        commands.NEIGH["del"](net, "10.0.0.9 dev eth0")
    for verb, text in (
        ("add", "10.0.0.9 dev eth0"),
        ("add", f"10.0.0.9 lladdr {MAC} dev eth0 nud stale"),
        ("del", "10.0.0.9"),
    ):
        with pytest.raises(InputError):
            commands.check_neigh(verb, text)


def test_forwarding_entries(net: Netns) -> None:
    commands.LINK["add"](net, "vx0 type vxlan id 7 dev eth0")
    commands.FDB["add"](net, f"{MAC} dev vx0 dst 10.0.0.2")
    with pytest.raises(InputError, match="has an fdb entry"):
        commands.FDB["add"](net, f"{MAC} dev vx0 dst 10.0.0.3")
    commands.FDB["replace"](net, f"{MAC} dev vx0 dst 10.0.0.4 port 99 vni 3 via eth0 self static")
    commands.FDB["append"](net, "00:00:00:00:00:00 dev vx0 dst 10.0.0.5")
    assert views["fdb"](net).text.splitlines() == [
        f"{MAC} dev vx0 dst 10.0.0.4 port 99 vni 3 via eth0 self static",
        "00:00:00:00:00:00 dev vx0 dst 10.0.0.5 self permanent",
    ]
    assert views["fdb"](net).data[0] == {
        "mac": MAC, "ifname": "vx0", "dst": "10.0.0.4", "port": 99, "vni": 3, "viaIf": "eth0", "flags": ["self"], "state": "static",
    }  # fmt: skip
    commands.FDB["del"](net, f"{MAC} dev vx0")
    assert len(views["fdb"](net).data) == 1
    with pytest.raises(InputError, match="is a veth"):
        commands.FDB["add"](net, f"{MAC} dev eth0 dst 10.0.0.2")
    with pytest.raises(InputError, match="has no dst"):
        commands.check_fdb("add", f"{MAC} dev vx0")
