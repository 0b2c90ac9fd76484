"""`host-local`: addresses out of ranges that belong to one machine (plugins/ipam/host-local).

Allocation goes round: it starts after the last address given, so that a freed one is not reused at once.
What is given is kept on the machine's disk (`HostLocalStore`). Must not know devices.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from emu.errors import InputError, Undecided
from emu.kube.cni.keys import Keys
from emu.kube.cni.spec import IP, Attachment, CniError, Config, Host, Result, Route, failure, plugins, read, unmodelled
from emu.modelled import NotModelled, used
from emu.wire.addr import Prefix, ip4, ip4_text, mask

Owner = tuple[str, str]


class Range(NamedTuple):
    """Addresses `first` to `last` of a subnet, without the gateway."""

    subnet: Prefix
    first: int
    last: int
    gateway: int

    def __contains__(self, addr: object) -> bool:
        return isinstance(addr, int) and self.first <= addr <= self.last

    def __str__(self) -> str:
        return f"{ip4_text(self.first)}-{ip4_text(self.last)}"


class RangeSet(tuple[Range, ...]):
    """Alternatives: one address comes out of one of them."""

    __slots__ = ()

    def range_of(self, addr: int) -> Range | None:
        return next((each for each in self if addr in each), None)

    def after(self, last: int | None) -> Iterator[tuple[int, Range]]:
        """Every address that may be given, once, from the one after `last` on, over the end to the beginning."""
        start = next((index for index, each in enumerate(self) if last in each), None)
        if start is None or last is None:
            rounds = [(each.first, each.last, each) for each in self]
        else:
            here = self[start]
            others = [(each.first, each.last, each) for each in self[start + 1 :] + self[:start]]
            rounds = [(last + 1, here.last, here), *others, (here.first, last, here)]
        for first, end, each in rounds:
            for addr in range(first, end + 1):
                if addr != each.gateway:
                    yield addr, each

    def __str__(self) -> str:
        return ",".join(str(each) for each in self)


class HostLocalStore:
    """What one network of one machine gave: `owner_of` address, `addresses_of` owner, and the last of each range set."""

    def __init__(self) -> None:
        self.owner_of: dict[int, Owner] = {}
        self.addresses_of: dict[Owner, list[int]] = {}
        self.last_reserved: dict[int, int] = {}

    @classmethod
    def of(cls, host: Host, network: str, directory: str) -> HostLocalStore:
        store: HostLocalStore = host.disk.setdefault(("host-local", directory, network), cls())
        return store

    def reserve(self, addr: int, owner: Owner, range_set: int) -> bool:
        """Whether `addr` was free; then it is the owner's, and the last one given."""
        if addr in self.owner_of:
            return False
        self.owner_of[addr] = owner
        self.addresses_of.setdefault(owner, []).append(addr)
        self.last_reserved[range_set] = addr
        return True

    def release(self, owner: Owner) -> None:
        """Free everything of the owner. The last one given stays the last."""
        for addr in self.addresses_of.pop(owner, ()):
            del self.owner_of[addr]


class _RangeKeys(msgspec.Struct, rename="camel"):
    subnet: str = ""
    range_start: str = ""
    range_end: str = ""
    gateway: str = ""


_RANGE_KEYS = dict.fromkeys(("subnet", "rangeStart", "rangeEnd", "gateway"), used("kube/cni/plugins/host_local"))


class _Ipam(_RangeKeys):
    ranges: list[list[_RangeKeys]] = []
    routes: list[Route] = []
    resolv_conf: str = ""
    data_dir: str = "/var/lib/cni/networks"


class _RuntimeConfig(msgspec.Struct, rename="camel"):
    ip_ranges: list[list[_RangeKeys]] = []
    ips: list[str] = []


class _CniArgs(msgspec.Struct):
    ips: list[str] = []


class _Args(msgspec.Struct):
    cni: _CniArgs = msgspec.field(default_factory=_CniArgs)


class _NetConf(msgspec.Struct, rename="camel"):
    name: str
    ipam: _Ipam | None = None
    runtime_config: _RuntimeConfig = msgspec.field(default_factory=_RuntimeConfig)
    args: _Args = msgspec.field(default_factory=_Args)


