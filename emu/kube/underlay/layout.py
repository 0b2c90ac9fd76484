"""From what people write to a complete `Layout`: every interface gets its LAN, address, MAC and default route.

Pure. Each mistake is one InputError whose path is below the scenario's `cluster`. A kind of underlay states where machines
are that name no LAN. Must not know namespaces, or how a cable is laid.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

from emu.errors import InputError
from emu.kube.underlay.shape import (
    EXTERNAL_IP,
    INTERNAL_IP,
    Lan,
    LanSettings,
    Layout,
    Machine,
    MachineSettings,
    Nic,
    NicSettings,
)
from emu.modelled import nearest
from emu.wire.addr import Prefix, ip4, ip4_text, mac_text
from emu.wire.addr import mac as to_mac

OUTSIDE, EXTERNAL = Prefix.parse("203.0.113.0/24"), "external"
MORE_OUTSIDE = Prefix.parse("198.51.100.0/24")  # RFC 5737, in parts of 16 addresses: hosts that state no address
FIRST_NODE, FIRST_HOST = 11, 101  # where free addresses of a LAN begin
_DEVICE = re.compile(r"[A-Za-z0-9._-]{1,15}")
_LAN_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")


class Kind(Protocol):
    """What a kind of underlay states of a node that names no LAN: node `index` (from 0) of `nodes`."""

    def default_lan(self, index: int, nodes: int) -> Lan: ...

    def default_address(self, index: int, nodes: int) -> int: ...


def link_mac(kind: int, number: int) -> bytes:
    """A locally administered MAC that one can recognise: kind 0x42 nodes, 0xaa underlay ports, 0xcc the outside."""
    return bytes((2, kind)) + number.to_bytes(4, "big")


@dataclass(slots=True)
class _Plug:
    """One interface on its way to a `Nic`: `address` 0 is not chosen yet."""

    path: str
    machine: str
    number: int
    settings: NicSettings
    lan: Lan
    address: int
    length: int
    first: int
    mac: bytes
    port: str
    port_mac: bytes


def lay_out(
    kind: Kind, nodes: Sequence[MachineSettings], lans: Sequence[LanSettings], hosts: Sequence[MachineSettings]
) -> Layout:
    """The layout of these nodes and hosts. The host `external` is there in any case. Raises InputError."""
    there = _lans(lans)
    own = set(there)
    given = [each for each in hosts if each.name == EXTERNAL] or [MachineSettings(EXTERNAL, "cluster")]
    outside = [*given, *(each for each in hosts if each.name != EXTERNAL)]
    _check_names(nodes, outside)
    plugs = [*_nodes(kind, nodes, there, own)]
    plugs += [*_outside(outside, there, own)]
    _check_lans(there.values(), {plug.lan.name: plug for plug in reversed(plugs)})
    _give_addresses(plugs)
    _check_macs(plugs)
    routers = {lan.gateway for lan in there.values()} | {plug.address for plug in plugs}
    made: dict[str, list[_Plug]] = {}
    for plug in plugs:
        made.setdefault(plug.machine, []).append(plug)
    return Layout(
        there,
        tuple(_machine(each, made[each.name], routers) for each in nodes),
        {each.name: _machine(each, made[each.name], routers) for each in outside},
    )


def _lans(settings: Sequence[LanSettings]) -> dict[str, Lan]:
    found: dict[str, Lan] = {}
    for number, each in enumerate(settings):
        path = f"cluster.lans[{number}]"
        if not _LAN_NAME.fullmatch(each.name):
            raise InputError(f'"{each.name}" is not a name', path=f"{path}.name", expected="letters, digits and '-'")
        if each.name in found:
            raise InputError(f'two LANs are called "{each.name}"', path=f"{path}.name")
        subnet = subnet_of(each.subnet, f"{path}.subnet")
        gateway = subnet.net + 1 if each.gateway is True else 0
        if isinstance(each.gateway, str):
            gateway = _host_in(each.gateway, subnet, f"{path}.gateway")
        for other in found.values():
            if subnet.overlaps(other.subnet):
                what = f"{each.name} {subnet} overlaps {other.name} {other.subnet}"
                raise InputError(what, path=f"{path}.subnet", expected="subnets that do not overlap")
        found[each.name] = Lan(each.name, subnet, gateway, each.mtu)
    return found


def subnet_of(text: str, path: str) -> Prefix:
    """A subnet that machines or pods can have addresses of. Raises InputError with the path."""
    try:
        prefix = Prefix.parse(text, strict=True)
    except InputError as error:
        raise InputError(error.what.replace("'", '"'), path=path, expected=error.expected) from None
    if "/" not in text or not 8 <= prefix.length <= 30:
        expected = "an address, a slash and a length of 8 to 30"
        raise InputError(f'"{text}" is no subnet', path=path, expected=expected)
    return prefix


def _host_in(text: str, subnet: Prefix, path: str) -> int:
    """An address that a machine of the subnet can have."""
    addr = _address(text, path)
    if addr not in subnet:
        raise InputError(f"{text} lies outside {subnet}", path=path, expected=f"an address of {subnet}")
    if addr in (subnet.net, subnet.broadcast):
        what = "network" if addr == subnet.net else "broadcast"
        raise InputError(f"{text} is the {what} address of {subnet}", path=path, expected="an address of a host")
    return addr


def _address(text: str, path: str) -> int:
    try:
        return ip4(text)
    except InputError as error:
        raise InputError(error.what.replace("'", '"'), path=path, expected=error.expected) from None


def _check_names(nodes: Sequence[MachineSettings], hosts: Sequence[MachineSettings]) -> None:
    names: set[str] = set()
    for each in (*nodes, *hosts):
        if each.name in names:
            raise InputError(f'two hosts are called "{each.name}"', path=f"{each.path}.name")
        names.add(each.name)


# -- which interface is on which LAN ----------------------------------------------------------------


def _nodes(kind: Kind, nodes: Sequence[MachineSettings], lans: dict[str, Lan], own: set[str]) -> Iterator[_Plug]:
    for index, node in enumerate(nodes):
        internal = next((text for what, text in node.addresses if what == INTERNAL_IP), "")
        written = node.interfaces or (NicSettings(address=internal),)
        for number, nic in enumerate(written):
            path = f"{node.path}.interfaces[{number}]" if node.interfaces else f"{node.path}.addresses"
            serial = number << 16
            plug = _Plug(
                path, node.name, number, nic, _NONE, *_written(nic, path), FIRST_NODE + index,
                link_mac(0x42, serial | 0x0B + index), f"port{index + 1}" + (f".{number}" if number else ""),
                link_mac(0xAA, serial | 0x11 + index),
            )  # fmt: skip
            if not nic.lan and not plug.address:
                plug.lan = _usual(kind, index, len(nodes), number, lans, own, path)
                if plug.lan.name not in own:
                    plug.address = kind.default_address(index, len(nodes))
            else:
                plug.lan = _lan_of(plug, lans, own, kind.default_lan(index, len(nodes)))
            lans.setdefault(plug.lan.name, plug.lan)
            yield plug


def _usual(kind: Kind, index: int, nodes: int, number: int, lans: dict[str, Lan], own: set[str], path: str) -> Lan:
    """The LAN of an interface that states none."""
    if number:
        raise InputError("the interface is on no LAN", path=path, expected="lan, or address")
    return next(lan for name, lan in lans.items() if name in own) if own else kind.default_lan(index, nodes)


def _outside(hosts: Sequence[MachineSettings], lans: dict[str, Lan], own: set[str]) -> Iterator[_Plug]:
    for index, host in enumerate(hosts):
        for number, nic in enumerate(host.interfaces or (NicSettings(),)):
            path = f"{host.path}.interfaces[{number}]" if len(host.interfaces) > 1 else host.path
            serial = index << 16 | number << 8
            plug = _Plug(
                path, host.name, number, nic, _NONE, *_written(nic, path), FIRST_HOST + index,
                link_mac(0xCC, serial | 10), "ext" + (f"{index}" if index else "") + (f".{number}" if number else ""),
                link_mac(0xCC, serial | 1),
            )  # fmt: skip
            if nic.lan or plug.address:
                plug.lan = _lan_of(plug, lans, own, None)
            else:
                part = OUTSIDE if host.name == EXTERNAL else _part_outside(index - 1, path)
                plug.lan = Lan(f"{host.name}/{nic.name}", part, part.net + 1, switch=False)
                plug.address, plug.length = part.net + (10 if part is OUTSIDE else 2), part.length
            lans.setdefault(plug.lan.name, plug.lan)
            yield plug


def _part_outside(number: int, path: str) -> Prefix:
    if number > 15:
        raise InputError("the host has no address", path=path, expected="address, or lan: the first 16 get one")
    return Prefix(MORE_OUTSIDE.net + 16 * number, 28)


def _written(nic: NicSettings, path: str) -> tuple[int, int]:
    """The address and length that are written, 0 for each that is not."""
    if not _DEVICE.fullmatch(nic.name) or nic.name in ("lo", ".", ".."):
        raise InputError(f'"{nic.name}" is not a name of an interface', path=f"{path}.name", expected="such as eth0")
    if not nic.address:
        return 0, 0
    text, slash, length = nic.address.partition("/")
    at = path if path.endswith(".addresses") else f"{path}.address"
    addr = _address(text, at)
    if not slash:
        return addr, 0
    if not length.isdecimal() or not 8 <= int(length) <= 32:
        expected = "an address, a slash and a length of 8 to 32"
        raise InputError(f'"{nic.address}" is no address', path=at, expected=expected)
    return addr, int(length)


def _lan_of(plug: _Plug, lans: dict[str, Lan], own: set[str], usual: Lan | None) -> Lan:
    """The LAN that an interface names, or that its address lies in, or a cable of its own to the router. `own` are the
    scenario's LANs, `usual` is where a node would be without them (None: a host outside)."""
    nic, known = plug.settings, {name: lan for name, lan in lans.items() if lan.switch}
    if usual is not None and usual.switch and not own:
        known.setdefault(usual.name, usual)
    if nic.lan:
        if nic.lan not in known:
            near = nearest(nic.lan, known)
            expected = f'"{near}"?' if near else ", ".join(known) or "one of cluster.lans"
            raise InputError(f'no LAN is called "{nic.lan}"', path=f"{plug.path}.lan", expected=expected)
        return known[nic.lan]
    found = next((lan for lan in known.values() if plug.address in lan.subnet), None)
    if found is not None:
        return found
    if usual is not None and usual.switch:
        where = plug.path if plug.path.endswith(".addresses") else f"{plug.path}.address"
        expected = "an address of " + " or ".join(f"{lan.name} {lan.subnet}" for lan in known.values())
        raise InputError(f"{ip4_text(plug.address)} is in no LAN", path=where, expected=expected)
    plug.length = plug.length or 24
    if plug.length > 30:
        what = f"{nic.address} leaves no address for the router"
        raise InputError(what, path=f"{plug.path}.address", expected="a length of up to 30, or a LAN that it lies in")
    subnet = Prefix.parse(f"{ip4_text(plug.address)}/{plug.length}")
    router = subnet.net + 1
    if isinstance(nic.gateway, str):
        router = _host_in(nic.gateway, subnet, f"{plug.path}.gateway")
    return Lan(f"{plug.machine}/{nic.name}", subnet, router, nic.mtu or 1500, switch=False)


