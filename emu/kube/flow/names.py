"""The names of addresses in captures: of pods, nodes, Services, the outside.

Each change updates only the names that it concerns, however large the cluster is. Must not know how a name
is shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from emu.kernel.net.family import Address
from emu.kernel.net.netns import Netns
from emu.kube.api.core import Service
from emu.kube.api.meta import Object
from emu.kube.front_ends import outer_addresses
from emu.wire.addr import ip4

# Which name of an address is shown first: a Service's for its cluster IP, a node's, a pod's, the underlay's,
# that of a host outside, a Service's for its addresses outside
SERVICE, NODE, POD, UNDERLAY, OUTSIDE, FRONT_END = range(6)


class _Claim(NamedTuple):
    """One name of an address, from one owner; `owner` and `number` count owners and claims."""

    rank: int
    owner: int
    number: int
    name: str


class AddressBook:
    """`names` maps every address that has, or had, a name to its names, the first being the one to show; `update` brings it
    up to date. An address that is no longer in use keeps its last name: captures hold frames with it."""

    def __init__(self) -> None:
        self.names: dict[int, list[str]] = {}
        self._claims: dict[int, list[_Claim]] = {}
        self._owners: dict[tuple[int, str], int] = {}
        self._owned: dict[tuple[int, str], list[tuple[int, _Claim]]] = {}
        self._changed: dict[int, None] = {}
        self._count = 0

    def watch(self, net: Netns, name: str, rank: int) -> None:
        """Name the present and future addresses of a namespace: the first address of a node, pod or outside host has its
        name, the others also name the device (`node-1/cbr0`)."""

        def added(address: Address) -> None:
            device = address.device.name
            if device != "lo":
                plain = rank != UNDERLAY and not self._owned.get((rank, name))
                self._own(rank, name, address.addr, name if plain else f"{name}/{device}")

        net.on_address(added)

    def forget(self, name: str, rank: int) -> None:
        """An owner was deleted."""
        for addr, claim in self._owned.pop((rank, name), ()):
            self._claims[addr].remove(claim)
            if not self._claims[addr]:
                del self._claims[addr]
            self._changed[addr] = None

    def follow(self, old: Object | None, new: Object | None) -> None:
        """Called by the store for each change: names the addresses of Services."""
        was = list(_addresses(old)) if isinstance(old, Service) else []
        now = list(_addresses(new)) if isinstance(new, Service) else []
        if was != now:
            for rank, name, _addr in was:
                self.forget(name, rank)
            for rank, name, addr in now:
                self._own(rank, name, addr, name)

    def _own(self, rank: int, owner: str, addr: int, name: str) -> None:
        owned = self._owned.setdefault((rank, owner), [])
        if any(known == addr for known, _claim in owned):
            return  # the address was removed, and added again with its link
        self._count += 1
        claim = _Claim(rank, self._owners.setdefault((rank, owner), self._count), self._count, name)
        owned.append((addr, claim))
        self._claims.setdefault(addr, []).append(claim)
        self._changed[addr] = None

    def update(self) -> None:
        """Put the changes into `names`."""
        current = [(min(self._claims[addr]), addr) for addr in self._changed if addr in self._claims]
        self._changed.clear()
        for _first, addr in sorted(current):
            self.names[addr] = [claim.name for claim in sorted(self._claims[addr])]

    def current(self) -> dict[int, list[str]]:
        """Every address that has a name now, with all its names."""
        ordered = sorted((min(claims), addr) for addr, claims in self._claims.items())
        return {addr: [claim.name for claim in sorted(self._claims[addr])] for _first, addr in ordered}


def _addresses(service: Service) -> Iterator[tuple[int, str, int]]:
    """A Service's addresses: rank, name, address."""
    name = f"svc/{service.metadata.name}.{service.metadata.namespace}"
    if service.spec.cluster_ip not in ("", "None"):
        yield SERVICE, name, ip4(service.spec.cluster_ip)
    for text in outer_addresses(service):
        yield FRONT_END, name, ip4(text)
