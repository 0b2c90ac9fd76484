"""The `ip` and `sysctl` commands that cases of two sides use, on emulated namespaces. Must not know what a case is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from emu.errors import InputError
from emu.kernel import boot
from emu.kernel.link.bridge import Bridge
from emu.kernel.link.device import Device
from emu.kernel.link.dummy import Dummy
from emu.kernel.link.vrf import Vrf
from emu.kernel.net import link_change, stacked_links, vrf_links
from emu.kernel.net.netns import Netns
from emu.wire.addr import mac

Spaces = Mapping[str, Netns]


def run(spaces: Spaces, where: str, words: Sequence[str]) -> None:
    """One command in the namespace `where`; `netns NAME` is one of `spaces`. Raises InputError."""
    net = spaces[where]
    match words:
        case ["link", "add", one, "address", first, "type", "veth", "peer", "name", other, "address", second, *more]:
            far = spaces[more[1]] if more else net
            for each in boot.veth(net, one, far, other, first, second):
                each.net.set_link(each.name, up=False)
        case ["link", "add", name, "address", address, "type", "bridge", *more]:
            bridge = boot.bridge(net, name, address)
            net.set_link(name, up=False)
            _bridge_options(bridge, more)
        case ["link", "add", name, "address", address, "type", "dummy"]:
            dummy = Dummy(net.clock, name, mac(address))
            dummy.up = False
            net.attach(dummy)
        case ["link", "add", "link", lower, "name", name, *more]:
            _stacked(spaces, net, net.device(lower), name, _pairs(more))
        case ["link", "add", name, "address", address, "type", "vrf", "table", table]:
            vrf_links.vrf(net, name, mac(address), int(table))
        case ["link", "set", name, "master", master] if isinstance(net.device(master), Vrf):
            vrf_links.enslave(net, net.device(master), net.device(name))  # type: ignore[arg-type]
        case ["link", "set", name, "nomaster"]:
            vrf_links.release(net, net.device(name))
        case ["link", "set", name, "master", bridge]:
            net.device(bridge).add_port(net.device(name), forwarding=net.device(name).up)  # type: ignore[attr-defined]
        case ["link", "set", name, "address", address]:
            link_change.set_mac(net, net.device(name), mac(address))
        case ["link", "set", name, "mtu", mtu]:
            link_change.set_mtu(net.device(name), int(mtu))
        case ["link", "set", name, "promisc", switch]:
            link_change.set_promisc(net.device(name), on=switch == "on")
        case ["link", "set", name, ("up" | "down") as state]:
            net.set_link(name, up=state == "up")
        case ["link", "set", name, "netns", target]:
            link_change.move(net.device(name), net, spaces[target], name)
        case ["link", "del", name]:
            link_change.delete(net.device(name))
        case ["addr", "add", cidr, "dev", name]:
            boot.address(net, name, cidr)
        case ["addr", "del", cidr, "dev", name]:
            found = (each for each in net.ipv4.addresses if str(each) == cidr and each.device.name == name)
            net.ipv4.remove_address(next(found))
        case ["route", "add", *text]:
            boot.route(net, " ".join(text))
        case ["route", "del", text]:
            net.ipv4.fib.remove(next(each for each in net.ipv4.fib.main if each.text().split()[0] == text))
        case ["rule", "add", *text]:
            boot.rule(net, " ".join(text))
        case ["bridge", "vlan", ("add" | "del") as verb, "dev", name, "vid", vid, *flags]:
            device = net.device(name)
            group = device.vlan_group if isinstance(device, Bridge) else device.master.vlans
            if verb == "add":
                group.add(int(vid), pvid="pvid" in flags, untagged="untagged" in flags)
            else:
                group.remove(int(vid))
        case ["link", "set", name, "type", "bridge_slave", "isolated", "on"]:
            net.device(name).master.isolated = True
        case ["sysctl", name, value]:
            net.sysctl[name] = value
        case _:
            raise InputError(f"this command is not known here: {' '.join(words)}")


def _pairs(words: Sequence[str]) -> dict[str, str]:
    return dict(zip(words[::2], words[1::2], strict=True))


def _bridge_options(bridge: Bridge, words: Sequence[str]) -> None:
    if words == ["vlan_filtering", "1"]:
        bridge.vlan_filtering = True
    elif words:
        raise InputError(f"this option of a bridge is not known here: {' '.join(words)}")


def _stacked(spaces: Spaces, net: Netns, lower: Device, name: str, given: dict[str, str]) -> None:
    target = spaces[given["netns"]] if "netns" in given else net
    mtu = int(given["mtu"]) if "mtu" in given else None
    address = mac(given["address"]) if "address" in given else None
    if given["type"] == "vlan":
        stacked_links.vlan(target, name, lower, int(given["id"]), address, mtu)
    elif given["type"] == "macvlan":
        stacked_links.macvlan(target, name, lower, address or lower.mac, given["mode"], mtu)
    else:
        stacked_links.ipvlan(target, name, lower, given["mode"], mtu)
