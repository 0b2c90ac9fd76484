"""Routes and rules as people write them: the words of `ip route add` and `ip rule add`, read into what `fib` keeps.

What cannot be read is an InputError. Must not know namespaces: whether a gateway is on a link is asked elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from emu.errors import InputError
from emu.kernel.net.fib_rules import (
    ANY,
    FULL_MASK,
    GOTO,
    LOCAL_TABLE,
    LOOKUP,
    MAIN_TABLE,
    NOP,
    PROTOCOLS,
    TABLE_NAMES,
    TOS_MASK,
    VERDICTS,
    IpRule,
    Range,
)
from emu.kernel.net.fib_semantics import KINDS, Route
from emu.wire.addr import Prefix, ip4

_WORDS = ("via", "dev", "proto", "scope", "src", "metric", "mtu", "table", "tos", "dsfield")


def parse_route(text: str, device_by_name: Any) -> Route:
    """A route from `ip route` text: `[KIND] PREFIX [tos T] [via IP] [dev NAME] [proto P] [scope S] [src IP] [metric N]
    [mtu N] [table N] [onlink]`, or several `nexthop [via IP] [dev NAME] [weight N] [onlink]` behind the others.
    `device_by_name(name)` gives the device. Raises InputError."""
    first, *rest = text.split("nexthop") if " nexthop " in text else [text]
    words = first.split()
    kind = words.pop(0) if words and words[0] in KINDS else "unicast"
    if not words:
        raise InputError(f"route {text!r} has no prefix", expected="default or a CIDR")
    prefix = Prefix.parse(words.pop(0))
    values = _values(words, text, _WORDS)
    device = device_by_name(values["dev"]) if "dev" in values else None
    if rest and (kind != "unicast" or "dev" in values or "via" in values):
        raise InputError(
            f"route {text!r}: its next hops state the gateway and the device", expected="nexthop via ADDRESS"
        )
    if kind == "unicast" and device is None and "via" not in values and not rest:
        raise InputError(f"route {text!r} has no way out", expected="via ADDRESS or dev NAME")
    # iproute2's defaults (iproute_modify)
    scope = {"local": "host", "broadcast": "link", "multicast": "link"}.get(kind, "global")
    if kind == "unicast" and "via" not in values and not rest:
        scope = "link"
    route = Route(
        prefix,
        kind,
        device,
        ip4(values["via"]) if "via" in values else 0,
        ip4(values["src"]) if "src" in values else 0,
        values.get("scope", scope),
        int(values.get("metric", 0)),
        int(values.get("mtu", 0)),
        values.get("proto", "boot"),
        table(values.get("table", "local" if kind in ("local", "broadcast") else "main")),
        "onlink" in values,
        tos=tos(values.get("tos", values.get("dsfield", "0"))),
    )
    return with_hops(route, [_hop(route, part, text, device_by_name) for part in rest]) if rest else route


def with_hops(route: Route, hops: Sequence[Route]) -> Route:
    """The route with these next hops. One is the route's own way."""
    if len(hops) == 1:
        return replace(
            route, **{name: getattr(hops[0], name) for name in ("device", "gateway", "onlink", "dead", "linkdown")}
        )
    return replace(route, device=hops[0].device, gateway=hops[0].gateway, hops=tuple(hops))


def _hop(route: Route, part: str, text: str, device_by_name: Any) -> Route:
    values = _values(part.split(), text, ("via", "dev", "weight"))
    if not values.keys() & {"via", "dev"}:
        raise InputError(f"route {text!r}: a next hop has no way out", expected="via ADDRESS or dev NAME")
    weight = values.get("weight", "1")
    if not weight.isdigit() or not 1 <= int(weight) <= 256:
        raise InputError(f"route {text!r}: {weight!r} is not a weight", expected="1 to 256")
    return replace(
        route,
        device=device_by_name(values["dev"]) if "dev" in values else None,
        gateway=ip4(values["via"]) if "via" in values else 0,
        onlink="onlink" in values,
        weight=int(weight),
    )


def _values(words: list[str], text: str, known: Sequence[str]) -> dict[str, str]:
    """The words of a route by their keys; `onlink` alone has no value."""
    values: dict[str, str] = {}
    while words:
        key = words.pop(0)
        if key == "onlink":
            values[key] = ""
        elif key in known and words:
            values[key] = words.pop(0)
        else:
            raise InputError(f"route {text!r}: cannot read {key!r}", expected="via, dev, src, scope, metric, mtu ...")
    return values


