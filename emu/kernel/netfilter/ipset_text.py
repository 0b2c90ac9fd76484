"""The text of `ipset save` read into sets, as ipset 7 reads it back: what `ipset restore` refuses is refused.

An element may be a range: it stands for many. An element that is there is not added twice. Wrong input is an InputError
with its line. Must not know packets: looking up is ipset.py's.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import Any

from emu.clock import SECOND, TICK_NS
from emu.errors import InputError
from emu.kernel.netfilter.ipset import NEVER_ZERO, TYPES, WITH_PORTS, Element, IpSet, IpSets, Key
from emu.kernel.netfilter.matches import number
from emu.kernel.netfilter.matches.ip import ALL_ONES, inet_aton, protocol
from emu.kernel.netfilter.matches.mac import octets_of
from emu.kernel.netfilter.matches.names import ICMP_TYPES
from emu.kernel.netfilter.matches.ports import port
from emu.wire.addr import mask
from emu.wire.frame import ICMP, TCP

MAX_EXPANDED = 65536
MAX_TIMEOUT_S = 2147483
MAX_COMMENT = 255
MAX_NAME, MAX_DEVICE = 31, 15
_ICMP_GROUPS = ("any", "destination-unreachable", "redirect", "time-exceeded", "ttl-exceeded", "parameter-problem")
# ipset's names have a type and one code: those that name a whole type are not among them, but the types without codes are
_ICMP_NAMES = {name: kind << 8 | low for name, (kind, low, _high) in ICMP_TYPES.items() if name not in _ICMP_GROUPS}
# options of an element -> what the set must have been created with
_NEEDS = {
    "comment": "comment", "packets": "counters", "bytes": "counters", "skbmark": "skbinfo", "skbprio": "skbinfo",
    "skbqueue": "skbinfo",
}  # fmt: skip
_NUMBERS = ("hashsize", "bucketsize", "initval", "size", "probes", "resize", "gc")  # nothing here depends on them
_FLAGS = ("counters", "comment", "skbinfo", "forceadd", "wildcard")
_WITHOUT_ZERO_LENGTH = ("hash:net", "hash:net,port", "hash:ip,port,net", "hash:net,net")


def parse_ipset(text: str, file: str | None = None, *, now_ns: int = 0) -> IpSets:
    """The sets of an `ipset save` text. IPv6 sets are kept, empty: no IPv4 packet is in one. Raises InputError with
    file and line."""
    sets = IpSets()
    foreign: set[str] = set()
    for line_number, raw in enumerate(text.split("\n"), 1):
        try:
            _line(sets, foreign, raw.strip(), now_ns)
        except InputError as error:
            raise error.at(file=file, line=line_number) from None
    return sets


def _line(sets: IpSets, foreign: set[str], line: str, now_ns: int) -> None:
    if not line or line.startswith("#"):
        return
    lexer = shlex.shlex(line, posix=True)
    lexer.quotes, lexer.commenters, lexer.whitespace_split = '"', "", True
    try:
        words = list(lexer)
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
    if len(name) > MAX_NAME:
        raise InputError(f"the name {name!r} is too long", expected=f"at most {MAX_NAME} characters")
    made = IpSet(name, kind, tuple(options))
    given: dict[str, str] = {}
    words = iter(options)
    for word in words:
        if word in given:
            raise InputError(f"{word} twice in one set", expected="once")
        given[word] = "" if word in _FLAGS else next(words, "")
    for word, value in given.items():
        _option(made, word, value)
    if kind.startswith("bitmap"):
        if "range" not in given:
            raise InputError(f"{kind} has no range", expected="range FIRST-LAST")
        if kind != "bitmap:port" and (made.last - made.first) // (~made.mask + 1 & ALL_ONES or 1) >= MAX_EXPANDED:
            raise InputError(f"the range {given['range']!r} is too large", expected=f"at most {MAX_EXPANDED} addresses")
    elif kind != "list:set" and "forceadd" not in given:  # which element makes room with forceadd is not modelled
        made.maxelem = number(given.get("maxelem", "65536"), "maxelem", 1)
    if "bitmask" in given and "netmask" in given:
        raise InputError("bitmask and netmask exclude each other", expected="one of them")
    return made


def _option(made: IpSet, word: str, value: str) -> None:
    """One option of `create`. Raises InputError."""
    match word:
        case "timeout":
            made.timeout_s = number(value, word, 0, MAX_TIMEOUT_S)
        case "netmask":
            made.mask = mask(number(value, word, 1, 32))
        case "bitmask":
            made.mask = inet_aton(value)
            if not made.mask:
                raise InputError(f"{value!r} leaves nothing of an address", expected="another bitmask")
        case "markmask":
            made.markmask = number(value, word, 1)
        case "range":
            made.first, made.last = _range(value, made.kind)
        case "family":
            if value not in ("inet", "inet6"):
                raise InputError(f"{value!r} is not a family", expected="inet or inet6")
        case _ if word not in _FLAGS:
            if word not in _NUMBERS and word != "maxelem":
                raise InputError(f"unknown option {word!r}", expected="an option that ipset save writes")
            number(value, word)


def _range(text: str, kind: str) -> tuple[int, int]:
    if kind == "bitmap:port":
        low, _dash, high = text.partition("-")
        return _in_order(port(low), port(high or low))
    return addresses(text)


def _in_order(one: int, other: int) -> tuple[int, int]:
    return (one, other) if one <= other else (other, one)


def addresses(text: str) -> tuple[int, int]:
    """`A`, `A/LEN` or `A-B`, as first and last. Raises InputError."""
    if "-" in text:
        low, _dash, high = text.partition("-")
        return _in_order(inet_aton(low), inet_aton(high))
    host, slash, length = text.partition("/")
    bits = number(length, "prefix length", 0, 32) if slash else 32
    first = inet_aton(host) & mask(bits)
    return first, first | ~mask(bits) & ALL_ONES


def add(
    sets: IpSets, name: str, text: str, options: Sequence[str] = (), now_ns: int = 0, *, exist: bool = False
) -> None:
    """`ipset add`; `exist`: what is there is replaced. Raises InputError."""
    found = sets[name]
    timeout_s, nomatch = _extensions(found, options)
    shown = f"{text} nomatch" if nomatch else text
    # it is gone behind its timeout, in jiffies (ip_set_timeout_expired)
    expires_ns = now_ns - now_ns % TICK_NS + timeout_s * SECOND + TICK_NS if timeout_s else 0
    if found.kind == "list:set":
        keys: list[tuple[Key, tuple[int, ...]]] = [((_member(sets, text),), ())]
    else:
        keys = list(_keys(found, parts_of(found, text)))
    for whole, lengths in keys:
        key, mac = _stored(found, whole)
        there = found.elements.get(key)
        if there is not None and (0 < there.expires_ns <= now_ns or (mac and there.mac is None)):
            del found.elements[key]
            there = None
        if there is not None and not exist:
            raise InputError(f"{text!r} is already in set {name!r}", expected="each element once")
        if there is None and found.maxelem is not None and len(found.elements) >= found.maxelem:
            raise InputError(f"set {name!r} is full", expected=f"at most {found.maxelem} elements")
        found.put(key, lengths, Element(shown, nomatch, expires_ns, mac))


def _extensions(found: IpSet, options: Sequence[str]) -> tuple[int, bool]:
    """The words after an element: its timeout in seconds (0: none), and nomatch. Raises InputError."""
    timeout_s, nomatch, words = found.timeout_s or 0, False, iter(options)
    for word in words:
        if word == "timeout":
            if found.timeout_s is None:
                raise InputError(f"set {found.name!r} has no timeouts", expected="create ... timeout SECONDS")
            timeout_s = number(next(words, ""), word, 0, MAX_TIMEOUT_S)
        elif word == "nomatch":
            if "net" not in found.parts:
                raise InputError(f"nomatch cannot be used in {found.kind}", expected="a type with nets")
            nomatch = True
        elif word in ("before", "after"):
            raise InputError(f"{word!r} is not what ipset save writes", expected="members in their order")
        elif word not in _NEEDS:
            raise InputError(f"unknown option {word!r}", expected="timeout, nomatch, " + ", ".join(_NEEDS))
        else:  # listed, and never matched on
            value = next(words, None)
            if _NEEDS[word] not in found.options:
                raise InputError(f"set {found.name!r} has no {_NEEDS[word]}", expected=f"create ... {_NEEDS[word]}")
            if value is None or (word == "comment" and len(value.encode()) > MAX_COMMENT):
                raise InputError(f"bad {word} of an element", expected=f"at most {MAX_COMMENT} bytes after it")
    return timeout_s, nomatch


def _member(sets: IpSets, text: str) -> str:
    if text not in sets:
        raise InputError(f"no set {text!r}", expected=f"create {text} before the list")
    if sets[text].kind == "list:set":
        raise InputError(f"{text!r} is a list of sets itself", expected="a set of another type")
    return text


def parts_of(found: IpSet, text: str) -> list[str]:
    """The texts of an element's parts. Raises InputError."""
    parts = text.split(",", found.dimension - 1)
    if len(parts) < found.dimension and found.kind != "bitmap:ip,mac":
        raise InputError(f"{text!r} is not an element of {found.kind}", expected=",".join(found.parts))
    return parts


