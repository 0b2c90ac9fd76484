"""Which host of the cluster, or outside of it, stands for a recorded address. Must not know packets.

`--map ADDRESS=END` names it for one address, `--from` for the clients of all flows, `--to` for their servers. Every other address is
one of the host `external`, which gets it, and the underlay's router a route to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from emu.errors import InputError
from emu.kernel import boot
from emu.kernel.net.netns import Netns
from emu.kube.flow import ends
from emu.kube.flow.ends import Places, Target
from emu.kube.underlay.underlay import Underlay
from emu.wire.addr import Prefix, ip4, ip4_kind, ip4_text, is_loopback, mask
from emu.wire.frame import SCTP, TCP, UDP

EXTERNAL = "external"
PROTOCOLS = {TCP: "TCP", UDP: "UDP", SCTP: "SCTP"}
FORM = "ADDRESS=END, such as 10.1.2.3=pod/web or 10.1.2.3=svc/web:80"
MOST_OUTSIDE = 4096  # addresses of hosts outside


class Grounds(Places, Protocol):
    """A cluster, as hosts are found in it."""

    @property
    def pod_subnet(self) -> Prefix: ...
    @property
    def service_subnet(self) -> Prefix: ...
    def reshape(self, change: Callable[[Underlay], None]) -> None: ...


@dataclass(frozen=True, slots=True)
class Roles:
    """What people asked for: an end for single addresses, for all clients and for all servers ("": none)."""

    hosts: Mapping[int, str]
    client: str = ""
    server: str = ""


def roles(texts: tuple[str, ...] | list[str], client: str = "", server: str = "") -> Roles:
    """Read `--map`, `--from` and `--to`. Raises InputError."""
    found: dict[int, str] = {}
    for text in texts:
        address, equals, end = text.partition("=")
        if not equals or not end:
            raise InputError(f"cannot read the map {text!r}", expected=FORM)
        found[ip4(address.strip())] = end.strip()
    return Roles(found, client, server)


class Unmapped(Exception):
    """No host can stand for an address, and why."""


@dataclass(frozen=True, slots=True)
class Stand:
    """A host that stands for a recorded one: its display name, its namespace, its address. `target` is what its peers send to (of a
    Service its cluster IP), `own`: packets for the target arrive at this very host. `net` None: one of a Service's endpoints."""

    name: str
    net: Netns | None
    addr: int
    target: Target
    own: bool