@plugins.add("host-local")
class HostLocal:
    """IPAM: the result has addresses, routes and DNS, no interfaces."""

    keys: Keys = {
        **_RANGE_KEYS,
        "ranges": _RANGE_KEYS,
        "routes": {
            **dict.fromkeys(("dst", "gw", "mtu", "priority", "table", "scope"), used("kube/cni/links")),
            "advmss": NotModelled("the MSS of a route"),
        },
        "dataDir": used("kube/cni/plugins/host_local"),
        "resolvConf": NotModelled("a file of the machine's disk"),
    }

    def add(self, config: Config, attachment: Attachment) -> Result:
        conf, ipam, sets = _load(config)
        owner = (attachment.container_id, attachment.ifname)
        if owner not in attachment.host.leased:
            return self._give(conf, ipam, sets, attachment)
        attachment.host.leased.discard(owner)
        store = HostLocalStore.of(attachment.host, conf.name, ipam.data_dir)
        return Result(ips=(_leased(store, sets[0], owner),), routes=tuple(ipam.routes))

    def _give(self, conf: _NetConf, ipam: _Ipam, sets: list[RangeSet], attachment: Attachment) -> Result:
        """An address of each range set, or none."""
        if ipam.resolv_conf:
            raise unmodelled("host-local", "resolvConf")
        store = HostLocalStore.of(attachment.host, conf.name, ipam.data_dir)
        owner = (attachment.container_id, attachment.ifname)
        requested = _requested(conf, attachment)
        ips: list[IP] = []
        # what this very ADD took goes back when a later range set fails; an earlier ADD's addresses do, too
        try:
            for number, ranges in enumerate(sets):
                wanted = next((addr for addr in requested if ranges.range_of(addr) is not None), None)
                if wanted is not None:
                    requested.remove(wanted)
                try:
                    ips.append(_allocate(store, ranges, number, owner, wanted))
                except CniError as error:
                    raise failure(f"failed to allocate for range {number}: {error.msg}") from None
            if requested:
                words = " ".join(ip4_text(addr) for addr in requested)
                raise failure(f"failed to allocate all requested IPs: {words}")
        except CniError:
            if ips:
                store.release(owner)
            raise
        return Result(ips=tuple(ips), routes=tuple(ipam.routes))

    def lease(self, config: Config, attachment: Attachment) -> Result | None:
        """Only from one range: of several sets an ADD that fails has moved on in the first ones, and addresses of another range may have
        another gateway."""
        conf, ipam, sets = _load(config)
        if len(sets) != 1 or len(sets[0]) != 1:
            return None
        result = self._give(conf, ipam, sets, attachment)
        attachment.host.leased.add((attachment.container_id, attachment.ifname))
        return result

    def check(self, config: Config, attachment: Attachment) -> None:
        conf, ipam, _ = _load(config)
        store = HostLocalStore.of(attachment.host, conf.name, ipam.data_dir)
        if (attachment.container_id, attachment.ifname) not in store.addresses_of:
            raise failure(f"host-local: Failed to find address added by container {attachment.container_id}")

    def delete(self, config: Config, attachment: Attachment) -> None:
        conf, ipam, _ = _load(config)
        store = HostLocalStore.of(attachment.host, conf.name, ipam.data_dir)
        store.release((attachment.container_id, attachment.ifname))


def _allocate(store: HostLocalStore, ranges: RangeSet, number: int, owner: Owner, wanted: int | None) -> IP:
    if wanted is not None:
        here = ranges.range_of(wanted)
        if here is None:
            raise failure(f"{ip4_text(wanted)} not in range set {ranges}")
        if wanted == here.gateway:
            raise failure(f"requested ip {ip4_text(wanted)} is subnet's gateway")
        if not store.reserve(wanted, owner, number):
            raise failure(f"requested IP address {ip4_text(wanted)} is not available in range set {ranges}")
        return _ip(wanted, here)
    for addr in store.addresses_of.get(owner, ()):
        if ranges.range_of(addr) is not None:
            raise failure(f"{ip4_text(addr)} has been allocated to {owner[0]}, duplicate allocation is not allowed")
    for addr, here in ranges.after(store.last_reserved.get(number)):
        if store.reserve(addr, owner, number):
            return _ip(addr, here)
    raise failure(f"no IP addresses available in range set: {ranges}")


