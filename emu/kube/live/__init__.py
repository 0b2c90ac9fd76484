"""A cluster as an export of its objects shows it: `kubectl get -A -o yaml`, `kubectl cluster-info dump` and the like.

`is_live` knows an export from manifests, `read` (`read.py`) makes of its objects the configuration of the cluster that they came from,
`Arrivals` (`pods.py`) brings its pods into a store. What reads exports is imported where it is used: most clusters come from manifests.
Must not know clusters, or how anything is run.
"""

from __future__ import annotations

from emu.kube.live.origin import is_live, shows

__all__ = ["is_live", "shows"]