def remove(found: IpSet, text: str) -> bool:
    """`ipset del`: whether all of it was there; it ends at the first that was not. Raises InputError."""
    keys = [(text,)] if found.kind == "list:set" else [key for key, _ in _keys(found, parts_of(found, text))]
    return all(found.elements.pop(_stored(found, key)[0], None) is not None for key in keys)


def _stored(found: IpSet, key: Key) -> tuple[Key, bytes | None]:
    """The key that an element lies under, and the MAC that lies with it: an address has one at most in a bitmap:ip,mac."""
    return (key[:1], key[1]) if found.kind == "bitmap:ip,mac" else (key, None)


def holds(found: IpSet, text: str, now_ns: int = 0, *, nomatch: bool = False) -> bool:
    """`ipset test`: an address is looked up in the nets that are there, a net by itself. `nomatch`: whether it is an
    exception. Raises InputError."""
    if found.kind == "list:set":
        return (text,) in found.elements
    [(key, lengths), *more] = _keys(found, parts_of(found, text))
    if more:
        raise InputError(f"{text!r} is more than one element", expected="one")
    element = found.elements.get(_stored(found, key)[0])
    if all(length == 32 for length in lengths):
        values = [value[0] if part in ("ip", "net") else value for part, value in zip(found.parts, key, strict=True)]
        if "iface" in found.parts:
            values[-1] = (values[-1],)
        element = found.find(values, now_ns)
    return element is not None and element.nomatch is nomatch and not 0 < element.expires_ns <= now_ns


