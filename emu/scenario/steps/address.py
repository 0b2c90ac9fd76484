"""`address`: add or delete addresses of a node or pod, in the words of `ip address`. Must not know what comes with an address."""

from __future__ import annotations

from functools import partial

from msgspec import field

from emu.errors import InputError
from emu.kernel.commands import ADDRESS, check_address
from emu.kernel.net.netns import Netns
from emu.scenario.hosts import Configures, Host, HostAction, Lines, each_line, shown
from emu.scenario.steps import Place, actions


class HostAddress(Host, frozen=True):
    """Addresses of a node or pod, each as `ip address` takes it (`10.9.0.1/24 dev eth0`). First those of `del` go, then those of
    `add` come."""

    gone: Lines = field(default=(), name="del")
    add: Lines = ()

    @property
    def verbs(self) -> list[tuple[str, str | tuple[str, ...]]]:
        """The commands by verb, in their order."""
        return [("del", self.gone), ("add", self.add)]


@actions.add("address")
class HostAddressAction(HostAction[HostAddress, Configures]):
    shape = HostAddress
    order = 116
    example = "- address: {node: node-1, add: 203.0.113.77/32 dev eth0}"

    def check_change(self, part: HostAddress, place: Place) -> None:
        if not any(value for _, value in part.verbs):
            raise InputError("no address is changed", expected="add or del")
        for verb, value in part.verbs:
            each_line(value, place, verb, partial(check_address, verb))

    def change(self, part: HostAddress, net: Netns, place: Place) -> None:
        for verb, value in part.verbs:
            each_line(value, place, verb, partial(ADDRESS[verb], net))

    def words(self, part: HostAddress) -> str:
        return ", ".join(f"{verb} {shown(value)}" for verb, value in part.verbs if value)
