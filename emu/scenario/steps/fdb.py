"""`fdb`: change where a VXLAN device finds a MAC, in the words of `bridge fdb`. Must not know tunnels."""

from __future__ import annotations

from msgspec import field

from emu.kernel.commands import FDB, check_fdb
from emu.scenario.hosts import Commands, CommandsAction, Configures, Lines
from emu.scenario.steps import actions


class Fdb(Commands, frozen=True):
    """Forwarding entries of the VXLAN devices of a node or pod, each as `bridge fdb` takes it (`02:00:00:00:00:02 dev flannel.1 dst
    192.168.52.12`). First those of `del` go, then those of `replace`, `append` and `add` come."""

    gone: Lines = field(default=(), name="del")
    replace: Lines = ()
    append: Lines = ()
    add: Lines = ()


@actions.add("fdb")
class FdbAction(CommandsAction[Fdb, Configures]):
    shape = Fdb
    order = 119
    example = (
        "- link: {node: node-1, add: vx0 type vxlan id 7 dev eth0}\n"
        '- fdb: {node: node-1, add: "02:00:00:00:00:99 dev vx0 dst 192.168.52.12"}'
    )
    does = FDB
    checks = staticmethod(check_fdb)
    what = "entry"