def _leased(store: HostLocalStore, ranges: RangeSet, owner: Owner) -> IP:
    """The one address that an owner has, by `_allocate`."""
    addr = store.addresses_of[owner][0]
    here = ranges.range_of(addr)
    assert here is not None
    return _ip(addr, here)


def _ip(addr: int, here: Range) -> IP:
    return IP(f"{ip4_text(addr)}/{here.subnet.length}", ip4_text(here.gateway))


def _load(config: Config) -> tuple[_NetConf, _Ipam, list[RangeSet]]:
    """The configuration, its range sets checked. Raises CniError."""
    conf: _NetConf = read(config, _NetConf)
    ipam = conf.ipam
    if ipam is None:
        raise failure("IPAM config missing 'ipam' key")
    for route in ipam.routes:
        _cidr(route.dst)
        if route.gw:
            _addr(route.gw)
    keys: list[list[Any]] = [*conf.runtime_config.ip_ranges, *([[ipam]] if ipam.subnet else []), *ipam.ranges]
    if not keys:
        raise failure("no IP ranges specified")
    sets = [_range_set(each, number) for number, each in enumerate(keys)]
    for number, one in enumerate(sets):
        for other in range(number + 1, len(sets)):
            if any(_overlap(a, b) for a in one for b in sets[other]):
                raise failure(f"range set {number} overlaps with {other}")
    return conf, ipam, sets


def _range_set(keys: list[Any], number: int) -> RangeSet:
    try:
        if not keys:
            raise failure("empty range set")
        ranges = RangeSet(_range(each) for each in keys)
        for index, one in enumerate(ranges):
            for other in ranges[index + 1 :]:
                if _overlap(one, other):
                    raise failure(f"subnets {one} and {other} overlap")
    except CniError as error:
        raise failure(f"invalid range set {number}: {error.msg}") from None
    return ranges


def _overlap(one: Range, other: Range) -> bool:
    return one.first <= other.last and other.first <= one.last


def _range(keys: _RangeKeys) -> Range:
    addr, subnet = _cidr(keys.subnet)
    if subnet.length > 30:
        raise failure(f"Network {keys.subnet} too small to allocate from")
    if addr & mask(subnet.length) != addr:
        text = f"For a subnet mask of length {subnet.length} the network address is {ip4_text(subnet.net)}"
        raise failure(f"Network has host bits set. {text}")
    first = _addr(keys.range_start) if keys.range_start else subnet.net + 1
    if first not in subnet:
        raise failure(f"RangeStart {ip4_text(first)} not in network {subnet}")
    last = _addr(keys.range_end) if keys.range_end else subnet.broadcast - 1
    if last not in subnet or last < first:
        raise failure(f"RangeEnd {ip4_text(last)} not in network {subnet}")
    return Range(subnet, first, last, _addr(keys.gateway) if keys.gateway else subnet.net + 1)


def _cidr(text: str) -> tuple[int, Prefix]:
    """The address before the slash, host bits and all, and its network. Raises CniError, or Undecided for IPv6."""
    host, slash, _ = text.partition("/")
    if ":" in host:
        raise Undecided(f"CNI plugin host-local: {text!r} is IPv6, which is not modelled")
    try:
        if slash:
            return ip4(host), Prefix.parse(text)
    except InputError:
        pass
    raise failure(f"invalid CIDR address: {text}")


def _addr(text: str) -> int:
    try:
        return ip4(text)
    except InputError:
        raise failure(f"invalid IP address: {text}") from None


def _requested(conf: _NetConf, attachment: Attachment) -> list[int]:
    """Addresses that were requested by CNI_ARGS, `args.cni.ips` and the capability `ips`; their lengths do not count."""
    texts = [*attachment.known_args("IP").values(), *conf.args.cni.ips, *conf.runtime_config.ips]
    return list(dict.fromkeys(_addr(text.partition("/")[0]) for text in texts))
