"""The API server that a machine's plugins reach: the one that the kubeconfig on the machine's disk names.

A machine that belongs to no cluster has a store of its own. Must not know which plugin asks.
"""

from __future__ import annotations

from emu.kube.cni.spec import Host
from emu.kube.store import Store

_KUBECONFIG = "/etc/cni/net.d/kubeconfig"


def join(host: Host, store: Store) -> None:
    """Put the kubeconfig of a cluster on the machine's disk."""
    host.disk[_KUBECONFIG] = store


def datastore(host: Host) -> Store:
    found: Store = host.disk.setdefault(_KUBECONFIG, Store())
    return found
