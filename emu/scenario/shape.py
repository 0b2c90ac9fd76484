"""The whole shape of a scenario file: `kinds.py`, in each step one key for each action that `steps/` has, and in the cluster one
key for each network that has options.

Must not know which actions and networks there are.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from functools import cache
from typing import Any, cast

from msgspec import defstruct, field

from emu.kube.networks.network import Options, network_options
from emu.scenario.kinds import ClusterPart, ScenarioPart, Step
from emu.scenario.steps import actions, in_order, ordered


def scenario_type() -> type[ScenarioPart]:
    """What `msgspec` reads any scenario's first document as."""
    return _type(in_order(), tuple(sorted(network_options)))


def type_for(value: Any) -> type[ScenarioPart]:
    """The same without the actions and networks that a document has no key for: nothing is imported for them."""
    steps, cluster = (value.get(key) if isinstance(value, dict) else None for key in ("steps", "cluster"))
    given = {key for step in steps if isinstance(step, dict) for key in step} if isinstance(steps, list) else set()
    named = given - {*Step.__struct_encode_fields__}
    options = {*cluster} - {*ClusterPart.__struct_encode_fields__} if isinstance(cluster, dict) else set()
    return _type(ordered(_on(actions, named)), tuple(sorted(_on(network_options, options))))


def _on(shelf: Container[str], keys: Iterable[object]) -> list[str]:
    return [key for key in keys if isinstance(key, str) and key in shelf]


@cache
def _type(names: tuple[str, ...], networks: tuple[str, ...]) -> type[ScenarioPart]:
    fields = [(name, actions[name].shape | None, None) for name in names]
    doc, module = {"__doc__": Step.__doc__}, Step.__module__
    step = defstruct(
        "Step", fields, bases=(Step,), namespace=doc, module=module, frozen=True, forbid_unknown_fields=True
    )
    own = [(_attribute(name), network_options[name] | None, field(default=None, name=name)) for name in networks]
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
    own = zip(cluster.__struct_fields__, cluster.__struct_encode_fields__, strict=True)
    found = {name: getattr(cluster, field) for field, name in [*own][len(ClusterPart.__struct_fields__) :]}
    return {name: options for name, options in found.items() if options is not None}


def _attribute(network: str) -> str:
    return network.replace("-", "_")
