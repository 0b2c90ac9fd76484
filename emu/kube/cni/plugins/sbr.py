"""`sbr`: a container's interface is left by its own addresses alone (plugins/meta/sbr).

It is chained. Each address gets a rule and a table with the interface's routes, which leave the main table: a container with
several interfaces answers by the one that was asked. Must not know which plugin made the interface.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import replace

from emu.errors import InputError
from emu.kernel import boot
from emu.kernel.link.device import Device
from emu.kernel.net.fib_semantics import Route
from emu.kernel.net.netns import Netns
from emu.kube.cni import container, links
from emu.kube.cni.keys import Keys
from emu.kube.cni.spec import IP, Attachment, Config, Result, failure, plugins, unmodelled
from emu.modelled import NotModelled
from emu.wire.addr import ip4_text

_FIRST_TABLE = 100
_UNMODELLED = ("table", "gateways", "addSourceHints")


@plugins.add("sbr")
class SbrPlugin:
    """Chained: the result is the one before."""

    keys: Keys = dict.fromkeys(_UNMODELLED, NotModelled("a table, gateways or sources that the configuration chooses"))

    def add(self, config: Config, attachment: Attachment) -> Result:
        for key in _UNMODELLED:
            if config.get(key):
                raise unmodelled("sbr", key)
        result = container.previous(config, "This plugin must be called as chained plugin")
        name = attachment.ifname
        ips = _ips(result, name)
        netns = links.open_netns(attachment)
        table = _free_table(_ruled(netns), _FIRST_TABLE)
        device = container.link(netns, name, f"Cannot find network interface {name}")
        _route_by_source(netns, device, ips, table)
        return result

    def check(self, config: Config, attachment: Attachment) -> None:
        """The plugin compares nothing."""

    def delete(self, config: Config, attachment: Attachment) -> None:
        if attachment.netns is None:
            raise failure("no such file or directory")
        netns = attachment.netns
        device = netns.devices.get(attachment.ifname)
        if device is None:
            return
        own = {each.addr for each in netns.ipv4.addresses if each.device is device}
        for rule in netns.ipv4.fib.rules:
            if rule.src.length and rule.src.net in own:
                netns.ipv4.fib.remove_rule(rule)


def _ips(result: Result, name: str) -> list[IP]:
    """The addresses on the interface of that name, and those on none. Raises CniError."""
    if not result.ips:
        raise failure(f"No IP addresses supplied on interface: {name}")
    count = len(result.interfaces)
    return [
        ip
        for ip in result.ips
        if ip.interface is None or not 0 <= ip.interface < count or result.interfaces[ip.interface].name == name
    ]


def _ruled(netns: Netns) -> frozenset[int]:
    """The tables that rules look into."""
    return frozenset(rule.table for rule in netns.ipv4.fib.rules)


def _free_table(taken: Container[int], first: int) -> int:
    """The first table from `first` on that no rule looked into when the plugin began."""
    while first in taken:
        first += 1
    return first


def _route_by_source(netns: Netns, device: Device, ips: list[IP], table: int) -> None:
    """A rule and a table for each address; then the interface's routes leave main. Raises CniError, and what is there by
    then stays."""
    fib, taken = netns.ipv4.fib, _ruled(netns)
    routes = [route for route in fib.main if route.uses(device)]
    for ip in ips:
        try:
            boot.rule(netns, f"from {ip4_text(ip.addr)} lookup {table}")
        except InputError:
            raise failure("Failed to add rule: file exists") from None
        if ip.gateway:
            _add_default(netns, device, ip.gateway, table)
        for route in routes:
            if _concerns(route, ip):
                _put(netns, replace(route, table=table))
        table = _free_table(taken, table + 1)
    for route in routes:
        fib.remove(route)


def _add_default(netns: Netns, device: Device, gateway: str, table: int) -> None:
    try:
        boot.route(netns, f"default via {gateway} dev {device.name} table {table}")
    except InputError as error:
        why = "file exists" if "File exists" in error.what else "network is unreachable"
        raise failure(f"Failed to add default route to {gateway}: {why}") from None


def _concerns(route: Route, ip: IP) -> bool:
    """Is the route's source or gateway in the address's subnet, or has it neither?"""
    subnet = ip.prefix
    if not route.prefsrc and not route.gateway:
        return True
    return any(addr and addr in subnet for addr in (route.prefsrc, route.gateway))


def _put(netns: Netns, route: Route) -> None:
    """`ip route replace`."""
    fib = netns.ipv4.fib
    for old in fib.table(route.table).of(route.prefix):
        if (old.tos, old.metric) == (route.tos, route.metric):
            fib.remove(old)
            break
    fib.add(route)
