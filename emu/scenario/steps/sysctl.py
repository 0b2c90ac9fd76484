"""`sysctl`: write variables of a node or pod, as `sysctl -w` there does. Must not know which variables there are."""

from __future__ import annotations

from emu.errors import InputError
from emu.kernel.net.netns import Netns
from emu.kernel.sysctl import report
from emu.scenario.hosts import Configures, Host, HostAction
from emu.scenario.steps import Place, actions


class Sysctl(Host, frozen=True):
    """Variables of the network of a node or pod, by name, and their new values."""

    set: dict[str, int | str] = {}


@actions.add("sysctl")
class SysctlAction(HostAction[Sysctl, Configures]):
    shape = Sysctl
    order = 112
    example = "- sysctl: {node: node-2, set: {net.ipv4.ip_forward: 0}}"

    def check_change(self, part: Sysctl, place: Place) -> None:
        if not part.set:
            raise InputError("no variable is set", expected="set: {net.ipv4.ip_forward: 0}")
        for name, value in part.set.items():
            with place.at("set", name):
                report(name, value)

    def change(self, part: Sysctl, net: Netns, place: Place) -> None:
        for name, value in part.set.items():
            with place.at("set", name):
                net.sysctl[name] = value

    def words(self, part: Sysctl) -> str:
        return ", ".join(f"{name} = {value}" for name, value in part.set.items())
