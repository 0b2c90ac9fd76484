"""A cluster as an export of its objects shows it: `kubectl get -A -o yaml`, `kubectl cluster-info dump` and the like.

`is_live` knows an export from manifests, `read` makes of its objects the configuration of the cluster that they came from,
`Arrivals` (`pods.py`) brings its pods into a store. What reads exports is imported at its first use: most clusters come from manifests.
Must not know clusters, or how anything is run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from emu.kube.live.origin import is_live, shows

if TYPE_CHECKING:
    from emu.kube.live.read import read
    from emu.kube.live.relevant import relevant
    from emu.kube.live.remarks import state

__all__ = ["is_live", "read", "relevant", "shows", "state"]


def __getattr__(name: str) -> Any:
    found: Any
    if name == "read":
        from emu.kube.live.read import read as found
    elif name == "relevant":
        from emu.kube.live.relevant import relevant as found
    elif name == "state":
        from emu.kube.live.remarks import state as found
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return found