class Hosts:
    """The stands, found once each. Raises InputError for what the mapping names and the cluster does not have."""

    def __init__(self, grounds: Grounds, wanted: Roles) -> None:
        self._grounds, self._wanted = grounds, wanted
        self._stands: dict[tuple[str, int, int, int], Stand | Unmapped] = {}
        self._outside: set[int] = set()
        self._check()

    def _check(self) -> None:
        refs = [*self._wanted.hosts.values(), self._wanted.server]
        for ref in filter(None, refs):
            self._first(ref)
        if self._wanted.client:
            ends.netns(self._grounds, self._wanted.client)

    def _first(self, ref: str) -> Target:
        """Any target of a reference, whatever the protocol. Raises InputError."""
        if ref.startswith("svc/"):
            name = ref.partition(":")[0]
            protocols = ("TCP", "UDP", "SCTP")
            for protocol in protocols:
                try:
                    return ends.targets(self._grounds, ref if ":" in ref else f"{name}:*", protocol)[0]
                except InputError:
                    if protocol == protocols[-1]:
                        raise
        return ends.targets(self._grounds, ref)[0]

    def client(self, addr: int) -> Stand:
        """The host that stands for a client. Raises Unmapped."""
        return self._found("client", addr, 0, 0)

    def server(self, addr: int, port: int, proto: int) -> Stand:
        """The host, or the Service, that stands for a server. Raises Unmapped."""
        return self._found("server", addr, port, proto)

    def _found(self, role: str, addr: int, port: int, proto: int) -> Stand:
        key = role, addr, port, proto
        found = self._stands.get(key)
        if found is None:
            if len(self._stands) > MOST_OUTSIDE:
                self._stands.clear()
            try:
                found = self._stand(role, addr, port, proto)
            except Unmapped as why:
                found = why
            self._stands[key] = found
        if isinstance(found, Unmapped):
            raise found
        return found

    def _stand(self, role: str, addr: int, port: int, proto: int) -> Stand:
        wanted = self._wanted
        ref = wanted.hosts.get(addr) or (wanted.client if role == "client" else wanted.server)
        try:
            if not ref:
                return self._external(addr, port)
            return self._client(ref) if role == "client" else self._server(ref, port, proto)
        except InputError as wrong:
            raise Unmapped(str(wrong)) from None

    def _client(self, ref: str) -> Stand:
        if ref.startswith("svc/"):
            raise Unmapped(f"{ref} opens no connection: a Service is no host")
        name = ends.sources(self._grounds, ref.partition(":")[0])[0]
        net = ends.netns(self._grounds, name if name in self._grounds.namespaces else ref)
        addr = next(each.addr for each in net.ipv4.addresses if each.device.name != "lo")
        return Stand(name, net, addr, Target(addr, 0, ref), own=True)

    def _server(self, ref: str, port: int, proto: int) -> Stand:
        if proto not in PROTOCOLS:
            target = ends.without_port(self._grounds, ref.partition(":")[0])
        else:
            whole = ref if ":" in ref else f"{ref}:{port}"
            target = ends.targets(self._grounds, whole, PROTOCOLS[proto])[0]
        place = ref.partition(":")[0]
        if place.startswith("svc/") or place[:1].isdigit():
            return Stand(target.name, None, target.addr, target, own=False)
        name = ends.sources(self._grounds, place)[0]
        return Stand(name, ends.netns(self._grounds, name), target.addr, target, own=True)

    # -- the outside ------------------------------------------------------------------------------

    def _external(self, addr: int, port: int) -> Stand:
        net = self._grounds.namespaces[EXTERNAL]
        if addr not in self._outside:
            self._settle(net, addr)
            self._outside.add(addr)
        text = ip4_text(addr)
        return Stand(EXTERNAL, net, addr, Target(addr, port, f"external {text}"), own=True)

    def _settle(self, net: Netns, addr: int) -> None:
        """Give the outside host an address, and the router a way to it."""
        text = ip4_text(addr)
        if ip4_kind(addr) or is_loopback(addr) or addr >> 24 == 0 or addr >> 28 == 15:
            raise Unmapped(f"{text} is no address of one host")
        if net.ipv4.is_local(addr):
            return
        own = next(each for each in net.ipv4.addresses if each.device.name != "lo")
        beside = addr in Prefix(own.addr & mask(own.length), own.length)
        for subnet, what in ((self._grounds.pod_subnet, "pod"), (self._grounds.service_subnet, "Service")):
            if addr in subnet:
                raise Unmapped(f"{text} lies in the {what} subnet {subnet}: map it")
        for name, other in self._grounds.namespaces.items():
            for each in other.ipv4.addresses:
                near = addr == each.addr if beside else addr in Prefix(each.addr & mask(each.length), each.length)
                if near and each.device.name != "lo":
                    raise Unmapped(f"{text} lies in a network of {name}: map it")
        if len(self._outside) >= MOST_OUTSIDE:
            raise Unmapped(f"more than {MOST_OUTSIDE:,} hosts outside")
        if not beside:
            self._grounds.reshape(lambda underlay: underlay.route(Prefix(addr, 32), own.addr))
        boot.address(net, net.device("lo"), f"{text}/32")

    @property
    def inside(self) -> bool:
        """Does the mapping name any host?"""
        return bool(self._wanted.hosts or self._wanted.client or self._wanted.server)


__all__ = ["EXTERNAL", "Hosts", "Roles", "Stand", "Unmapped", "roles"]
