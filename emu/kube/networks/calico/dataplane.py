"""What calico-node changes on a node, as one value, and the one place that puts it in force. Must not know objects or pools."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache, partial
from typing import NamedTuple, Protocol

from emu.kernel import boot, commands
from emu.kernel.link.device import Device
from emu.kernel.link.vxlan import PERMANENT, Remote, Vxlan
from emu.kernel.net.fib_semantics import Route, out_of
from emu.kernel.net.iproute import parse_route
from emu.kernel.net.neighbour import lookup
from emu.kernel.net.netns import Netns
from emu.kernel.netfilter.ipset import Element, Key
from emu.kernel.netfilter.ipset_text import parse_ipset
from emu.kernel.netfilter.ruleset import RuleSet
from emu.kube.networks.calico import chains, pool
from emu.wire.addr import Prefix, ip4_text
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


class Ways(Protocol):
    """The ways to other nodes, made when something is routed: texts of `ip route`, and the ends of the tunnel. `within`: a prefix
    that has all addresses that they lead to."""

    @property
    def within(self) -> Prefix: ...

    def routes(self) -> tuple[str, ...]: ...

    def vteps(self) -> tuple[Vtep, ...]: ...


class State(NamedTuple):
    """All that is to be in force. `devices` are the host's ends of pods' pairs."""

    tables: chains.Tables
    sets: tuple[IpSetMembers, ...]
    tunnel: Tunnel | None
    ways: Ways
    devices: tuple[str, ...]


class Left(NamedTuple):
    """What was in force when all was as felix wants it: the rules, and the generation of the routes (-1: some had no device, or
    they are made when something is routed)."""

    rules: RuleSet
    routes: int


def apply(net: Netns, state: State, *, rules_too: bool = True) -> Left:
    """Idempotent. What is calico-node's and not in `state` goes. Without `rules_too` the rules are in force already. Gives what is in
    force then."""
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
    for name in state.devices:
        _configure(net, name)
    net.put_off(state.ways.within, partial(_set_ways, net, state.ways))
    return Left(net.ipv4.tables.ruleset, -1)


def _set_ways(net: Netns, ways: Ways) -> None:
    device = net.devices.get(pool.DEVICE[pool.VXLAN])
    if isinstance(device, Vxlan):
        _set_vteps(net, device, ways.vteps())
    _set_routes(net, ways.routes())


def look(net: Netns, state: State, before: Left | None = None, *, rules_too: bool = True) -> Left | None:
    """What is in force, if `apply` would change nothing that felix looks at again: routes, and with `rules_too` rules. `before`: what was
    when it would not."""
    fib, rules = net.ipv4.fib, net.ipv4.tables.ruleset
    routes = -1 if fib.waits else fib.generation
    if before is None or (not fib.waits and routes != before.routes):
        wanted = state.ways.routes()
        known = _known(net, wanted)
        if {route.text() for route in _own_routes(net)} != known.keys():
            return None
        if len(known) != len(wanted):
            routes = -1
    if rules_too and not chains.in_place(rules, state.tables, None if before is None else before.rules):
        return None
    return Left(rules if rules_too or before is None else before.rules, routes)


def _ensure(net: Netns, tunnel: Tunnel) -> None:
    """configureTunnelDevice: the device, its MTU, its one address, up."""
    name = pool.DEVICE[tunnel.kind]
    if name not in net.devices:
        net.clock.turn += 1  # behind the pods that started at this time
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
    found = sets[wanted.name]
    there = {each.text.split()[0] for each in found.elements.values()}
    for member in sorted(there - set(wanted.members)):
        commands.ipset(net, f"del {wanted.name} {member}")
    for member in wanted.members:
        if member not in there:
            for key, lengths, element in _elements(wanted.kind, member):
                found.put(key, lengths, element)


@lru_cache(maxsize=1 << 14)
def _elements(kind: str, member: str) -> tuple[tuple[Key, tuple[int, ...], Element], ...]:
    """What `ipset add` adds, read once: nothing changes an element of these kinds."""
    (made,) = parse_ipset(f"create x {kind} family inet\nadd x {member}\n").values()
    nets = [place for place, part in enumerate(made.parts) if part in ("ip", "net")]
    return tuple((key, tuple(key[place][1] for place in nets), element) for key, element in made.elements.items())


def _set_vteps(net: Netns, device: Vxlan, vteps: tuple[Vtep, ...]) -> None:
    """VXLANFDB.Apply: permanent neighbours and entries, and no others."""
    neighbours = device.neigh[AF_INET]
    known, macs = {each.addr for each in vteps}, {each.mac for each in vteps}
    for entry in [each for each in neighbours.values() if each.state == "PERMANENT" and each.addr not in known]:
        entry.delete()
    for mac in [each.mac for each, _ in device.entries() if each.state == PERMANENT and each.mac not in macs]:
        device.delete(mac)
    for vtep in vteps:
        neighbour = lookup(net.ipv4, device, vtep.addr)
        if neighbour is not None and (neighbour.state, neighbour.lladdr) != ("PERMANENT", vtep.mac):
            neighbour.update(vtep.mac, "PERMANENT")
        device.replace(vtep.mac, Remote(vtep.host))


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


def _set_routes(net: Netns, wanted: Sequence[str]) -> None:
    texts = _known(net, wanted)
    there = {route.text(): route for route in _own_routes(net)}
    for text in sorted(there.keys() - texts.keys()):
        net.ipv4.fib.remove(there[text])
    for text, device in texts.items():
        if text not in there:
            boot.put_route(net, out_of(device, _read(text).route), text)


def _known(net: Netns, wanted: Sequence[str]) -> dict[str, Device | None]:
    """Those whose device is there and up, with it."""
    found: dict[str, Device | None] = {}
    for text in wanted:
        name = _read(text).device
        device = net.devices.get(name)
        if not name or (device is not None and device.up):
            found[text] = device
    return found


class _Read(NamedTuple):
    """A route without its device, and the name of that."""

    route: Route
    device: str


@lru_cache(maxsize=1 << 14)
def _read(text: str) -> _Read:
    """Read once for all nodes that have it."""
    names = [""]
    return _Read(parse_route(text, names.append), names[-1])


def _own_routes(net: Netns) -> Iterator[Route]:
    return (route for route in net.ipv4.fib.main if route.proto in PROTOS)
