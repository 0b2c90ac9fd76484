"""`route`: change routes of a node or pod, in the words of `ip route`. Must not know how routes are looked up."""

from __future__ import annotations

from msgspec import field

from emu.kernel.commands import ROUTE, check_route
from emu.scenario.hosts import Commands, CommandsAction, Configures, Lines
from emu.scenario.steps import actions


class Route(Commands, frozen=True):
    """Routes of a node or pod, each as `ip route` takes it (`10.0.0.0/8 via 192.168.51.1`). First those of `del` go, then
    those of `replace` and `add` come."""

    gone: Lines = field(default=(), name="del")
    replace: Lines = ()
    add: Lines = ()


@actions.add("route")
class RouteAction(CommandsAction[Route, Configures]):
    shape = Route
    order = 113
    example = "- route: {node: node-1, add: blackhole 203.0.113.0/24}"
    does = ROUTE
    checks = staticmethod(check_route)
    what = "route"
