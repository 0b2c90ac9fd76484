"""Routes and rules as `ip -j route` and `ip -j rule` print them, made into what the kernel's tables hold.

A part that emu does not model makes the route or rule undecided, with its reason; it is never left out. A device is its
name until `with_devices`. Must not know nodes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from emu.errors import InputError
from emu.kernel.net.fib_rules import ANY, FULL_MASK, GOTO, LOOKUP, MAIN_TABLE, NOP, TABLE_NAMES, VERDICTS, IpRule
from emu.kernel.net.fib_semantics import FAILING, KINDS, UNDECIDED, Route
from emu.kernel.net.iproute import protocol, tos, with_hops
from emu.pasted.ip_json import Item
from emu.wire.addr import Prefix

VRF_TABLE = "[l3mdev-table]"  # how the plain text names it
WITHOUT_DEVICE = (*FAILING, "throw")
# keys of a route that are read, and those that change no packet's way
_ROUTE_KEYS = frozenset((
    "dst", "type", "dev", "gateway", "via", "prefsrc", "scope", "metric", "metrics", "protocol", "table", "flags",
    "tos", "nexthops", "encap", "nhid", "flow", "pref", "cache", "expires", "users", "age", "used", "ts", "tsage",
    "error", "realms", "ttl-propagate", "ttl_propogate",
))  # fmt: skip
_RULE_KEYS = frozenset((
    "priority", "src", "srclen", "dst", "dstlen", "tos", "fwmark", "fwmask", "iif", "iif_detached", "oif",
    "oif_detached", "uid_start", "uid_end", "ipproto", "sport", "sport_start", "sport_end", "dport", "dport_start",
    "dport_end", "table", "suppress_prefixlen", "suppress_ifgroup", "goto", "unresolved", "nop", "action", "not",
    "l3mdev", "tun_id", "protocol", "realms", "flow_from", "flow_to",
))  # fmt: skip


@dataclass(frozen=True)
class Known:
    """What is known of a node's devices: may one be part of a VRF, or of another group than the default one?"""

    vrfs: bool = True
    groups: bool = False


def is_ip4(route: Item) -> bool:
    return ":" not in route.text("dst", ":")


def read_route(item: Item) -> Route:
    """A route, its devices as names. Raises InputError."""
    hops = item.items("nexthops")
    kind = item.text("type", "unicast")
    table = _table(item, TABLE_NAMES[MAIN_TABLE])
    metrics = next(iter(item.items("metrics")), Item({}))
    route = Route(
        item.prefix("dst"), kind, None, 0, item.address("prefsrc") if item.has("prefsrc") else 0,
        item.text("scope", "global"), item.number("metric"), metrics.number("mtu"),
        item.text("protocol", "boot"), table,
    )  # fmt: skip
    why = [f"the type {kind}"] if kind not in KINDS else []
    why += [key for key in item.values if key not in _ROUTE_KEYS]
    if item.has("tos"):
        try:
            route = replace(route, tos=tos(item.text("tos")))
        except InputError:
            why.append(f"tos {item.text('tos')}")
    if why:
        return _undecided(route, why)
    if hops:
        return with_hops(route, [_way(route, each, each.number("weight", 1, 256) or 1) for each in hops])
    return _way(route, item, 0)


def _way(route: Route, item: Item, weight: int) -> Route:
    """The route with one next hop, or with the only one."""
    name, flags = item.text("dev", ""), item.words("flags")
    if not name and route.kind not in WITHOUT_DEVICE:
        raise item.error("dev", f"is missing from a {route.kind} route", "a device's name")
    made = replace(
        route,
        device=name if route.kind not in WITHOUT_DEVICE else None,
        gateway=item.address("gateway") if item.has("gateway") else 0,
        weight=weight,
        onlink="onlink" in flags,
        dead="dead" in flags,
        linkdown="linkdown" in flags,
    )
    why = ["the encapsulation"] if item.has("encap") else []
    if item.has("via"):
        why.append("the next hop of another address family")
    return _undecided(made, why) if why else made


def _undecided(route: Route, why: list[str]) -> Route:
    shown = replace(route, kind="unicast", device=None, gateway=0).text()
    return replace(route, kind=UNDECIDED, device=None, why=f"route {shown}: {', '.join(why)} is not modelled")


def devices(route: Route) -> list[str]:
    """The names of a route's devices, before `with_devices`."""
    return [hop.device for hop in route.hops or (route,) if hop.device]


def with_devices(route: Route, device: Callable[[str], Any]) -> Route:
    """The route with devices in place of their names."""
    hops = tuple(with_devices(hop, device) for hop in route.hops)
    return replace(route, hops=hops, device=device(route.device) if route.device else None)


def _table(item: Item, default: str) -> int:
    named = {text: number for number, text in TABLE_NAMES.items()}
    text = item.values.get("table", default)
    if isinstance(text, str) and text in named:
        return named[text]
    try:
        return item.number("table")
    except InputError:
        what = f"unknown routing table {item.values['table']!r}"
        raise item.error("table", what, "main, local, default or a number") from None


def read_rule(item: Item, known: Known) -> IpRule:
    """A rule of `ip -j rule`. Raises InputError."""
    given: dict[str, Any] = {
        "priority": item.number("priority"),
        "src": _prefix(item, "src"),
        "dst": _prefix(item, "dst"),
    }
    unknown = [key for key in item.values if key not in _RULE_KEYS]
    given["mark"] = item.number("fwmark")
    given["mask"] = item.number("fwmask", FULL_MASK if given["mark"] else 0)
    given |= {name: item.text(name, "") for name in ("iif", "oif")}
    given["invert"] = item.has("not")
    for key, name, parse in (("tos", "tos", tos), ("ipproto", "proto", protocol)):
        if item.has(key):
            try:
                given[name] = parse(str(item.values[key]))
            except InputError:
                unknown.append(f"{key} {item.values[key]}")
    for key in ("sport", "dport", "uid"):
        start, end = (key, key) if item.has(key) else (f"{key}_start", f"{key}_end")
        if item.has(start):
            given[f"{key}s"] = item.number(start), item.number(end)
    given |= _action(item, known, unknown)
    inbound = [f"tun_id {item.number('tun_id')}"] if item.has("tun_id") else []
    if item.has("l3mdev") or item.values.get("table") == VRF_TABLE:
        if known.vrfs:
            inbound.append("l3mdev")
        else:
            given["action"] = NOP  # no device is part of a VRF, so that the rule never holds
    return IpRule(**given, unknown=" ".join(unknown), unknown_in=" ".join(inbound))


def _action(item: Item, known: Known, unknown: list[str]) -> dict[str, Any]:
    """What a rule does: fields of IpRule. What is not modelled is added to `unknown`."""
    if item.has("goto"):
        return {"action": GOTO, "target": item.number("goto")}
    if item.has("nop"):
        return {"action": NOP}
    action = item.text("action", LOOKUP)
    if action in VERDICTS:
        return {"action": action}
    if action != LOOKUP:
        unknown.append(f"action {action}")
    group = item.values.get("suppress_ifgroup")
    if group is not None and known.groups:
        unknown.append(f"suppress_ifgroup {group}")
        group = None
    length = item.number("suppress_prefixlen") if item.has("suppress_prefixlen") else -1
    return {
        "table": 0 if item.values.get("table") == VRF_TABLE else _table(item, "main"),
        "suppress_length": length,
        "suppress_group": -1 if group is None else 0 if group == "default" else item.number("suppress_ifgroup"),
    }


def _prefix(item: Item, key: str) -> Prefix:
    return ANY if item.text(key, "all") == "all" else item.prefix(key, f"{key}len")