_NONE = Lan("", Prefix(0, 0), 0)


def _check_lans(lans: Iterable[Lan], plugs: dict[str, _Plug]) -> None:
    """No two LANs share addresses: the router has one way to an address."""
    ordered = sorted(lans, key=lambda lan: (lan.subnet.net, lan.subnet.length))
    for lan, after in pairwise(ordered):
        if lan.subnet.overlaps(after.subnet):
            plug = plugs.get(after.name) or plugs.get(lan.name)
            what = f"{after.name} {after.subnet} overlaps {lan.name} {lan.subnet}"
            raise InputError(
                what, path=plug.path if plug is not None else "cluster.lans", expected="subnets that do not overlap"
            )


# -- addresses --------------------------------------------------------------------------------------


def _give_addresses(plugs: list[_Plug]) -> None:
    taken: dict[tuple[str, int], str] = {}
    for plug in plugs:
        plug.length = plug.length or plug.lan.subnet.length
        if plug.lan.gateway:
            taken[plug.lan.name, plug.lan.gateway] = "the router"
    for plug in plugs:
        if plug.address:
            path = plug.path if plug.path.endswith(".addresses") else f"{plug.path}.address"
            _host_in(ip4_text(plug.address), plug.lan.subnet, path)
            owner = taken.get((plug.lan.name, plug.address))
            if owner is not None:
                what = f"{ip4_text(plug.address)} is the address of {owner} already"
                raise InputError(what, path=path, expected=f"another address of {plug.lan.subnet}")
            taken[plug.lan.name, plug.address] = plug.machine
    for plug in plugs:
        if not plug.address:
            plug.address = _free(plug, taken)
            taken[plug.lan.name, plug.address] = plug.machine


