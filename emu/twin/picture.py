"""The emulated namespaces as plain values, one picture for each: a kernel is configured from them.

Two pictures are compared to find what changed. Must not know the host.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from emu.errors import Undecided
from emu.kernel.link.bridge import Bridge
from emu.kernel.link.bridge import Port as BridgePort
from emu.kernel.link.device import Device
from emu.kernel.link.veth import Veth
from emu.kernel.link.vxlan import LEARNED, PERMANENT, Vxlan
from emu.kernel.net.fib_rules import IpRule
from emu.kernel.net.fib_semantics import Route
from emu.kernel.net.netns import Netns
from emu.kernel.netfilter.ipset import IpSet, IpSets
from emu.kernel.netfilter.ruleset import RuleSet
from emu.kernel.netfilter.save import save
from emu.kube.networks.kindnet.policy.queue import TABLE
from emu.twin.sysctls import MEMORY, text
from emu.wire.addr import ZERO_MAC, ip4_text, is_loopback, mac_text
from emu.wire.frame import AF_INET

USUAL_RULES = (
    "priority 0 from all lookup local",
    "priority 32766 from all lookup main",
    "priority 32767 from all lookup default",
)


class Link(NamedTuple):
    """A device. `peer` is the other end of a veth: its namespace and its name there; `ageing_cs` is in 1/100 s; `lose`
    numbers the sent frames to lose, 0 for the next; without `carrier` its cable is pulled; `offloads` stay as Linux has them
    by default; `words` are those behind `type vxlan`."""

    name: str
    kind: str
    mac: str
    mtu: int
    up: bool
    peer: tuple[Netns, str] | None = None
    ageing_cs: int = 0
    promisc: bool = False
    lose: tuple[int, ...] = ()
    carrier: bool = True
    offloads: bool = False
    words: str = ""


class Port(NamedTuple):
    """A bridge's port, with the settings of `ip link set ... type bridge_slave`."""

    device: str
    bridge: str
    hairpin: bool
    isolated: bool


@dataclass(slots=True)
class Picture:
    """One namespace. Texts are arguments of `ip`, and `fdb`'s of `bridge fdb`: what was set by hand on VXLAN devices. `own` are
    the routes that the kernel adds by itself, `withdrawn` those that it adds with an address and that are not there. `ipsets` has
    the lines of each set, as `ipset save` writes them. `ports` are in the order of their devices, and join in it: the emulator's
    own order of a bridge's ports is not read. `sysctls` holds what was written, and no default; `bounded` the values of those
    that a machine's memory bounds."""

    links: dict[str, Link] = field(default_factory=dict)
    ports: list[Port] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)
    routes: list[str] = field(default_factory=list)
    own: list[str] = field(default_factory=list)
    rules: list[str] = field(default_factory=lambda: [*USUAL_RULES])
    neighbours: list[str] = field(default_factory=list)
    fdb: list[str] = field(default_factory=list)
    sysctls: dict[str, str] = field(default_factory=dict)
    bounded: dict[str, str] = field(default_factory=dict)
    iptables: str = ""
    ipsets: dict[str, list[str]] = field(default_factory=dict)
    withdrawn: list[str] = field(default_factory=list)


def take(net: Netns) -> Picture:
    """The picture of a namespace. Raises Undecided for a device that the twin cannot build."""
    for what, there in _unbuilt(net):
        if there:
            raise Undecided(f"{net.name}: the twin sets up no {what}")
    picture = Picture()
    order = {name: number for number, name in enumerate(net.devices)}
    for device in net.devices.values():
        picture.links[device.name] = _link(net, device)
        if isinstance(device, Bridge):
            picture.ports += [
                _port(port, device) for port in sorted(device.ports, key=lambda port: order[port.device.name])
            ]
        if isinstance(device, Vxlan):
            picture.fdb += _fdb(device)
        for neighbour in device.neigh[AF_INET].values():
            if neighbour.state == "PERMANENT":
                where = f"{ip4_text(neighbour.addr)} lladdr {mac_text(neighbour.lladdr)} dev {device.name}"
                picture.neighbours.append(f"{where} nud permanent")
    for address in net.ipv4.addresses:
        if address.device.name != "lo" or not is_loopback(address.addr):
            picture.addresses.append(f"{address} dev {address.device.name} scope {address.scope}")
    for table in net.ipv4.fib.tables.values():
        own = table in (net.ipv4.fib.local, net.ipv4.fib.main)
        for each in table:
            # the kernel adds its own routes with the addresses, to these tables
            (picture.own if own and each.proto == "kernel" else picture.routes).append(_placed(each))
    picture.rules = [_rule(each) for each in net.ipv4.fib.rules]
    # IPv6 is off on the kernel's side, as emu has none
    picture.sysctls = {name: text(value) for name, value in net.sysctl.written() if not name.startswith("net.ipv6.")}
    picture.bounded = {name: text(net.sysctl[name]) for name in MEMORY}
    picture.iptables = _iptables(net.ipv4.tables.ruleset)
    picture.ipsets = {each.name: _set(net, each) for each in net.ipv4.tables.ipsets.values()}
    picture.withdrawn = _withdrawn(net)
    return picture


