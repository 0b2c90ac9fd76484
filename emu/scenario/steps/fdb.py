"""`fdb`: change where a VXLAN device finds a MAC, in the words of `bridge fdb`. Must not know tunnels."""

from __future__ import annotations

from functools import partial

from msgspec import field

from emu.errors import InputError
from emu.kernel.commands import FDB, check_fdb
from emu.kernel.net.netns import Netns
from emu.scenario.hosts import Configures, Host, HostAction, Lines, each_line, shown
from emu.scenario.steps import Place, actions


class Fdb(Host, frozen=True):
    """Forwarding entries of the VXLAN devices of a node or pod, each as `bridge fdb` takes it (`02:00:00:00:00:02 dev flannel.1 dst
    192.168.52.12`). First those of `del` go, then those of `replace`, `append` and `add` come."""

    gone: Lines = field(default=(), name="del")
    replace: Lines = ()
    append: Lines = ()
    add: Lines = ()

    @property
    def verbs(self) -> list[tuple[str, str | tuple[str, ...]]]:
        """The commands by verb, in their order."""
        return [("del", self.gone), ("replace", self.replace), ("append", self.append), ("add", self.add)]


@actions.add("fdb")
class FdbAction(HostAction[Fdb, Configures]):
    shape = Fdb
    order = 119
    example = (
        "- link: {node: node-1, add: vx0 type vxlan id 7 dev eth0}\n"
        '- fdb: {node: node-1, add: "02:00:00:00:00:99 dev vx0 dst 192.168.52.12"}'
    )

    def check_change(self, part: Fdb, place: Place) -> None:
        if not any(value for _, value in part.verbs):
            raise InputError("no entry is changed", expected="add, append, replace or del")
        for verb, value in part.verbs:
            each_line(value, place, verb, partial(check_fdb, verb))

    def change(self, part: Fdb, net: Netns, place: Place) -> None:
        for verb, value in part.verbs:
            each_line(value, place, verb, partial(FDB[verb], net))

    def words(self, part: Fdb) -> str:
        return ", ".join(f"{verb} {shown(value)}" for verb, value in part.verbs if value)