def _free(plug: _Plug, taken: dict[tuple[str, int], str]) -> int:
    """The first free address of the LAN, counted from the one that the machine's number suggests."""
    subnet = plug.lan.subnet
    room = subnet.broadcast - subnet.net - 1
    for step in range(room):
        addr = subnet.net + 1 + (plug.first - 1 + step) % room
        if (plug.lan.name, addr) not in taken:
            return addr
    what = f"{plug.lan.name} {subnet} has no free address for {plug.machine}"
    raise InputError(what, path=plug.path.removesuffix(".addresses"), expected="a larger subnet")


def _check_macs(plugs: list[_Plug]) -> None:
    owners: dict[bytes, _Plug] = {}
    for plug in plugs:
        if plug.settings.mac:
            path = f"{plug.path}.mac"
            try:
                plug.mac = to_mac(plug.settings.mac)
            except InputError as error:
                raise InputError(error.what.replace("'", '"'), path=path, expected=error.expected) from None
            if plug.mac[0] & 1 or not any(plug.mac):
                raise InputError(f"{plug.settings.mac} is not the MAC of one host", path=path, expected="a unicast MAC")
        owner = owners.setdefault(plug.mac, plug)
        if owner is not plug:
            what = f"{mac_text(plug.mac)} is the MAC of {owner.machine}'s {owner.settings.name}"
            path = (plug if plug.settings.mac else owner).path
            raise InputError(what, path=f"{path}.mac", expected="a MAC of its own")


