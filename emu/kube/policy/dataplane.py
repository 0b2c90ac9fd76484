"""The dataplanes that enforce policies, by name: the node agents that each brings, and the kinds of policies that it knows.

`cluster.policy` chooses one; without it, the network does. Must not know how any of them works.
"""

from __future__ import annotations

from dataclasses import dataclass

from emu.errors import InputError
from emu.kube.api.meta import Object
from emu.registry import Shelf


@dataclass(frozen=True, slots=True)
class Dataplane:
    """`agents` are names of node agents; `kinds` those of policies that it enforces. `network` "": it runs with every network; else
    with that one only."""

    name: str
    agents: tuple[str, ...] = ()
    kinds: tuple[type[Object], ...] = ()
    network: str = ""


dataplanes: Shelf[Dataplane] = Shelf("policy dataplane", "emu.kube.policy")

NONE = "none"
dataplanes.add(NONE)(Dataplane(NONE))


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