def parse_rule(text: str, others: Sequence[IpRule]) -> IpRule:
    """A rule from `ip rule add` text: `[not] SELECTORS ACTION [priority N]`. Raises InputError, also for a rule that exists.

    Selectors: `from`, `to`, `tos`, `fwmark MARK[/MASK]`, `iif`, `oif`, `uidrange`, `ipproto`, `sport`, `dport`. Actions:
    `lookup TABLE [suppress_prefixlength N] [suppress_ifgroup N]`, `goto N`, `nop`, `unreachable`, `blackhole`, `prohibit`.
    Without an action it is `lookup main`, without a priority one less than that of the first rule after the local
    table's (fib_default_rule_pref)."""
    given = _given(text)
    if "priority" not in given:
        later = [rule.priority for rule in others if rule.priority]
        given["priority"] = max(min(later) - 1, 0) if later else 0
    new = IpRule(**given)
    if new.action == LOOKUP:
        new = replace(new, table=0 if new.l3mdev else new.table or MAIN_TABLE)
    else:
        new = replace(new, table=0, suppress_length=-1, suppress_group=-1)
    if new.action == GOTO and new.target <= new.priority:
        raise InputError(f"rule {text!r}: Backward goto not supported", expected=f"a priority above {new.priority}")
    if new in others:
        raise InputError(f"rule {text!r}: File exists", expected="a rule that is not there yet")
    return new


def _given(text: str) -> dict[str, Any]:
    """The fields of a rule that its words state. Raises InputError."""
    words = text.split()
    given: dict[str, Any] = {}
    if words[:1] == ["not"]:
        given["invert"] = True
        del words[0]
    while words:
        key = words.pop(0)
        if key in VERDICTS or key == NOP:
            given["action"] = key
            continue
        if key == "l3mdev":
            given["l3mdev"] = True
            continue
        if key not in _READERS:
            raise InputError(
                f"rule {text!r}: cannot read {key!r}", expected=", ".join(sorted({*_READERS, NOP, *VERDICTS}))
            )
        if not words:
            raise InputError(f"rule {text!r}: {key} of what?")
        try:
            given |= _READERS[key](words.pop(0))
        except InputError as error:
            raise InputError(f"rule {text!r}: {error.what}", expected=error.expected) from None
    if not given:
        raise InputError(f"rule {text!r} is empty", expected="such as from 10.0.0.5 lookup 100")
    return given


def select_rule(text: str) -> Callable[[IpRule], bool]:
    """Which rules `ip rule del TEXT` means: those that have what the text states, `not` apart, which the kernel does not
    compare (rule_find in net/core/fib_rules.c). Raises InputError."""
    given = _given(text)
    given.pop("invert", None)
    if not given:
        raise InputError(f"rule {text!r} is empty", expected="such as from 10.0.0.5 lookup 100")
    stated = {name: value for name, value in given.items() if value != ANY}
    return lambda rule: all(getattr(rule, name) == value for name, value in stated.items())


def select_route(text: str, device_by_name: Callable[[str], Any]) -> tuple[int, Prefix, Callable[[Route], bool]]:
    """Which routes `ip route del TEXT` means: the number of the table, the prefix, and what else the text states; the TOS is
    0 unless it is stated (fib_table_delete, fib_nh_match). Raises InputError, also for several next hops."""
    words = text.split()
    kind = words.pop(0) if words and words[0] in KINDS else ""
    if not words or "nexthop" in words:
        raise InputError(
            f"route {text!r} has {'several next hops' if words else 'no prefix'}", expected="default or a CIDR"
        )
    prefix = Prefix.parse(words.pop(0))
    values = _values(words, text, _WORDS)
    place = LOCAL_TABLE if kind in ("local", "broadcast") else MAIN_TABLE
    stated: dict[str, Any] = {"tos": tos(values.get("tos", values.get("dsfield", "0")))}
    if kind:
        stated["kind"] = kind
    for word, field, read in (
        ("dev", "device", device_by_name),
        ("via", "gateway", ip4),
        ("src", "prefsrc", ip4),
        ("scope", "scope", str),
        ("proto", "proto", str),
        ("metric", "metric", number),
        ("mtu", "mtu", number),
    ):
        if word in values:
            stated[field] = read(values[word])
    return (
        table(values["table"]) if "table" in values else place,
        prefix,
        lambda route: all(getattr(route, name) == value for name, value in stated.items()),
    )


