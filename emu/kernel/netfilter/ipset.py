"""Sets of addresses, ports and names that `-m set` and `-j SET` look up: the text of `ipset save` in, look-ups out.

A set's type gives the parts of an element (`hash:ip,port`: an address and a port); a rule's flags give for each part
whether it is the packet's source or destination. The most specific net decides, `nomatch` elements included. Text is
read as ipset 7 writes it. Must not know rules or who walks them (net/netfilter/ipset/ip_set_hash_gen.h).
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from emu.clock import SECOND
from emu.errors import InputError
from emu.kernel.netfilter.matches import number
from emu.kernel.netfilter.matches.ip import name_fits, protocol
from emu.kernel.netfilter.matches.ports import port
from emu.wire.addr import ip4, ip4_text, mac, mac_text, mask
from emu.wire.frame import ICMP, IP_OFFSET, SCTP, TCP, UDP, Frame
from emu.wire.proto import PROTOCOL_NAMES, UDPLITE

# what an element of each type is made of; `list` holds the names of other sets
TYPES: dict[str, tuple[str, ...]] = {
    "hash:ip": ("ip",), "hash:net": ("net",), "hash:mac": ("mac",), "hash:ip,mark": ("ip", "mark"),
    "hash:ip,mac": ("ip", "mac"), "hash:net,net": ("net", "net"), "hash:ip,port": ("ip", "port"),
    "hash:net,port": ("net", "port"), "hash:ip,port,ip": ("ip", "port", "ip"),
    "hash:ip,port,net": ("ip", "port", "net"), "hash:net,port,net": ("net", "port", "net"),
    "hash:net,iface": ("net", "iface"), "bitmap:ip": ("ip",), "bitmap:ip,mac": ("ip", "mac"),
    "bitmap:port": ("portnumber",), "list:set": ("set",),
}  # fmt: skip
_WITH_PORTS = (TCP, UDP, SCTP, UDPLITE)
MAX_EXPANDED = 65536

Key = tuple[Any, ...]


@dataclass(slots=True)
class Element:
    """One element: `expires_ns` 0 is never. `text` is what `ipset save` shows of it."""

    text: str
    nomatch: bool = False
    expires_ns: int = 0


@dataclass(slots=True)
class IpSet:
    """A set. `timeout_s` None: its elements have no timeouts; else the default (0: for ever). `options` as saved.

    `levels` are the combinations of prefix lengths in use, most specific first; keys are looked up level by level.
    """

    name: str
    kind: str
    options: tuple[str, ...] = ()
    timeout_s: int | None = None
    netmask: int = 32
    first: int = 0
    last: int = 0xFFFFFFFF
    elements: dict[Key, Element] = field(default_factory=dict)
    levels: list[tuple[int, ...]] = field(default_factory=list)

    @property
    def parts(self) -> tuple[str, ...]:
        return TYPES[self.kind]

    @property
    def dimension(self) -> int:
        return len(self.parts)

    def put(self, key: Key, lengths: tuple[int, ...], element: Element) -> None:
        """Add or replace an element."""
        self.elements[key] = element
        if lengths not in self.levels:
            self.levels.append(lengths)
            self.levels.sort(reverse=True)

    def find(self, values: Sequence[Any], now_ns: int) -> Element | None:
        """The element that decides about a packet's values (one for each part), most specific nets first."""
        nets = [place for place, part in enumerate(self.parts) if part in ("net", "ip")]
        for lengths in self.levels:
            key = list(values)
            for place, length in zip(nets, lengths, strict=True):
                key[place] = values[place] & mask(length), length
            found = self._device(key) if self.kind == "hash:net,iface" else self.elements.get(tuple(key))
            if found is not None and not 0 < found.expires_ns <= now_ns:
                return found
        return None

    def _device(self, key: list[Any]) -> Element | None:
        """hash:net,iface: the device by its own name, or by a wildcard that begins it."""
        net, names = key
        for physical, name in names:
            exact = self.elements.get((net, (physical, name)))
            if exact is not None:
                return exact
            for (other, device), element in self.elements.items():
                kind, pattern = device
                if other == net and kind == physical and pattern.endswith("+") and name_fits(pattern, name):
                    return element
        return None


class IpSets(dict[str, IpSet]):
    """The sets of one namespace, by name."""

    def test(self, name: str, frame: Frame, flags: Sequence[str], now_ns: int) -> tuple[bool, bool]:
        """ip_set_test: whether the packet is in the set, and whether a `nomatch` element took it out.

        Raises KeyError when there is no such set.
        """
        found = self[name]
        if found.kind == "list:set":
            for (member,), element in found.elements.items():
                if element.expires_ns and element.expires_ns <= now_ns:
                    continue
                hit = self.test(member, frame, flags, now_ns)
                if hit != (False, False):
                    return hit
            return False, False
        values = values_of(found, frame, flags)
        decisive = None if values is None else found.find(values, now_ns)
        if decisive is None:
            return False, False
        return (False, True) if decisive.nomatch else (True, False)

    def save(self) -> str:
        """The text of `ipset save`: sets in their order, lists after what they hold."""
        lines = []
        for each in self.values():
            lines.append(" ".join(["create", each.name, each.kind, *each.options]))
            lines += [f"add {each.name} {element.text}" for element in each.elements.values()]
        return "".join(f"{line}\n" for line in lines)