# -- machines ---------------------------------------------------------------------------------------


def _machine(settings: MachineSettings, plugs: list[_Plug], routers: set[int]) -> Machine:
    names = [plug.settings.name for plug in plugs]
    for plug in plugs:
        if names.count(plug.settings.name) > 1:
            again = [each for each in plugs if each.settings.name == plug.settings.name][1]
            what = f'two interfaces of {settings.name} are called "{plug.settings.name}"'
            raise InputError(what, path=f"{again.path}.name")
    chosen = _default_route(settings, plugs)
    nics = []
    for plug in plugs:
        gateway = 0
        if plug is chosen:
            gateway = plug.lan.gateway
            if isinstance(plug.settings.gateway, str):
                gateway = _host_in(plug.settings.gateway, plug.lan.subnet, f"{plug.path}.gateway")
                if gateway not in routers or gateway == plug.address:
                    what = f"nothing on {plug.lan.name} has the address {plug.settings.gateway}"
                    raise InputError(what, path=f"{plug.path}.gateway", expected=_gateways(plug.lan))
        nics.append(
            Nic(plug.settings.name, plug.lan.name, plug.address, plug.length, gateway,
                plug.settings.mtu or plug.lan.mtu, plug.mac, plug.port, plug.port_mac)
        )  # fmt: skip
    return Machine(settings.name, tuple(nics), _internal(settings, nics), _external(settings))


def _gateways(lan: Lan) -> str:
    return ip4_text(lan.gateway) if lan.gateway else "the address of a machine there: the router is not on this LAN"


def _default_route(settings: MachineSettings, plugs: list[_Plug]) -> _Plug | None:
    """The interface with the default route: the one that names a gateway, else the first whose LAN has one."""
    stated = [plug for plug in plugs if plug.settings.gateway not in (None, False)]
    if len(stated) > 1:
        what = f"{settings.name} has two default routes, by {' and '.join(plug.settings.name for plug in stated)}"
        raise InputError(what, path=f"{stated[1].path}.gateway", expected="one, the other gateway: false")
    if stated:
        if stated[0].settings.gateway is True and not stated[0].lan.gateway:
            what = f"{stated[0].lan.name} has no gateway"
            raise InputError(
                what, path=f"{stated[0].path}.gateway", expected="the address of a machine there, or false"
            )
        return stated[0]
    return next((plug for plug in plugs if plug.settings.gateway is None and plug.lan.gateway), None)


def _internal(settings: MachineSettings, nics: list[Nic]) -> int:
    for number, (what, text) in enumerate(settings.addresses):
        path = f"{settings.path}.addresses[{number}].address"
        if what == INTERNAL_IP:
            addr = _address(text, path)
            if not any(nic.address == addr for nic in nics):
                have = ", ".join(ip4_text(nic.address) for nic in nics)
                raise InputError(f"no interface of {settings.name} has {text}", path=path, expected=have)
            return addr
    return nics[0].address


def _external(settings: MachineSettings) -> tuple[str, ...]:
    found = [(number, text) for number, (what, text) in enumerate(settings.addresses) if what == EXTERNAL_IP]
    for number, text in found:
        _address(text, f"{settings.path}.addresses[{number}].address")
    return tuple(text for _, text in found)
