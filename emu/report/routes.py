"""A namespace's routes, as `ip route show table all` lists them. Must not know who added them."""

from __future__ import annotations

from emu.kernel.net.fib_rules import MAIN_TABLE, TABLE_NAMES
from emu.kernel.net.netns import Netns
from emu.report import Report, views
from emu.wire.addr import ip4_text


@views.add("routes")
def routes(net: Netns) -> Report:
    """The main table first, then the others; lines of other tables say which."""
    data, lines = [], []
    for number in sorted(net.fib.tables, key=lambda each: (each != MAIN_TABLE, each)):
        name = TABLE_NAMES.get(number, str(number))
        for route in net.fib.tables[number]:
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
