"""A cluster as an export of its objects shows it: `kubectl get -A -o yaml`, `kubectl cluster-info dump` and the like.

`is_live` knows an export from manifests, `read` makes of its objects the configuration of the cluster that they came from,
`Arrivals` brings its pods into a store. Must not know clusters, or how anything is run.
"""

from __future__ import annotations

from emu.kube.live.origin import is_live, shows
from emu.kube.live.pods import Arrivals
from emu.kube.live.read import Live, read
from emu.kube.live.relevant import relevant
from emu.kube.live.remarks import state

__all__ = ["Arrivals", "Live", "is_live", "read", "relevant", "shows", "state"]
