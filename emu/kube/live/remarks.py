"""What strikes one in the state of a cluster: slices that the controller would not write, and pods that do not run.

Must not know flows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from emu.kube.api.core import Node, Pod, Service
from emu.kube.controllers.stale import differences
from emu.kube.store import Store
from emu.modelled import Finding

MOST = 20  # sentences about slices; the others are counted


def remarks(store: Store) -> list[Finding]:
    """Slices, the first of them and the number of the others, pods and nodes."""
    slices = [*stale(store)]
    if len(slices) > MOST:
        what = f"{len(slices) - MOST} more endpoints are not as the controller would write them"
        slices[MOST:] = [Finding("", "", what, "stale-slice")]
    return [*slices, *of_ipv6(store), *idle(store), *not_ready(store)]


def of_ipv6(store: Store) -> Iterator[Finding]:
    """Pods that have an address, and none of IPv4: all of them by name, for they do not run here."""
    names = [f"{each.namespace}/{each.name}" for each in store.list(Pod) if _alone(each) and not each.finished]
    if names:
        what = "no IPv4 address, and IPv6 is not modelled in clusters: it does not run here"
        yield Finding("", f"pod {', '.join(names)}", what, "left-out")


def _alone(pod: Pod) -> bool:
    addresses = [each for each in (pod.status.pod_ip, *(each.ip for each in pod.status.pod_ips)) if each]
    return bool(addresses) and all(":" in each for each in addresses)


def stale(store: Store) -> Iterator[Finding]:
    """Each endpoint that is not as the controller would write it."""
    for service in store.list(Service):
        for each in differences(store, service):
            yield Finding("", each.about, each.what, "stale-slice")


def idle(store: Store) -> Iterator[Finding]:
    """Pods that wait, by their phase and reason."""
    waiting = [pod for pod in store.list(Pod) if not pod.status.pod_ip and not pod.finished]
    reasons = Counter(state(pod) for pod in waiting)
    for reason, count in reasons.items():
        first = next(pod for pod in waiting if state(pod) == reason)
        more = f" and {count - 1} more" if count > 1 else ""
        scheduled = first.condition("PodScheduled")
        why = f": {scheduled.message}" if scheduled is not None and scheduled.message else ""
        yield Finding(
            "", f"pod/{first.namespace}/{first.name}{more}", f"no address, {reason}{why}", "pod-without-address"
        )


def not_ready(store: Store) -> Iterator[Finding]:
    """Nodes whose kubelet states why they are not ready."""
    for node in store.list(Node):
        ready = next((each for each in node.status.conditions if each.type == "Ready"), None)
        if ready is not None and ready.status != "True" and ready.message:
            yield Finding("", f"node/{node.name}", f"not ready: {ready.message}", "node-not-ready")


def state(pod: Pod) -> str:
    """The word that `kubectl get pods` has in its column STATUS (printPod of pkg/printers/internalversion)."""
    status = pod.status
    reason = status.reason or status.phase
    unscheduled = pod.condition("PodScheduled")
    if unscheduled is not None and unscheduled.reason == "SchedulingGated":
        reason = unscheduled.reason
    restartable = {each.name for each in pod.spec.init_containers if each.restart_policy == "Always"}
    for number, each in enumerate(status.init_container_statuses):
        ended = each.state.terminated
        if (ended is not None and ended.exit_code == 0) or (each.name in restartable and each.state.running):
            continue
        if ended is not None:
            what = ended.reason or (f"Signal:{ended.signal}" if ended.signal else f"ExitCode:{ended.exit_code}")
        elif each.state.waiting is not None and each.state.waiting.reason not in ("", "PodInitializing"):
            what = each.state.waiting.reason
        else:
            what = f"{number}/{len(pod.spec.init_containers)}"
        reason = f"Init:{what}"
        break
    else:
        reason = _containers(pod, reason)
    if pod.terminating:
        return "Unknown" if status.reason == "NodeLost" else "Terminating"
    return reason


def _containers(pod: Pod, reason: str) -> str:
    running = False
    for each in reversed(pod.status.container_statuses):
        ended = each.state.terminated
        if each.state.waiting is not None and each.state.waiting.reason:
            reason = each.state.waiting.reason
        elif ended is not None:
            reason = ended.reason or (f"Signal:{ended.signal}" if ended.signal else f"ExitCode:{ended.exit_code}")
        elif each.ready and each.state.running is not None:
            running = True
    if reason == "Completed" and running:
        return "Running" if pod.ready else "NotReady"
    return reason