def _prefix(word: str) -> Prefix:
    return ANY if word in ("all", "any", "default") else Prefix.parse(word)


def number(word: str, highest: int = FULL_MASK, lowest: int = 0) -> int:
    """A number as the tools read it: decimal, 0x or leading 0. Raises InputError."""
    octal = len(word) > 1 and word[0] == "0" and word.isdigit()
    try:
        value = int(word, 8 if octal else 0) if word.isascii() else -1
    except ValueError:
        value = -1
    if not lowest <= value <= highest:
        raise InputError(f"{word!r} is not a number", expected=f"{lowest} to {highest}, such as 100 or 0x64")
    return value


def span(word: str, highest: int, lowest: int = 0) -> Range:
    """One number, or two with a hyphen, the lower first. Raises InputError."""
    first, hyphen, last = word.partition("-")
    one = number(first, highest, lowest)
    other = number(last, highest, lowest) if hyphen else one
    if other < one:
        raise InputError(f"{word!r} is no range", expected="the lower number first")
    return one, other


def protocol(word: str) -> int:
    """An IP protocol by name or number. Raises InputError."""
    named = {name: value for value, name in PROTOCOLS.items()}
    return named[word] if word in named else number(word.removeprefix("ipproto-"), 255)


def tos(word: str) -> int:
    """A TOS byte by its name or as a hexadecimal number, as `tos` takes it. Raises InputError."""
    if word.upper() in _CLASSES:
        return _CLASSES[word.upper()]
    try:
        return int(word, 16)
    except ValueError:
        raise InputError(f"TOS value {word!r} is invalid", expected="such as 0x10 or CS1") from None


def _fwmark(word: str) -> dict[str, int]:
    mark, slash, wanted = word.partition("/")
    value = number(mark)
    # without a mask, a mark of 0 is no selector (fib_nl2rule)
    return {"mark": value, "mask": number(wanted) if slash else FULL_MASK if value else 0}


def _tos(word: str) -> int:
    value = tos(word)
    if value & ~TOS_MASK:
        raise InputError(f"invalid TOS {word!r}", expected="bits of 0x1c")
    return value


def table(word: str) -> int:
    """The number of a routing table. Raises InputError."""
    named = {name: number for number, name in TABLE_NAMES.items()}
    return named[word] if word in named else number(word, lowest=1)


# the bytes of DSCP names: CS1 to CS7, AF11 to AF43, EF (RFC 2474, RFC 2597, RFC 3246)
_CLASSES = (
    {"BE": 0, "CS0": 0, "EF": 0xB8}
    | {f"CS{n}": n << 5 for n in range(1, 8)}
    | {f"AF{n}{drop}": n << 5 | drop << 3 for n in range(1, 5) for drop in range(1, 4)}
)
_READERS: dict[str, Callable[[str], dict[str, Any]]] = {
    "from": lambda word: {"src": _prefix(word)},
    "to": lambda word: {"dst": _prefix(word)},
    "fwmark": _fwmark,
    "iif": lambda word: {"iif": word},
    "dev": lambda word: {"iif": word},
    "oif": lambda word: {"oif": word},
    "tos": lambda word: {"tos": _tos(word)},
    "dsfield": lambda word: {"tos": _tos(word)},
    "uidrange": lambda word: {"uids": span(word, FULL_MASK)},
    "ipproto": lambda word: {"proto": protocol(word)},
    "sport": lambda word: {"sports": span(word, 65534, 1)},
    "dport": lambda word: {"dports": span(word, 65534, 1)},
    "lookup": lambda word: {"table": table(word)},
    "table": lambda word: {"table": table(word)},
    "suppress_prefixlength": lambda word: {"suppress_length": number(word)},
    "suppress_ifgroup": lambda word: {"suppress_group": 0 if word == "default" else number(word)},
    "goto": lambda word: {"action": GOTO, "target": number(word)},
    "priority": lambda word: {"priority": number(word)},
    "preference": lambda word: {"priority": number(word)},
    "pref": lambda word: {"priority": number(word)},
    "order": lambda word: {"priority": number(word)},
}
