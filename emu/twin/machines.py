"""The nodes' interfaces as a scenario's file states them, wired in the kernel by `ip` alone, beside what the emulator made.

The file's plain values are read here once more: the emulator's own layout of the underlay is not asked, so that a wrong step
of it does not reach both sides. A node whose interfaces leave something open is left out. Must not know pods.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from ipaddress import IPv4Interface, IPv4Network
from typing import Any, NamedTuple

from emu.kernel.net.netns import Netns
from emu.twin import compare, tables
from emu.twin.compare import Difference
from emu.twin.space import Space
from emu.twin.wiring import quiet

_MAC = re.compile(r"address ([0-9a-f]{2}:){5}[0-9a-f]{2}")


class _Lan(NamedTuple):
    name: str
    subnet: IPv4Network
    gateway: str
    mtu: int
    device: str


def compared(cluster: Mapping[str, Any], nets: Mapping[str, Netns]) -> list[Difference]:
    """Wire the stated nodes of a scenario's `cluster`, and compare each. Raises TwinError."""
    nodes = cluster.get("nodes")
    lans = [_lan(number, each) for number, each in enumerate(cluster.get("lans", ()))]
    stated = [each for each in nodes if _is_stated(each)] if isinstance(nodes, list) else []
    if not stated:
        return []
    with ExitStack() as stack:
        router, switches = _space(stack, "router"), _space(stack, "switches")
        for lan in lans:
            _lay_lan(switches, router, lan)
        found: list[Difference] = []
        for number, node in enumerate(stated):
            space = _space(stack, str(node["name"]))
            _wire(space, switches, router, node, lans, number)
            found += _differences(space, nets[space.name], node["interfaces"])
        return found


def _is_stated(node: Mapping[str, Any]) -> bool:
    interfaces = node.get("interfaces", ())
    return bool(interfaces) and all("/" in each.get("address", "") for each in interfaces)


def _space(stack: ExitStack, name: str) -> Space:
    space = Space(name)
    stack.callback(space.close)
    quiet(space)
    return space


def _lan(number: int, value: Mapping[str, Any]) -> _Lan:
    subnet = IPv4Network(value["subnet"])
    gateway = value.get("gateway", True)
    text = str(subnet[1]) if gateway is True else gateway or ""
    return _Lan(value["name"], subnet, text, value.get("mtu", 1500), f"lan{number}")


def _lay_lan(switches: Space, router: Space, lan: _Lan) -> None:
    name, mtu = lan.device, str(lan.mtu)
    switches.ip([["link", "add", "name", name, "mtu", mtu, "type", "bridge"], ["link", "set", "dev", name, "up"]])
    if lan.gateway:
        _cable(switches, f"gw-{name}", router, name, mtu)
        switches.ip([["link", "set", "dev", f"gw-{name}", "master", name]])
        router.ip([["addr", "add", f"{lan.gateway}/{lan.subnet.prefixlen}", "dev", name]])


def _cable(space: Space, port: str, other: Space, device: str, mtu: str, mac: str = "", own_mtu: str = "") -> None:
    address = ["address", mac] if mac else []
    peer = ["peer", "name", device, *address, "mtu", own_mtu or mtu, "netns", other.path]
    space.ip([["link", "add", "name", port, "mtu", mtu, "type", "veth", *peer], ["link", "set", "dev", port, "up"]])
    other.ip([["link", "set", "dev", device, "up"]])


def _wire(
    space: Space, switches: Space, router: Space, node: Mapping[str, Any], lans: Sequence[_Lan], number: int
) -> None:
    interfaces = node["interfaces"]
    any_stated = any(each.get("gateway") for each in interfaces)
    routed = False
    for index, each in enumerate(interfaces):
        address = IPv4Interface(each["address"])
        lan = next((lan for lan in lans if lan.name == each.get("lan") or address.ip in lan.subnet), None)
        port, name, mac = f"p{number}-{index}", each.get("name", "eth0"), each.get("mac", "")
        mtu = lan.mtu if lan is not None else each.get("mtu", 1500)
        _cable(switches if lan is not None else router, port, space, name, str(mtu), mac, str(each.get("mtu", mtu)))
        space.ip([["addr", "add", each["address"], "dev", name]])
        stated = each.get("gateway")
        if lan is not None:
            switches.ip([["link", "set", "dev", port, "master", lan.device]])
            usual = lan.gateway
        else:
            usual = stated if isinstance(stated, str) else str(address.network[1])
            router.ip([["addr", "add", f"{usual}/{address.network.prefixlen}", "dev", port]])
        chosen = bool(stated) if any_stated else stated is None and bool(usual)
        if chosen and not routed:
            routed = True
            via = stated if isinstance(stated, str) else usual
            space.ip([["route", "add", "default", "via", via, "dev", name]])


def _differences(space: Space, net: Netns, interfaces: Sequence[Mapping[str, Any]]) -> Iterator[Difference]:
    devices = {each.get("name", "eth0"): each.get("mac", "") for each in interfaces}
    kernel = {**tables.kernel_setup(space), "routes": list(tables.kernel_routes(space))}
    emulated = {**tables.emulated_setup(net), "routes": list(tables.emulated_routes(net))}
    for each in compare.tables(
        space.name, _kept(kernel, devices), _kept(emulated, devices), lambda one, other: one == other
    ):
        yield each._replace(what=f"interfaces: {each.what}")


def _kept(found: Mapping[str, Sequence[str]], devices: Mapping[str, str]) -> dict[str, list[str]]:
    """The lines of these devices; a MAC that is not stated is the emulator's own."""
    kept: dict[str, list[str]] = {}
    for what, lines in found.items():
        kept[what] = []
        for line in lines:
            device = next((word for word in line.split() if word in devices), None)
            if device is not None and (" via " not in line or " default via " in line):  # the rest is the pod network's
                kept[what].append(line if devices[device] else _MAC.sub("address MAC", line))
    return kept
