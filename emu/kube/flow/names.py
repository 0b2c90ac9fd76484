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
from emu.wire.frame import AF_INET

# Which name of an address is shown first: a Service's for its cluster IP, a node's, a pod's, the underlay's,
# that of a host outside, a Service's for its addresses outside
SERVICE, NODE, POD, UNDERLAY, OUTSIDE, FRONT_END = range(6)
ROLES = {POD: "pod", NODE: "node", UNDERLAY: "underlay", OUTSIDE: "outside"}  # of a namespace, for captures


Key = tuple[int, int]  # family (AF_*) and address


class _Claim(NamedTuple):
    """One name of an address, from one owner; `owner` and `number` count owners and claims."""

    rank: int
    owner: int
    number: int
    name: str


class AddressBook:
    """`names` gives every address, as (family, address), that has, or had, a name its names, the one to show first;
    `update` brings it up to date. An address that nothing has any more keeps its last name: captures have frames of it."""

    def __init__(self) -> None:
        self.names: dict[Key, list[str]] = {}
        self._claims: dict[Key, list[_Claim]] = {}
        self._owners: dict[tuple[int, str], int] = {}
        self._owned: dict[tuple[int, str], list[tuple[Key, _Claim]]] = {}
        self._changed: dict[Key, None] = {}
        self._count = 0

    def watch(self, net: Netns, name: str, rank: int) -> None:
        """Name the present and future addresses of a namespace: the first address of a node, pod or outside host has its
        name, the others also name the device (`node-1/cbr0`)."""
        net.on_address(_Namer(self, name, rank))

    def added(self, rank: int, name: str, family: int, address: Address) -> None:
        """An address of a namespace that is watched."""
        self._add(rank, name, (family, address.addr), address.device.name)

    def expect(self, rank: int, name: str, addr: int, device: str) -> None:
        """An address that a namespace will have, which is not there yet."""
        self._add(rank, name, (AF_INET, addr), device)

    def _add(self, rank: int, name: str, key: Key, device: str) -> None:
        if device != "lo":
            plain = rank != UNDERLAY and not self._owned.get((rank, name))
            self._own(rank, name, key, name if plain else f"{name}/{device}")

    def forget(self, name: str, rank: int) -> None:
        """An owner is gone."""
        for key, claim in self._owned.pop((rank, name), ()):
            self._claims[key].remove(claim)
            if not self._claims[key]:
                del self._claims[key]
            self._changed[key] = None

    def follow(self, old: Object | None, new: Object | None) -> None:
        """Called by the store for each change: names the addresses of Services."""
        was = list(_addresses(old)) if isinstance(old, Service) else []
        now = list(_addresses(new)) if isinstance(new, Service) else []
        if was != now:
            for rank, name, _addr in was:
                self.forget(name, rank)
            for rank, name, key in now:
                self._own(rank, name, key, name)

    def _own(self, rank: int, owner: str, key: Key, name: str) -> None:
        owned = self._owned.setdefault((rank, owner), [])
        if any(known == key for known, _claim in owned):
            return  # it was taken away and came back with its link
        self._count += 1
        claim = _Claim(rank, self._owners.setdefault((rank, owner), self._count), self._count, name)
        owned.append((key, claim))
        self._claims.setdefault(key, []).append(claim)
        self._changed[key] = None

    def update(self) -> None:
        """Take what changed over into `names`."""
        current = [(min(self._claims[key]), key) for key in self._changed if key in self._claims]
        self._changed.clear()
        for _first, key in sorted(current):
            self.names[key] = [claim.name for claim in sorted(self._claims[key])]

    def current(self) -> dict[Key, list[str]]:
        """Every address that has a name now, with its names."""
        ordered = sorted((min(claims), key) for key, claims in self._claims.items())
        return {key: [claim.name for claim in sorted(self._claims[key])] for _first, key in ordered}


class _Namer:
    """Names the addresses of one namespace, of which a cluster has many."""

    __slots__ = ("_book", "_name", "_rank")

    def __init__(self, book: AddressBook, name: str, rank: int) -> None:
        self._book, self._name, self._rank = book, name, rank

    def __call__(self, family: int, address: Address) -> None:
        self._book.added(self._rank, self._name, family, address)


def _addresses(service: Service) -> Iterator[tuple[int, str, Key]]:
    """A Service's addresses: rank, name, address."""
    name = f"svc/{service.metadata.name}.{service.metadata.namespace}"
    if service.spec.cluster_ip not in ("", "None"):
        yield SERVICE, name, (AF_INET, ip4(service.spec.cluster_ip))
    for text in outer_addresses(service):
        yield FRONT_END, name, (AF_INET, ip4(text))
