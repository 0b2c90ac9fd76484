"""`route`: change routes of a node or pod, in the words of `ip route`. Must not know how routes are looked up."""

from __future__ import annotations

from functools import partial

from msgspec import field

from emu.errors import InputError
from emu.kernel.commands import ROUTE, check_route
from emu.kernel.net.netns import Netns
from emu.scenario.hosts import Configures, Host, HostAction, Lines, each_line, shown
from emu.scenario.steps import Place, actions


class Route(Host, frozen=True):
    """Routes of a node or pod, each as `ip route` takes it (`10.0.0.0/8 via 192.168.51.1`). First those of `del` go, then
    those of `replace` and `add` come."""

    gone: Lines = field(default=(), name="del")
    replace: Lines = ()
    add: Lines = ()

    @property
    def verbs(self) -> list[tuple[str, str | tuple[str, ...]]]:
        """The commands by verb, in their order."""
        return [("del", self.gone), ("replace", self.replace), ("add", self.add)]


@actions.add("route")
class RouteAction(HostAction[Route, Configures]):
    shape = Route
    order = 113
    example = "- route: {node: node-1, add: blackhole 203.0.113.0/24}"

    def check_change(self, part: Route, place: Place) -> None:
        if not any(value for _, value in part.verbs):
            raise InputError("no route is changed", expected="add, replace or del")
        for verb, value in part.verbs:
            each_line(value, place, verb, partial(check_route, verb))

    def change(self, part: Route, net: Netns, place: Place) -> None:
        for verb, value in part.verbs:
            each_line(value, place, verb, partial(ROUTE[verb], net))

    def words(self, part: Route) -> str:
        return ", ".join(f"{verb} {shown(value)}" for verb, value in part.verbs if value)
