"""For users' own property tests: Hypothesis strategies, invariants by name, fixtures.

`emu.testing.strategies` draws addresses, frames, topologies, traffic and small clusters; `emu.testing.invariants`
checks a `Lab`, a `Cluster` or a `Flow` by the invariants of every network; `emu.testing.plugin` is the pytest plugin.
It needs Hypothesis and pytest, which emu itself must not know: nothing outside this folder imports it.
"""
