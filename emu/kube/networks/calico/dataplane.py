"""What calico-node changes on a node, as one value, and the one place that puts it in force. Must not know objects or pools."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from emu.kernel import boot, commands
from emu.kernel.link.vxlan import PERMANENT, Vxlan
from emu.kernel.net.fib_semantics import Route
from emu.kernel.net.neighbour import lookup
from emu.kernel.net.netns import Netns
from emu.kernel.netfilter.ipset import IpSets
from emu.kernel.netfilter.ruleset import RuleSet
from emu.kube.networks.calico import chains, pool
from emu.wire.addr import ip4_text, mac_text
from emu.wire.frame import AF_INET

POLICY_SETS = ("cali40s:", "cali40n:")
PROTOS = ("80", "bird")  # of calico-node's routes


class IpSetMembers(NamedTuple):
    """A set, of networks by default, and its members as `ipset add` takes them."""

    name: str
    members: tuple[str, ...]
    kind: str = "hash:net"


class Tunnel(NamedTuple):
    """The node's end of the tunnel: `local` is the node's address on `parent`; `mac` is empty for IPIP."""

    kind: str
    addr: int
    mac: bytes
    local: int
    parent: str
    mtu: int


class Vtep(NamedTuple):
    """Another node's end of the VXLAN tunnel, and that node's address."""

    addr: int
    mac: bytes
    host: int


class State(NamedTuple):
    """All that is to be in force. `devices` are the host's ends of pods' pairs, `routes` texts of `ip route`."""

    tables: chains.Tables
    sets: tuple[IpSetMembers, ...]
    tunnel: Tunnel | None
    vteps: tuple[Vtep, ...]
    routes: tuple[str, ...]
    devices: tuple[str, ...]


def apply(net: Netns, state: State, *, rules_too: bool = True) -> None:
    """Idempotent. What is calico-node's and not in `state` goes. Without `rules_too` the rules are in force already."""
    net.sysctl["net.ipv4.ip_forward"] = 1
    net.sysctl["net.netfilter.nf_conntrack_acct"] = 1  # configureKernel: connections count packets and bytes
    if state.tunnel is not None:
        _ensure(net, state.tunnel)
    for each in state.sets:
        _fill(net, each)
    if rules_too:
        net.ipv4.tables.restore(chains.merged(net.ipv4.tables.ruleset, state.tables))
    wanted = {each.name for each in state.sets}
    for name in [each for each in net.ipv4.tables.ipsets if each.startswith(POLICY_SETS) and each not in wanted]:
        del net.ipv4.tables.ipsets[name]
    device = net.devices.get(pool.DEVICE[pool.VXLAN])
    if isinstance(device, Vxlan):
        _set_vteps(net, device, state.vteps)
    for name in state.devices:
        _configure(net, name)
    _set_routes(net, state.routes)


def in_place(net: Netns, state: State, left: RuleSet | None, *, rules_too: bool = True) -> bool:
    """Whether `apply` would change nothing that felix looks at again: routes, and with `rules_too` rules. `left`: what was in force when
    the rules were in place."""
    if {route.text() for route in _own_routes(net)} != _known(net, state.routes):
        return False
    return not rules_too or chains.in_place(net.ipv4.tables.ruleset, state.tables, left)


def _ensure(net: Netns, tunnel: Tunnel) -> None:
    """configureTunnelDevice: the device, its MTU, its one address, up."""
    name = pool.DEVICE[tunnel.kind]
    if name not in net.devices:
        if tunnel.kind == pool.VXLAN:
            words = f"id {pool.VXLAN_VNI} dstport {pool.VXLAN_PORT} local {ip4_text(tunnel.local)} dev {tunnel.parent}"
            boot.vxlan(net, name, tunnel.mac, f"{words} nolearning", tunnel.mtu)
        else:
            boot.ipip(net, name)
    device = net.devices[name]
    if device.mtu != tunnel.mtu:
        device.set_mtu(tunnel.mtu)
    for address in [each for each in net.ipv4.addresses if each.device is device and each.addr != tunnel.addr]:
        net.ipv4.remove_address(address)
    if all(each.device is not device for each in net.ipv4.addresses):
        boot.address(net, device, f"{ip4_text(tunnel.addr)}/32")
    net.set_link(name, up=True)


def _fill(net: Netns, wanted: IpSetMembers) -> None:
    sets = net.ipv4.tables.ipsets
    if wanted.name not in sets:
        commands.ipset(net, f"create {wanted.name} {wanted.kind} family inet maxelem 1048576")
    alone = IpSets({wanted.name: sets[wanted.name]})
    there = {line.split()[2] for line in alone.save().splitlines() if line.startswith("add ")}
    for member in sorted(there - set(wanted.members)):
        commands.ipset(net, f"del {wanted.name} {member}")
    for member in wanted.members:
        if member not in there:
            commands.ipset(net, f"add {wanted.name} {member}")


def _set_vteps(net: Netns, device: Vxlan, vteps: tuple[Vtep, ...]) -> None:
    """VXLANFDB.Apply: permanent neighbours and entries, and no others."""
    neighbours, name = device.neigh[AF_INET], device.name
    known, macs = {each.addr for each in vteps}, {each.mac for each in vteps}
    for entry in [each for each in neighbours.values() if each.state == "PERMANENT" and each.addr not in known]:
        entry.delete()
    for mac in [each.mac for each, _ in device.entries() if each.state == PERMANENT and each.mac not in macs]:
        device.delete(mac)
    for vtep in vteps:
        neighbour = lookup(net.ipv4, device, vtep.addr)
        if neighbour is not None and (neighbour.state, neighbour.lladdr) != ("PERMANENT", vtep.mac):
            neighbour.update(vtep.mac, "PERMANENT")
        boot.fdb(net, f"replace {mac_text(vtep.mac)} dev {name} dst {ip4_text(vtep.host)}")


def _configure(net: Netns, name: str) -> None:
    """configureProcSysForInterface: what the plugin has set, and rp_filter as new devices have it."""
    if name not in net.devices:
        return
    conf = f"net.ipv4.conf.{name}."
    wanted = {
        f"{conf}route_localnet": 1,
        f"net.ipv4.neigh.{name}.proxy_delay": 0,
        f"{conf}proxy_arp": 1,
        f"{conf}forwarding": 1,
        f"{conf}rp_filter": net.sysctl.number("net.ipv4.conf.default.rp_filter"),
    }
    for variable, value in wanted.items():
        if net.sysctl.number(variable) != value:
            net.sysctl[variable] = value


def _set_routes(net: Netns, wanted: tuple[str, ...]) -> None:
    texts = _known(net, wanted)
    there = {route.text(): route for route in _own_routes(net)}
    for text in sorted(there.keys() - texts):
        net.ipv4.fib.remove(there[text])
    for text in wanted:
        if text not in there and text in texts:
            boot.route(net, text)


def _known(net: Netns, wanted: tuple[str, ...]) -> set[str]:
    """Those whose device is there and up."""
    found = set()
    for text in wanted:
        words = text.split()
        name = words[words.index("dev") + 1] if "dev" in words else ""
        if not name or (name in net.devices and net.devices[name].up):
            found.add(text)
    return found


def _own_routes(net: Netns) -> Iterator[Route]:
    return (route for route in net.ipv4.fib.main if route.proto in PROTOS)
