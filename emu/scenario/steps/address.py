"""`address`: add or delete addresses of a node or pod, in the words of `ip address`. Must not know what comes with an address."""

from __future__ import annotations

from msgspec import field

from emu.kernel.commands import ADDRESS, check_address
from emu.scenario.hosts import Commands, CommandsAction, Configures, Lines
from emu.scenario.steps import actions


class HostAddress(Commands, frozen=True):
    """Addresses of a node or pod, each as `ip address` takes it (`10.9.0.1/24 dev eth0`). First those of `del` go, then those of
    `add` come."""

    gone: Lines = field(default=(), name="del")
    add: Lines = ()


@actions.add("address")
class HostAddressAction(CommandsAction[HostAddress, Configures]):
    shape = HostAddress
    order = 116
    example = "- address: {node: node-1, add: 203.0.113.77/32 dev eth0}"
    does = ADDRESS
    checks = staticmethod(check_address)
    what = "address"
