"""The subnets of a cluster that runs: as stated, else the smallest ones that hold every address that is in use.

Pure. Must not know objects or settings.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from emu.errors import InputError
from emu.kube.underlay.shape import LanSettings
from emu.wire.addr import Prefix, ip4, ip4_text

LEAST, MOST = 24, 8  # lengths of subnets that are made up: a few addresses do not make a tiny one
POD_SUBNETS = ("10.244.0.0/16", "10.42.0.0/16", "10.245.0.0/16", "172.29.0.0/16")
Addresses = Iterable[int]


def ipv4_of(text: str) -> Prefix | None:
    """The first IPv4 subnet of a list with commas; None if there is none."""
    for part in text.split(","):
        try:
            if "/" in part and ":" not in part:
                return Prefix.parse(part.strip())
        except InputError:
            continue
    return None


def address(text: str) -> int:
    """An IPv4 address, 0 for what is none."""
    try:
        return ip4(text)
    except InputError:
        return 0


def cover(prefixes: Iterable[Prefix], longest: int = LEAST) -> Prefix | None:
    """The smallest prefix that holds all of these, and is no longer than `longest`; None for none."""
    all_of_them = [*prefixes]
    if not all_of_them:
        return None
    low = min(each.net for each in all_of_them)
    high = max(each.broadcast for each in all_of_them)
    length = min(longest, 32 - (low ^ high).bit_length())
    return Prefix.parse(f"{ip4_text(low)}/{length}")


def of_pods(stated: str, cidrs: Sequence[Prefix], addresses: Addresses, others: Sequence[Prefix]) -> Prefix:
    """The pod subnet: the stated one if it holds every node's pod CIDR, else what covers these and the pods' addresses. Without
    any, or where that would cover `others`, a usual one that is free."""
    given = ipv4_of(stated)
    if given is not None and all(_inside(each, given) for each in cidrs):
        return given
    found = cover([*cidrs, *(Prefix(each, 32) for each in addresses)], 16)
    if found is not None and found.length >= MOST and not any(found.overlaps(each) for each in others):
        return found
    tight = cover(cidrs, 30)
    if tight is not None and tight.length >= MOST:
        return tight
    usual = (Prefix.parse(each) for each in POD_SUBNETS)
    return next(each for each in usual if not any(each.overlaps(other) for other in others))


def of_services(stated: str, first: int, addresses: Addresses) -> tuple[Prefix, bool]:
    """The Service subnet, and whether it is stated. `first` is the address of the Service `kubernetes`, which is the subnet's first
    one; 0 where it is not known."""
    given, taken = ipv4_of(stated), [*addresses]
    if given is not None and all(each in given for each in taken):
        return given, True
    wanted = [Prefix(each, 32) for each in ((first - 1,) if first else ()) + tuple(taken)]
    return cover(wanted) or Prefix.parse("10.96.0.0/12"), False


def lans(groups: Mapping[str, Sequence[int]], others: Sequence[Prefix], gateways: str = "") -> list[LanSettings]:
    """A LAN for each group of machines by its name, or one for all where these would overlap. Machines far from each other, as of
    several sites, have one for each /16. `gateways` "first": the router has the first address of each, as in a VPC; else the first one
    that no machine has."""
    groups = dict(_near(groups))
    made = {name: _lan(addresses, others) for name, addresses in groups.items() if addresses}
    prefixes = [each for each in made.values() if each is not None]
    if any(a.overlaps(b) for number, a in enumerate(prefixes) for b in prefixes[:number]):
        whole = _lan([each for addresses in groups.values() for each in addresses], others)
        made = {"nodes": whole}
    taken = {each for addresses in groups.values() for each in addresses}
    found = []
    for name, prefix in made.items():
        if prefix is not None:
            free = (each for each in range(prefix.net + 1, prefix.broadcast) if each not in taken)
            gateway = ip4_text(prefix.net + 1 if gateways == "first" else next(free))
            found.append(LanSettings(name, str(prefix), gateway))
    return found


def _near(groups: Mapping[str, Sequence[int]]) -> Iterator[tuple[str, list[int]]]:
    """The groups; one that only a huge subnet would hold is cut into parts of a /16."""
    for name, addresses in groups.items():
        whole = cover(Prefix(each, 32) for each in addresses)
        if whole is None or whole.length >= MOST:
            yield name, [*addresses]
            continue
        parts: dict[int, list[int]] = {}
        for each in addresses:
            parts.setdefault(each >> 16, []).append(each)
        for number, part in enumerate(parts.values(), 1):
            yield f"{name}-{number}", part


def _lan(addresses: Sequence[int], others: Sequence[Prefix]) -> Prefix | None:
    """What covers the machines and a router: the widest up to a /24 that overlaps nothing else."""
    hosts = [Prefix(each, 32) for each in addresses]
    for longest in range(LEAST, 31):
        found = cover(hosts, longest)
        if found is None:
            return None
        edges = {found.net, found.broadcast}
        room = found.broadcast - found.net - 1 > len(set(addresses)) and not edges & set(addresses)
        if room and not any(found.overlaps(each) for each in others):
            return found
    return cover(hosts, LEAST)


def _inside(prefix: Prefix, other: Prefix) -> bool:
    return prefix.length >= other.length and prefix.overlaps(other)
