"""The pods of a run's cluster, as `kubectl get pods -A -o wide` lists them. Must not know terminals."""

from __future__ import annotations

from typing import Any

from emu.kube.api.core import Pod
from emu.report import Report, columns, run_views
from emu.scenario.record import Run

HEADINGS = ("NAMESPACE", "NAME", "READY", "STATUS", "IP", "NODE")
KEYS = ("namespace", "name", "ready", "status", "ip", "node")


@run_views.add("pods")
def pods(run: Run) -> Report:
    """The pods at the end of the run, with state, address and node."""
    found = sorted(run.cluster.store.list(Pod), key=lambda pod: (pod.namespace, pod.name))
    rows = [_row(pod) for pod in found]
    return Report(rows, columns(HEADINGS, rows, KEYS) if rows else "no pods")


def _row(pod: Pod) -> dict[str, Any]:
    return {
        "namespace": pod.namespace,
        "name": pod.name,
        "ready": pod.ready,
        "status": pod.status.phase,
        "ip": pod.status.pod_ip,
        "node": pod.spec.node_name,
    }