def _keys(found: IpSet, parts: list[str]) -> Iterator[tuple[Key, tuple[int, ...]]]:
    """Every key that an element stands for: ranges of addresses and ports are many."""
    choices = [_choices(found, part, text) for part, text in zip(found.parts, parts, strict=False)]
    if len(choices) < found.dimension:
        choices.append([(None, None)])  # bitmap:ip,mac without a MAC
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
        return [((addr, 32), 32) for addr in _hosts(found, text)]
    if part == "net":
        return [((net & found.mask, length), length) for net, length in _nets(found, text)]
    if part in ("port", "portnumber"):
        proto, numbers = _ports(text, named=part == "port")
        if part == "portnumber" and not found.first <= numbers[0] <= numbers[-1] <= found.last:
            raise InputError(f"{text!r} is out of the set's range", expected=f"{found.first} to {found.last}")
        return [((proto, each) if part == "port" else each, None) for each in numbers]
    if part == "mac":
        return [(_mac(text), None)]
    if part == "mark":
        return [(number(text, "mark") & found.markmask, None)]
    device = text.removeprefix("physdev:")
    if not 0 < len(device) <= MAX_DEVICE:
        raise InputError(f"{device!r} is not a device name", expected=f"1 to {MAX_DEVICE} characters")
    return [((device != text, device), None)]


def _hosts(found: IpSet, text: str) -> list[int]:
    """The addresses that are left of an address or a range under the set's mask."""
    first, last = addresses(text)
    if last - first >= MAX_EXPANDED:
        raise InputError(f"{text!r} stands for too many addresses", expected=f"at most {MAX_EXPANDED}")
    if found.kind.startswith("bitmap") and not found.first <= first <= last <= found.last:
        raise InputError(f"{text!r} is out of the set's range", expected="an address of its range")
    hosts = sorted({addr & found.mask for addr in range(first, last + 1)})
    if not hosts[0] and found.kind in NEVER_ZERO:
        raise InputError(f"{text!r} cannot be in {found.kind}", expected="an address other than 0.0.0.0")
    return hosts


def _nets(found: IpSet, text: str) -> list[tuple[int, int]]:
    if "-" in text:
        nets = list(_cover(*addresses(text)))
    else:
        host, slash, length_text = text.partition("/")
        length = number(length_text, "prefix length", 0, 32) if slash else 32
        nets = [(inet_aton(host) & mask(length), length)]
    if found.kind in _WITHOUT_ZERO_LENGTH and not all(length for _, length in nets):
        raise InputError(f"{text!r} cannot be in {found.kind}", expected="a prefix length of 1 to 32")
    return nets


def _ports(text: str, named: bool) -> tuple[int, range]:
    """`[PROTO:]PORT[-PORT]` or `icmp:TYPE/CODE`; other protocols have the port 0 alone. `named`: PROTO may be there."""
    proto_text, colon, ports = text.rpartition(":")
    proto = protocol(proto_text) if colon else TCP
    if proto == ICMP and named:
        kind, slash, code = ports.partition("/")
        if slash:
            value = number(kind, "type", 0, 255) << 8 | number(code, "code", 0, 255)
        else:
            fitting = [name for name in _ICMP_NAMES if name.lower().startswith(ports.lower())] if ports else []
            if not fitting:
                raise InputError(f"{ports!r} is not an ICMP type and code", expected="TYPE/CODE or a name")
            value = _ICMP_NAMES[fitting[0]]
        return ICMP, range(value, value + 1)
    low, _dash, high = ports.partition("-")
    first, last = _in_order(port(low), port(high or low))
    if proto not in WITH_PORTS and last:
        raise InputError(f"protocol {proto_text} has no ports", expected=f"{proto_text}:0")
    return proto, range(first, last + 1)


def _mac(text: str) -> bytes:
    address = octets_of(text)
    if not any(address):
        raise InputError(f"{text!r} cannot be in a set", expected="an address other than zero")
    return address


def _cover(first: int, last: int) -> Iterator[tuple[int, int]]:
    """The fewest prefixes that make up a range (ip_set_range_to_cidr)."""
    while first <= last:
        length = 32
        while length and first & ~mask(length - 1) & 0xFFFFFFFF == 0 and first | ~mask(length - 1) & 0xFFFFFFFF <= last:
            length -= 1
        yield first, length
        first += 1 << (32 - length)
