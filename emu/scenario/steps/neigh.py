"""`neigh`: set or delete neighbours of a node or pod by hand, in the words of `ip neigh`. Must not know ARP."""

from __future__ import annotations

from functools import partial

from msgspec import field

from emu.errors import InputError
from emu.kernel.commands import NEIGH, check_neigh
from emu.kernel.net.netns import Netns
from emu.scenario.hosts import Configures, Host, HostAction, Lines, each_line, shown
from emu.scenario.steps import Place, actions


class Neigh(Host, frozen=True):
    """Permanent neighbours of a node or pod, each as `ip neigh` takes it (`10.9.0.2 lladdr 02:00:00:00:00:02 dev eth0`). First those
    of `del` go, then those of `replace` and `add` come."""

    gone: Lines = field(default=(), name="del")
    replace: Lines = ()
    add: Lines = ()

    @property
    def verbs(self) -> list[tuple[str, str | tuple[str, ...]]]:
        """The commands by verb, in their order."""
        return [("del", self.gone), ("replace", self.replace), ("add", self.add)]


@actions.add("neigh")
class NeighAction(HostAction[Neigh, Configures]):
    shape = Neigh
    order = 117
    example = '- neigh: {node: node-1, add: "192.168.51.99 lladdr 02:00:00:00:00:99 dev eth0 nud permanent"}'

    def check_change(self, part: Neigh, place: Place) -> None:
        if not any(value for _, value in part.verbs):
            raise InputError("no neighbour is changed", expected="add, replace or del")
        for verb, value in part.verbs:
            each_line(value, place, verb, partial(check_neigh, verb))

    def change(self, part: Neigh, net: Netns, place: Place) -> None:
        for verb, value in part.verbs:
            each_line(value, place, verb, partial(NEIGH[verb], net))

    def words(self, part: Neigh) -> str:
        return ", ".join(f"{verb} {shown(value)}" for verb, value in part.verbs if value)
