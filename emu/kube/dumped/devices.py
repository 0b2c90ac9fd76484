"""Which interface of a dump is which of the node's: by address, by route, by MAC behind a bridge, by name.

A node's interface then bears the name that the dump has for it, so that rules, routes and sysctls speak of the same one. Must not know
what a dump states besides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from emu.kernel.link.bridge import Bridge
from emu.kernel.link.device import Device
from emu.kernel.net import link_change
from emu.kernel.netfilter.ruleset import RuleSet
from emu.kernel.netfilter.save import parse_restore
from emu.kube.dumped.site import Site
from emu.wire.addr import mac

_DEVICE_OPTIONS = ("-i", "-o", "--physdev-in", "--physdev-out")


def join(site: Site) -> None:
    """Find each interface that the dump names, and give the node's the names of the dump."""
    names = [*dict.fromkeys(_names(site))]
    found: dict[str, Device] = {}
    taken: set[int] = set()
    for search in (_by_address, _by_connected_route, _by_pod_route, _by_name, _by_mac, _by_elimination):
        for name, device in search(site, names, found):
            if name not in found and id(device) not in taken and name in names:
                found[name] = device
                taken.add(id(device))
    site.devices = found
    _rename(site, found)
    lost = [name for name in _pod_ports(site) if name not in found]
    left = [each for each in site.pod_devices().values() if id(each) not in taken]
    if lost and left:
        site.notes.append(
            f"{site.dump.texts.source}: which pod is behind {_few(lost)} is not known (no route, or neighbour and fdb entry, shows it)"
        )


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _names(site: Site) -> Iterator[str]:
    dump = site.dump
    yield from dump.links or ()
    for route in dump.routes or ():
        if route.text("dev", ""):
            yield route.text("dev")
        yield from (each.text("dev", "") for each in route.items("nexthops") if each.text("dev", ""))
    yield from (each.text("dev") for each in dump.neighbours or ())
    yield from (each.device for each in dump.fdb or ())
    for name in dump.sysctls or ():
        parts = name.split(".")
        if name.startswith("net.ipv4.conf.") and len(parts) == 5 and parts[3] not in ("all", "default"):
            yield parts[3].replace("/", ".")


def _by_address(site: Site, names: list[str], found: dict[str, Device]) -> Iterator[tuple[str, Device]]:
    count = Counter(
        each.addr for each in site.net.ipv4.addresses
    )  # some networks give all pods' interfaces one address
    own = {each.addr: each.device for each in site.net.ipv4.addresses if count[each.addr] == 1}
    for name, link in (site.dump.links or {}).items():
        for addr, _, _ in link.addresses or ():
            if addr in own:
                yield name, own[addr]
    for route in site.dump.routes or ():
        if route.text("type", "") == "local" and route.text("dst").count("/") == 0 and route.address("dst") in own:
            yield route.text("dev", ""), own[route.address("dst")]


def _by_connected_route(site: Site, names: list[str], found: dict[str, Device]) -> Iterator[tuple[str, Device]]:
    """The subnet that a route of the kernel states, as the node has it on one interface."""
    own = {each.prefix: each.device for each in site.net.ipv4.fib.main if each.device is not None and not each.gateway}
    for route in site.dump.routes or ():
        if route.has("prefsrc") and not route.has("gateway") and "/" in route.text("dst") and not route.has("table"):
            device = own.get(route.prefix("dst"))
            if device is not None:
                yield route.text("dev", ""), device


def _by_pod_route(site: Site, names: list[str], found: dict[str, Device]) -> Iterator[tuple[str, Device]]:
    """A route to a pod's address alone is one by its cable."""
    pods = site.pod_devices()
    for route in site.dump.routes or ():
        if route.has("gateway") or route.text("type", "unicast") != "unicast" or not route.text("dev", ""):
            continue
        if route.text("dst") != "default" and route.prefix("dst").length == 32:
            device = pods.get(route.prefix("dst").net)
            if device is not None:
                yield route.text("dev"), device


def _by_name(site: Site, names: list[str], found: dict[str, Device]) -> Iterator[tuple[str, Device]]:
    for name in names:
        if name in site.net.devices:
            yield name, site.net.devices[name]


def _by_mac(site: Site, names: list[str], found: dict[str, Device]) -> Iterator[tuple[str, Device]]:
    """The bridge has learned a pod's MAC behind a port, and a neighbour entry states whose it is."""
    pods = site.pod_devices()
    learned = {each.mac: each.device for each in site.dump.fdb or () if each.master and each.state != "permanent"}
    for entry in site.dump.neighbours or ():
        if entry.has("lladdr") and entry.address("dst") in pods:
            port = learned.get(mac(entry.text("lladdr")))
            if port is not None:
                yield port, pods[entry.address("dst")]
    for addr, device in pods.items():  # the bridge plugin once made a pod's MAC of its address
        port = learned.get(b"\x0a\x58" + addr.to_bytes(4, "big"))
        if port is not None:
            yield port, device


def _by_elimination(site: Site, names: list[str], found: dict[str, Device]) -> Iterator[tuple[str, Device]]:
    """One port and one pod are left."""
    taken = {id(each) for each in found.values()}
    ports = [name for name in _pod_ports(site) if name not in found]
    left = [each for each in site.pod_devices().values() if id(each) not in taken]
    if len(ports) == len(left) == 1:
        yield ports[0], left[0]


def _pod_ports(site: Site) -> list[str]:
    """The interfaces of the dump that look like a pod's: ports of the pod network's bridge."""
    masters = {name for name, device in site.devices.items() if isinstance(device, Bridge)}
    masters |= {each.master.bridge.name for each in site.pod_devices().values() if each.master is not None}
    return [name for name, link in (site.dump.links or {}).items() if link.master and link.master in masters]


def _rename(site: Site, found: dict[str, Device]) -> None:
    """Give the joined interfaces their names. One whose name another one is to bear steps aside first."""
    net = site.net
    before = {device.name: name for name, device in found.items() if device.name != name}
    if not before:
        return
    for number, old in enumerate(before):
        link_change.rename(net, net.devices[old], f"emu-{number}")
    for name in before.values():
        if name in net.devices:
            link_change.rename(net, net.devices[name], f"{name[:13]}-x")
    for number, name in enumerate(before.values()):
        link_change.rename(net, net.devices[f"emu-{number}"], name)
    net.ipv4.tables.replace(renamed(net.ipv4.tables.ruleset, net.ipv4.tables.save(), before))
    fib = net.ipv4.fib
    rules = fib.rules
    if any(each.iif in before or each.oif in before for each in rules):
        for rule in rules:
            fib.remove_rule(rule)
        for rule in rules:
            fib.add_rule(replace(rule, iif=before.get(rule.iif, rule.iif), oif=before.get(rule.oif, rule.oif)))


def renamed(ruleset: RuleSet, text: str, names: dict[str, str]) -> RuleSet:
    """The rules with other names of interfaces; the same ones where they name none of these."""
    changed = False
    lines = []
    for line in text.splitlines():
        words = line.split(" ")
        for place, word in enumerate(words[:-1]):
            if word in _DEVICE_OPTIONS and words[place + 1] in names:
                words[place + 1] = names[words[place + 1]]
                changed = True
        lines.append(" ".join(words))
    return parse_restore("\n".join(lines) + "\n") if changed else ruleset
