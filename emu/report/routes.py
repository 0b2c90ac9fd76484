"""A namespace's routes, as `ip route show table all` lists them, and the one that a packet takes, as `ip route get`
prints it. Must not know where they come from.
"""

from __future__ import annotations

from typing import Any

from emu.kernel.net.fib_rules import MAIN_TABLE, TABLE_NAMES
from emu.kernel.net.netns import Netns
from emu.kernel.net.route_get import route_get
from emu.report import Report, views
from emu.wire.addr import ip4, ip4_text


@views.add("routes")
def routes(net: Netns) -> Report:
    """The routes, as `ip route show table all` lists them. The main table is first; other lines name their table."""
    data, lines = [], []
    for number in sorted(net.ipv4.fib.tables, key=lambda each: (each != MAIN_TABLE, each)):
        name = TABLE_NAMES.get(number, str(number))
        for route in net.ipv4.fib.tables[number]:
            data.append(
                {
                    "table": name,
                    "type": route.kind,
                    "dst": "default" if not route.prefix.length else str(route.prefix),
                    "gateway": ip4_text(route.gateway) if route.gateway else None,
                    "dev": route.device.name if route.device is not None else None,
                    "protocol": route.proto,
                    "scope": route.scope,
                    "prefsrc": ip4_text(route.prefsrc) if route.prefsrc else None,
                    "metric": route.metric,
                }
            )
            lines.append(route.text() + ("" if number == MAIN_TABLE else f" table {name}"))
    return Report(data, "\n".join(lines))


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
