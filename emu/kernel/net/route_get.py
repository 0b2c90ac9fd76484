"""`ip route get`: the route of a local packet to one destination, exceptions included, as the tool prints it.

Used by `emu show routes --get`; the walk must not know it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emu.clock import SECOND
from emu.kernel.net import ip_output
from emu.kernel.net.fib_rules import LOCAL_TABLE, MAIN_TABLE, TABLE_NAMES
from emu.kernel.net.multicast import is_member
from emu.wire.addr import ip4_text
from emu.wire.frame import UDP

if TYPE_CHECKING:
    from emu.kernel.net.netns import Netns

ERRORS = {
    "ENETUNREACH": "Network is unreachable", "EHOSTUNREACH": "No route to host", "EACCES": "Permission denied",
    "EINVAL": "Invalid argument", "UNDECIDED": "not known: a rule or route is not modelled",
}  # fmt: skip

CACHE_WORDS = {"local": ["<local>"], "broadcast": ["<local,brd>"], "multicast": ["<mc>"]}


def route_get(net: Netns, dst: int, src: int = 0, mark: int = 0) -> list[str]:
    """The lines of `ip route get DST [from SRC] [mark MARK]`, not indented; where there is no route, the tool's error."""
    flow = ip_output.flow(net, UDP)  # what the tool asks about
    taken, source, failed = ip_output.route_output(net, dst, src, mark, flow=flow)
    if taken is None:
        return [f"RTNETLINK answers: {ERRORS[failed]}"]
    words = [taken.kind] if taken.kind in CACHE_WORDS else []
    words.append(ip4_text(dst))
    if src:
        words += ["from", ip4_text(src)]
    if taken.gateway:
        words += ["via", ip4_text(taken.gateway)]
    words += ["dev", net.ipv4.out_device(taken).name]
    if taken.table not in (MAIN_TABLE, LOCAL_TABLE):
        words += ["table", TABLE_NAMES.get(taken.table, str(taken.table))]
    if not src:
        words += ["src", ip4_text(source)]
    if mark:
        words += ["mark", f"{mark:#x}"]
    cache = ["cache", *CACHE_WORDS.get(taken.kind, ())]
    if taken.kind == "multicast" and is_member(taken.device, dst):
        cache[1] = "<local,mc>"
    route = net.ipv4.fib.lookup(dst, src, mark, flow=flow)
    if route is not None and route.hops:
        route = net.ipv4.multipath.choose(route, src, dst, flow, local=True)
    entry = net.ipv4.exceptions.find(route, dst) if route is not None else None
    if entry is not None:
        if entry.gateway:
            cache.append("<redirected>")
        cache += ["expires", f"{(entry.expires_ns - net.clock.now) // SECOND}sec"]
        if entry.pmtu:
            cache += ["mtu", *(["lock"] if entry.locked else []), str(entry.mtu)]
    return [" ".join([*words, "uid 0"]), " ".join(cache)]
