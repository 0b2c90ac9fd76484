"""`ipset`: create, fill and empty the sets of a node or pod, in the words of `ipset restore`. Must not know rules."""

from __future__ import annotations

from functools import partial

from emu.errors import InputError
from emu.kernel import commands
from emu.kernel.net.netns import Netns
from emu.scenario.hosts import Configures, Host, HostAction, Lines, each_line, lines, shown
from emu.scenario.steps import Place, actions


class IpSets(Host, frozen=True):
    """Sets of a node or pod. `restore`: lines as `ipset save` writes them and `ipset restore` reads them, in their order;
    `del`, `flush` and `destroy` too."""

    restore: Lines = ()


@actions.add("ipset")
class IpsetAction(HostAction[IpSets, Configures]):
    shape = IpSets
    order = 115
    example = "- ipset: {node: node-1, restore: [create friends hash:net, add friends 10.244.0.0/16]}"

    def check_change(self, part: IpSets, place: Place) -> None:
        if not lines(part.restore):
            raise InputError("no set is changed", expected="restore: [create NAME TYPE, add NAME ELEMENT]")
        each_line(part.restore, place, "restore", commands.check_ipset)

    def change(self, part: IpSets, net: Netns, place: Place) -> None:
        each_line(part.restore, place, "restore", partial(commands.ipset, net))

    def words(self, part: IpSets) -> str:
        return shown(part.restore)
