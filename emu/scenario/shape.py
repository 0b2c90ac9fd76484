"""The whole shape of a scenario file: `kinds.py`, in each step one key for each action that `steps/` has, and in the cluster one
key for each network that has options.

Must not know which actions and networks there are.
"""

from __future__ import annotations

from functools import cache
from typing import cast

from msgspec import defstruct, field

from emu.kube.networks.network import Options, network_options
from emu.scenario.kinds import ClusterPart, ScenarioPart, Step
from emu.scenario.steps import actions, in_order


@cache
def scenario_type() -> type[ScenarioPart]:
    """What `msgspec` reads a scenario's first document as."""
    fields = [(name, actions[name].shape | None, None) for name in in_order()]
    doc, module = {"__doc__": Step.__doc__}, Step.__module__
    step = defstruct(
        "Step", fields, bases=(Step,), namespace=doc, module=module, frozen=True, forbid_unknown_fields=True
    )
    own = [(_attribute(name), network_options[name] | None, field(default=None, name=name)) for name in _networks()]
    doc = {"__doc__": ClusterPart.__doc__}
    cluster = defstruct(
        "ClusterPart", own, bases=(ClusterPart,), namespace=doc, module=module, frozen=True, forbid_unknown_fields=True
    )
    doc = {"__doc__": ScenarioPart.__doc__}
    parts = [("cluster", cluster, cluster()), ("steps", tuple[step, ...], ())]  # type: ignore[valid-type]  # made while the program runs
    whole = defstruct("ScenarioPart", parts, bases=(ScenarioPart,), namespace=doc, module=module, frozen=True)
    return cast(type[ScenarioPart], whole)


def options_of(cluster: ClusterPart) -> dict[str, Options]:
    """The options of networks that a cluster's part has, by the network's name."""
    found = {name: getattr(cluster, _attribute(name), None) for name in _networks()}
    return {name: options for name, options in found.items() if options is not None}


def _networks() -> list[str]:
    return sorted(network_options)


def _attribute(network: str) -> str:
    return network.replace("-", "_")