def values_of(wanted: IpSet, frame: Frame, flags: Sequence[str]) -> list[Any] | None:
    """What the packet shows a set: for each part the value on the side that its flag names. None: the packet (or the
    rule) has no such value, and is in no set of the type."""
    if len(flags) < wanted.dimension:
        return None
    values: list[Any] = []
    for part, side in zip(wanted.parts, flags, strict=False):
        src = side == "src"
        if part in ("ip", "net"):
            addr = frame.src if src else frame.dst
            if wanted.kind.startswith("bitmap") and not wanted.first <= addr <= wanted.last:
                return None
            values.append(addr & mask(wanted.netmask) if part == "ip" else addr)
        elif part in ("port", "portnumber"):
            seen = _port_of(frame, src)
            if seen is None or (part == "portnumber" and not wanted.first <= seen[1] <= wanted.last):
                return None
            values.append(seen if part == "port" else seen[1])
        elif part == "mac":
            address = frame.smac if src else frame.dmac
            if address == bytes(6):
                return None
            values.append(address)
        elif part == "mark":
            values.append(frame.mark)
        else:
            device, port_device = (frame.indev, frame.physin) if src else (frame.outdev, frame.physout)
            names = [(False, device.name)] if device is not None else []
            if port_device is not None:
                names.append((True, port_device.name))
            if not names:
                return None
            values.append(tuple(names))
    return values


def _port_of(frame: Frame, src: bool) -> tuple[int, int] | None:
    """ip_set_get_ip4_port: (protocol, port); ICMP shows type and code, other protocols port 0."""
    if frame.frag & IP_OFFSET:
        return None
    if frame.proto in _WITH_PORTS:
        return frame.proto, frame.sport if src else frame.dport
    if frame.proto == ICMP:
        return ICMP, frame.dport
    return (frame.proto, 0) if frame.proto >= 0 else None


def parse_ipset(text: str, file: str | None = None, *, now_ns: int = 0) -> IpSets:
    """The sets of an `ipset save` text. IPv6 sets are kept, empty: no IPv4 packet is in one. Raises InputError with
    file and line."""
    sets = IpSets()
    foreign: set[str] = set()
    for line_number, raw in enumerate(text.splitlines(), 1):
        try:
            _line(sets, foreign, raw.strip(), now_ns)
        except InputError as error:
            raise error.at(file=file, line=line_number) from None
    return sets


def _line(sets: IpSets, foreign: set[str], line: str, now_ns: int) -> None:
    if not line or line.startswith("#"):
        return
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise InputError(f"cannot read the line: {error}") from None
    if words[0] == "create" and len(words) >= 3:
        made = _create(words[1], words[2], words[3:])
        if made.name in sets:
            raise InputError(f"set {made.name!r} is already there")
        if "inet6" in words:
            foreign.add(made.name)
        sets[made.name] = made
    elif words[0] == "add" and len(words) >= 3:
        if words[1] not in sets:
            raise InputError(f"no set {words[1]!r}", expected=f"create {words[1]} before it")
        if words[1] not in foreign:
            add(sets, words[1], words[2], words[3:], now_ns)
    elif words[0] not in ("COMMIT", "flush"):
        raise InputError(f"cannot read {words[0]!r}", expected="create NAME TYPE or add NAME ELEMENT")


def _create(name: str, kind: str, options: list[str]) -> IpSet:
    if kind not in TYPES:
        raise InputError(f"set type {kind!r} is not modelled", expected=", ".join(TYPES))
    made = IpSet(name, kind, tuple(options))
    words = iter(options)
    for word in words:
        if word == "timeout":
            made.timeout_s = number(next(words, ""), "timeout")
        elif word == "netmask":
            made.netmask = number(next(words, ""), "netmask", 1, 32)
        elif word == "range":
            made.first, made.last = _range(next(words, ""), kind)
        elif word not in ("counters", "comment", "skbinfo", "forceadd", "wildcard"):
            next(
                words, None
            )  # family, hashsize, maxelem, bucketsize, initval, size, markmask: nothing here depends on them
            if word == "bitmask":
                raise InputError("a set's bitmask is not modelled", expected="netmask")
    return made


def _range(text: str, kind: str) -> tuple[int, int]:
    if kind == "bitmap:port":
        low, _dash, high = text.partition("-")
        return port(low), port(high or low)
    return addresses(text)


def addresses(text: str) -> tuple[int, int]:
    """`A`, `A/LEN` or `A-B`, as first and last. Raises InputError."""
    if "-" in text:
        low, _dash, high = text.partition("-")
        return ip4(low), ip4(high)
    host, slash, length = text.partition("/")
    bits = number(length, "prefix length", 0, 32) if slash else 32
    first = ip4(host) & mask(bits)
    return first, first | ~mask(bits) & 0xFFFFFFFF


