"""For people's own property tests: Hypothesis strategies, invariants by name, fixtures.

`emu.testing.strategies` draws addresses, frames, topologies, traffic and small clusters; `emu.testing.invariants`
holds a `Lab`, a `Cluster` or a `Flow` to what every network must keep; `emu.testing.plugin` is the pytest plugin.
Needs Hypothesis and pytest, which emu itself does not: nothing outside this folder imports it.
"""
