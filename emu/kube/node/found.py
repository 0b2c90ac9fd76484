"""A pod as the export of a running cluster shows it: what its kubelet keeps instead of making it anew.

Pure. Must not know nodes, kubelets or CNI.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from emu.kube.api.core import Pod

Listening = Mapping[tuple[int, str], str]
"""App by port and protocol."""
NOTHING: Listening = {}


class Found(NamedTuple):
    """`address` "" means that the pod has no network yet, and gets none. `silent` are the containers that do not run. `apps` are ports that
    listen beside the declared ones, or with another app than `echo`."""

    address: str
    ready: bool
    silent: frozenset[str] = frozenset()
    apps: Listening = NOTHING


def found(pod: Pod, apps: Listening = NOTHING) -> Found:
    """What the status of a pod states. A container without a status runs if the pod does."""
    status = pod.status
    address = status.pod_ip or next((each.ip for each in status.pod_ips if ":" not in each.ip), "")
    silent = frozenset(
        each.name
        for each in (*status.container_statuses, *status.init_container_statuses)
        if each.state.running is None and (each.state.waiting is not None or each.state.terminated is not None)
    )
    return Found("" if ":" in address else address, pod.ready, silent, apps)
