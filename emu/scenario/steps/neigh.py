"""`neigh`: set or delete neighbours of a node or pod by hand, in the words of `ip neigh`. Must not know ARP."""

from __future__ import annotations

from msgspec import field

from emu.kernel.commands import NEIGH, check_neigh
from emu.scenario.hosts import Commands, CommandsAction, Configures, Lines
from emu.scenario.steps import actions


class Neigh(Commands, frozen=True):
    """Permanent neighbours of a node or pod, each as `ip neigh` takes it (`10.9.0.2 lladdr 02:00:00:00:00:02 dev eth0`). First those
    of `del` go, then those of `replace` and `add` come."""

    gone: Lines = field(default=(), name="del")
    replace: Lines = ()
    add: Lines = ()


@actions.add("neigh")
class NeighAction(CommandsAction[Neigh, Configures]):
    shape = Neigh
    order = 117
    example = '- neigh: {node: node-1, add: "192.168.51.99 lladdr 02:00:00:00:00:99 dev eth0 nud permanent"}'
    does = NEIGH
    checks = staticmethod(check_neigh)
    what = "neighbour"
