"""Which invariants a run is held to: Kubernetes' three requirements always, and those that the scenario names.

Must not know how an invariant judges.
"""

from __future__ import annotations

from emu.invariants import invariants
from emu.invariants.requirements import nodes_reach_pods, own_address_is_seen, pods_reach_pods
from emu.scenario.script import Scenario

REQUIREMENTS = tuple(each.name for each in (pods_reach_pods, nodes_reach_pods, own_address_is_seen))


def further(scenario: Scenario) -> tuple[str, ...]:
    """The names besides the three requirements."""
    named = scenario.spec.invariants
    return tuple(each for each in (invariants if named == "all" else named) if each not in REQUIREMENTS)