@lru_cache(maxsize=256)
def _iptables(ruleset: RuleSet) -> str:
    """Pictures are taken at each event; a rule set that stays has the same text."""
    return save(ruleset)


def _placed(route: Route) -> str:
    """As `ip route add` takes it: the table stands before the next hops."""
    first, hop, rest = route.text().partition(" nexthop ")
    return f"{first} table {route.table}{hop}{rest}"


def _set(net: Netns, ipset: IpSet) -> list[str]:
    if any(each.expires_ns for each in ipset.elements.values()):
        raise Undecided(f"{net.name}: elements of set {ipset.name} have timeouts, which are not compared")
    one = IpSets({ipset.name: ipset})
    return [*dict.fromkeys(one.save().splitlines())]  # a range is one element, written once


def _withdrawn(net: Netns) -> list[str]:
    """The connected routes that are not there, as plugins delete them."""
    lost = []
    for address in net.ipv4.addresses:
        device, prefix = address.device, address.prefix
        if device.up and device.kind != "loopback" and not address.secondary and address.length < address.width:
            if not any(each.device is device and each.proto == "kernel" for each in net.ipv4.fib.main.of(prefix)):
                lost.append(f"{prefix} dev {device.name} proto kernel table 254")
    return lost


def _port(port: BridgePort, bridge: Bridge) -> Port:
    return Port(port.device.name, bridge.name, port.hairpin, port.isolated)


def _fdb(device: Vxlan) -> list[str]:
    """The entries of a VXLAN device, in the order of their remotes. The kernel makes the one of `remote` itself."""
    config = device.config
    return [
        f"{device.fdb_text(entry, remote)} dev {device.name}"
        for entry, remote in device.entries()
        if entry.state != LEARNED
        and not (entry.mac == ZERO_MAC and entry.state == PERMANENT and remote.addr == config.remote)
    ]


def _unbuilt(net: Netns) -> Iterator[tuple[str, bool]]:
    """What the twin does not set up in the kernel, and whether it is there."""
    devices = net.devices.values()
    yield "bridge with VLAN filtering", any(isinstance(each, Bridge) and each.vlan_filtering for each in devices)
    yield (
        "programs of tc (clsact), as aws-network-policy-agent has them",
        any(each.egress is not None for each in devices),
    )
    yield "token bucket (tbf)", any(each.qdisc is not None or each.ingress is not None for each in devices)
    queue = net.programs.get(TABLE)
    yield "queue of kindnet's policies (nftables)", queue is not None and bool(queue.selected)
    sources = net.bridge_hooks.sources
    yield "check of source MACs (macspoofchk)", sources is not None and bool(sources.rules)


def _link(net: Netns, device: Device) -> Link:
    netem = device.netem
    lose: tuple[int, ...] = ()
    if netem is not None:
        if netem.delay_ns or netem.jitter_ns or netem.loss:
            raise Undecided(f"{net.name}: {device.name} has a delay or random loss, which are not compared")
        lose = tuple(sorted(number - netem.count for number in netem.lose if number >= netem.count))
    mac, peer, ageing_cs, words = mac_text(device.mac), None, 0, ""
    carrier = not isinstance(device, Veth) or device.plugged  # what else takes a carrier, the kernel does by itself
    if isinstance(device, Veth):
        if device.peer is None or device.peer.net is None:
            raise Undecided(f"{net.name}: {device.name} has no other end")
        peer = device.peer.net, device.peer.name
    elif isinstance(device, Bridge):
        ageing_cs = device.ageing_ns // 10_000_000
    elif isinstance(device, Vxlan):
        words = device.config.text()
    elif device.kind != "loopback":
        raise Undecided(f"{net.name}: the twin makes no {device.kind} ({device.name})")
    return Link(
        device.name, device.kind, mac, device.mtu, device.up, peer, ageing_cs, device.promisc, lose, carrier, device.offload, words
    )  # fmt: skip


def _rule(rule: IpRule) -> str:
    if rule.unknown or rule.unknown_in:
        raise Undecided(f"rule {rule.text()}: a part of it is not modelled")
    number, _, words = rule.text().partition(": ")
    words = words.replace(" ipproto ipproto-", " ipproto ").replace("lookup [l3mdev-table]", "l3mdev")
    return f"priority {number} {words}".replace("\t", " ")
