"""A namespace's routes, as `ip route show table all` lists them, and the one that a packet takes, as `ip route get`
prints it. Must not know where they come from.
"""

from __future__ import annotations

from typing import Any

from emu.kernel.net import listed
from emu.kernel.net.fib_rules import MAIN_TABLE, TABLE_NAMES
from emu.kernel.net.fib_semantics import Route
from emu.kernel.net.netns import Netns
from emu.kernel.net.route_get import route_get
from emu.report import Report, views
from emu.wire.addr import ip4, ip4_text


@views.add("routes")
def routes(net: Netns) -> Report:
    """The routes, as `ip route show table all` lists them. The main table is first; other lines name their table."""
    found = list(listed.routes(net.ipv4.fib))
    data = [_as_ip_prints(route, table) for route, table, _ in found]
    return Report(data, "\n".join(text for *_, text in found))


def _as_ip_prints(route: Route, table: str) -> dict[str, Any]:
    """A route as `ip -j route` prints it: what does not apply is no key."""
    found: dict[str, Any] = {} if route.kind == "unicast" else {"type": route.kind}
    found["dst"] = "default" if not route.prefix.length else str(route.prefix).removesuffix("/32")
    if route.tos:
        found["tos"] = f"{route.tos:#04x}"
    if not route.hops:
        found |= _way(route)
    if table != TABLE_NAMES[MAIN_TABLE]:
        found["table"] = table
    found["protocol"] = route.proto
    if route.scope != "global":
        found["scope"] = route.scope
    if route.prefsrc:
        found["prefsrc"] = ip4_text(route.prefsrc)
    if route.metric:
        found["metric"] = route.metric
    found["flags"] = _flags(route)
    found |= {"metrics": [{"mtu": route.mtu}]} if route.mtu else {}
    if route.hops:
        found["nexthops"] = [{**_way(hop), "weight": hop.weight, "flags": _flags(hop)} for hop in route.hops]
    return found


def _way(route: Route) -> dict[str, Any]:
    found = {"gateway": ip4_text(route.gateway)} if route.gateway else {}
    return found | ({"dev": route.device.name} if route.device is not None else {})


def _flags(route: Route) -> list[str]:
    return [*(["onlink"] if route.onlink else []), *(["linkdown"] if route.linkdown or listed.state(route) else [])]


def route_to(net: Netns, destination: str, source: str = "", mark: int = 0) -> Report:
    """The route of a packet that the namespace itself sends, exceptions (PMTU, redirects) included. Raises InputError."""
    first, *cache = route_get(net, ip4(destination), ip4(source) if source else 0, mark)
    if not cache:
        return Report({"dst": destination, "error": first}, first)
    words = first.removeprefix("local ").split()
    keys: dict[str, Any] = dict(zip(words[1::2], words[2::2], strict=True))
    names = {"via": "gateway", "src": "prefsrc"}
    data = {"dst": words[0], "local": first.startswith("local "), **{names.get(k, k): v for k, v in keys.items()}}
    return Report(data | {"cache": cache[0].removeprefix("cache").strip()}, f"{first}\n    {cache[0]}")
