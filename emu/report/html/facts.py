"""The lines of a comment as the plain values that `entries` makes of a trail: for captures that were read from a file.

`FORMS` is the whole list; a line of none of them stays a fact in words. Must not know files.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

Value = dict[str, Any]
Found = re.Match[str]
ROUTE_KINDS = ("local", "broadcast", "multicast", "unreachable", "blackhole", "prohibit", "throw")


@dataclass(frozen=True, slots=True)
class Stated:
    """An entry of a trail that a comment states: `value` is as `entries.plain` gives it."""

    value: tuple[tuple[str, Any], ...]

    @classmethod
    def of(cls, **value: Any) -> Stated:
        return cls(tuple(value.items()))


def _nat(found: Found) -> Stated:
    kind, before, after, number = found.groups()
    return Stated.of(k="nat", kind=kind, before=before, after=after, ct=int(number))


def _route(found: Found) -> Stated:
    text = found[1]
    words = text.split()
    after = dict(pairwise(words))
    kind = words[0] if words[0] in ROUTE_KINDS else "unicast"
    return Stated.of(k="route", text=text, type=kind, via=after.get("via", ""), dev=after.get("dev", ""))


def _bridged(found: Found) -> Stated:
    bridge, up, flooded, port = found.groups()
    return Stated.of(k="bridge", bridge=bridge, port=port, flooded=int(flooded or 0), up=bool(up))


def _rule(found: Found) -> Stated:
    table, chain, number, spec = found.groups()
    return Stated.of(k="rule", table=table, chain=chain, n=int(number), spec=spec, jump="")


def _nat_rule(found: Found) -> Stated:
    number, chain, spec = found.groups()
    return Stated.of(k="rule", table="nat", chain=chain, n=int(number), spec=spec, jump="")


def _tracked(found: Found) -> Stated:
    new, number, state = found.groups()
    return Stated.of(k="ct", ct=int(number), state=state or "NEW", new=bool(new))


def _tunnel(found: Found) -> Stated:
    """`src -> dst` of what went into it; `from src` of what came out of it."""
    device, vni, src, dst = found.groups()
    ends = {"src": src, "dst": dst} if dst else {"src": src}
    return Stated.of(k="tunnel", dev=device, out=bool(dst), vni=None if vni is None else int(vni), **ends)


def _forbidden(found: Found) -> Stated:
    way, pod, reason = found.groups()
    rule = next((word for word in reason.split() if word.startswith(f"{way}[")), "")
    return Stated.of(k="forbidden", way=way, pod=pod, reason=reason, rule=rule)


FORMS: tuple[tuple[re.Pattern[str], Callable[[Found], Stated]], ...] = tuple(
    (re.compile(pattern), make)
    for pattern, make in (
        (
            r"dropped (\S+) at (\S+)(?: by (.*))?",
            lambda f: Stated.of(k="drop", reason=f[1], place=f[2], by=f[3] or ""),
        ),
        (r"nat\b.*: ((?:un-)?[DS]NAT) (?:src|dst) (\S+) -> (\S+), ct (?:NEW )?\S*#(\d+)", _nat),
        (r"route (.+)", _route),
        (
            r"arp who-has (\S+) dev (\S+) \((\w+)\)",
            lambda f: Stated.of(k="asked", addr=f[1], dev=f[2], dst="", why=f[3]),
        ),
        (
            r"arp (\S+) is (?:local, asked on|(proxied), behind) (\S+)",
            lambda f: Stated.of(k="answered", addr=f[1], dev=f[3], proxy=bool(f[2])),
        ),
        (r"waited for ARP: (\S+) dev (\S+)", lambda f: Stated.of(k="waited", addr=f[1], dev=f[2])),
        (r"ct (NEW )?\S*#(\d+)(?: is (\S+))?", _tracked),
        (r"bridge (\S+): (?:(handed up)|flooded to (\d+) ports?|fdb \S+ -> (\S+))", _bridged),
        (
            r"bridge (\S+): learned that (\S+) is behind (\S+)",
            lambda f: Stated.of(k="learn", bridge=f[1], port=f[3], mac=f[2]),
        ),
        (r"rule (\d+) of (\S+): (.*)", _nat_rule),
        (r"([\w-]+) (?:\S+ -> )*(\S+) rule (\d+): (.*)", _rule),
        (r"(?:vxlan|ipip) (\S+): (?:vni (\d+), )?(?:from )?(\S+)(?: -> (\S+))?", _tunnel),
        (r"policy (ingress|egress) of (\S+): (.*)", _forbidden),
        (r"born here: (.*)", lambda f: Stated.of(k="born", what=f[1])),
        (r"delivered to (.*)", lambda f: Stated.of(k="delivered", netns="", to=f[1])),
    )
)


def read(sentence: str, facts: Iterable[str]) -> tuple[Stated, ...]:
    """The entries that a comment's facts state. A route without a falling TTL is that of a packet that was made here."""
    lines = list(facts)
    found = [made for line in lines if (made := _one(line)) is not None]
    kinds = {dict(each.value)["k"] for each in found}
    if "route" in kinds and "born" not in kinds and not any(line.startswith("ttl ") for line in lines):
        found.insert(0, Stated.of(k="born", what=sentence.partition(": ")[2].partition(",")[0]))
    return tuple(found)


def _one(line: str) -> Stated | None:
    for pattern, make in FORMS:
        match = pattern.fullmatch(line)
        if match is not None:
            return make(match)
    return None
