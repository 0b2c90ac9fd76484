"""The delays of a cluster's control loops, in virtual time. Must not know the loops."""

from __future__ import annotations

from typing import NamedTuple

from emu.clock import MS


class Timing(NamedTuple):
    """`watch_ns`: from a change until its watchers see it. `endpoint_updates_batch_ns`: how long the EndpointSlice
    controller waits for further changes of pods (--endpointslice-updates-batch-period, 0 by default).
    """

    watch_ns: int = 5 * MS
    endpoint_updates_batch_ns: int = 0
