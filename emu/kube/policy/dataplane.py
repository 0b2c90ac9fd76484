"""The dataplanes that enforce policies, by name: the node agents that each brings, and the kinds of policies that it knows.

`cluster.policy` chooses one; without it, the network does. Must not know how any of them works.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from emu.clock import MS
from emu.errors import InputError
from emu.kube.api.meta import Object
from emu.kube.policy.index import PolicyIndex
from emu.kube.policy.rules import Policy, Way
from emu.kube.policy.verdict import Packet
from emu.registry import Shelf


def _strict(index: PolicyIndex, packet: Packet, way: Way) -> bool:
    return False


def _whole(policy: Policy) -> str:
    return ""


class Dataplane(NamedTuple):
    """`agents` are names of node agents; `kinds` those of policies that it enforces. `network` "": it runs with every network; else
    with that one only. `chains` begin the names of chains in which a packet is dropped by policy. `allows` is asked about what the policies forbid on
    one side, whether this dataplane lets it pass all the same, by the way its rules read, `forbids` about what they allow, whether it
    drops it all the same; `unread` is what of a policy is not modelled for it, "" for nothing. `at_interface`: it judges at the pod's own
    interface, before DNAT what the pod sends, and behind SNAT what it gets. `both_sides`: it also judges the side of a pod of another node.
    `settled_ns`: how long it may take to follow a change."""

    name: str
    agents: tuple[str, ...] = ()
    kinds: tuple[type[Object], ...] = ()
    network: str = ""
    chains: tuple[str, ...] = ()
    allows: Callable[[PolicyIndex, Packet, Way], bool] = _strict
    forbids: Callable[[PolicyIndex, Packet, Way], bool] = _strict
    unread: Callable[[Policy], str] = _whole
    at_interface: bool = False
    both_sides: bool = False
    settled_ns: int = 10 * MS


dataplanes: Shelf[Dataplane] = Shelf("policy dataplane", "emu.kube.policy", "emu.kube.networks")

NONE = "none"
dataplanes.add(NONE)(Dataplane(NONE))


def usual(network: str) -> str:
    """The dataplane that people would choose with a network that enforces nothing: its own, else kube-router."""
    return next((name for name, each in dataplanes.items() if each.network == network), "kube-router")


def enforcing(name: str, network: str) -> Dataplane | None:
    """The dataplane of this name; None for "", one that is not modelled. Raises InputError: there is none, or it does not run with the
    network."""
    try:
        found = dataplanes[name] if name else None
        if found is not None and found.network not in ("", network):
            raise InputError(f"{name!r} does not run with network {network!r}", expected=f"network {found.network}")
    except InputError as error:
        raise error.at(path="cluster.policy") from None
    return found