def add(sets: IpSets, name: str, text: str, options: Sequence[str] = (), now_ns: int = 0) -> None:
    """`ipset add`. Raises InputError."""
    found = sets[name]
    timeout, nomatch, words = found.timeout_s, False, iter(options)
    shown = [text]
    for word in words:
        if word == "timeout":
            timeout = number(next(words, ""), "timeout")
        elif word == "nomatch":
            nomatch = True
            shown.append(word)
        elif word in ("before", "after"):
            raise InputError(f"{word!r} is not what ipset save writes", expected="members in their order")
        else:
            next(words, None)  # packets, bytes, comment, skbmark ...: listed, and never matched on
    element = Element(" ".join(shown), nomatch, now_ns + timeout * SECOND if timeout else 0)
    if found.kind == "list:set":
        if text not in sets:
            raise InputError(f"no set {text!r}", expected=f"create {text} before the list")
        found.put((text,), (), element)
        return
    parts = text.split(",", found.dimension - 1)
    if len(parts) < found.dimension and found.kind != "bitmap:ip,mac":
        raise InputError(f"{text!r} is not an element of {found.kind}", expected=",".join(found.parts))
    for key, lengths in _keys(found, parts):
        found.put(key, lengths, element)


def remove(found: IpSet, text: str) -> None:
    """`ipset del`; nothing happens if the element is not there. Raises InputError."""
    for key, _lengths in _keys(found, text.split(",", found.dimension - 1)):
        found.elements.pop(key, None)


def _keys(found: IpSet, parts: list[str]) -> Iterator[tuple[Key, tuple[int, ...]]]:
    """Every key that an element stands for: ranges of addresses and ports are many."""
    choices: list[list[tuple[Any, int | None]]] = []
    for part, text in zip(found.parts, parts, strict=False):
        choices.append(_choices(found, part, text))
    total = 1
    for each in choices:
        total *= len(each)
    if total > MAX_EXPANDED:
        raise InputError(f"{','.join(parts)!r} stands for {total} elements", expected=f"at most {MAX_EXPANDED}")
    combined: list[tuple[Key, tuple[int, ...]]] = [((), ())]
    for each in choices:
        combined = [
            ((*key, value), lengths if length is None else (*lengths, length))
            for key, lengths in combined
            for value, length in each
        ]
    yield from combined


def _choices(found: IpSet, part: str, text: str) -> list[tuple[Any, int | None]]:
    """The values of one part, each with its prefix length where it is an address."""
    if part == "ip":
        first, last = addresses(text)
        if last - first >= MAX_EXPANDED:
            raise InputError(f"{text!r} stands for too many addresses", expected=f"at most {MAX_EXPANDED}")
        keep = mask(found.netmask)
        return [((addr, 32), 32) for addr in sorted({addr & keep for addr in range(first, last + 1)})]
    if part == "net":
        if "-" in text:
            return [((net, length), length) for net, length in _cover(*addresses(text))]
        host, slash, length_text = text.partition("/")
        length = number(length_text, "prefix length", 0, 32) if slash else 32
        return [((ip4(host) & mask(length), length), length)]
    if part in ("port", "portnumber"):
        proto_text, colon, ports = text.rpartition(":")
        proto = protocol(proto_text) if colon else TCP
        if proto == ICMP and part == "port":
            kind, slash, code = ports.partition("/")
            return [((ICMP, number(kind, "type", 0, 255) << 8 | number(code or "0", "code", 0, 255)), None)]
        low, _dash, high = ports.partition("-")
        numbers = range(port(low), port(high or low) + 1)
        return [((proto, each) if part == "port" else each, None) for each in numbers]
    if part == "mac":
        return [(mac(text), None)]
    if part == "mark":
        return [(number(text, "mark"), None)]
    return [((text.startswith("physdev:"), text.removeprefix("physdev:")), None)]


def _cover(first: int, last: int) -> Iterator[tuple[int, int]]:
    """The fewest prefixes that make up a range (ip_set_range_to_cidr)."""
    while first <= last:
        length = 32
        while length and first & ~mask(length - 1) & 0xFFFFFFFF == 0 and first | ~mask(length - 1) & 0xFFFFFFFF <= last:
            length -= 1
        yield first, length
        first += 1 << (32 - length)


def element_text(found: IpSet, values: Sequence[Any]) -> str:
    """A packet's values as `ipset add` takes them: what `-j SET` adds."""
    words = []
    for part, value in zip(found.parts, values, strict=False):
        if part in ("ip", "net"):
            words.append(ip4_text(value))
        elif part == "port":
            proto, seen = value
            number_text = f"{seen >> 8}/{seen & 255}" if proto == ICMP else str(seen)
            words.append(f"{PROTOCOL_NAMES.get(proto, proto)}:{number_text}")
        elif part == "mac":
            words.append(mac_text(value))
        elif part == "iface":
            words.append(str(value[0][1]))
        else:
            words.append(str(value))
    return ",".join(words)
