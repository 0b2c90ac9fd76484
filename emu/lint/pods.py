"""What pods make together: ports of nodes, readiness, selectors of policies. Must not know files.

Looks at objects as written, or as an export has them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from emu.kube.api.core import Pod, PodSpec, Service
from emu.kube.api.loader import Loaded
from emu.kube.api.networking import NetworkPolicy
from emu.kube.live.mend import few
from emu.kube.live.remarks import state
from emu.modelled import Finding
from emu.scenario.lint import Labelled, placed, templates


def ports_of_nodes(loaded: Loaded) -> Iterator[Finding]:
    """Pods that want a port of a node which an earlier one has: the scheduler or the kernel gives it to one of them."""
    first: dict[tuple[str, int, str], Pod] = {}
    for pod in loaded.objects:
        if not isinstance(pod, Pod) or pod.finished or not pod.spec.node_name:
            continue
        for port, protocol in dict.fromkeys(_node_ports(pod.spec)):
            key = pod.spec.node_name, port, protocol
            before = first.setdefault(key, pod)
            if before is not pod:
                what = f"wants port {port}/{protocol} of node {pod.spec.node_name}, which {before.key} has"
                yield placed(loaded, pod, what, "host-port-taken")


def _node_ports(spec: PodSpec) -> Iterator[tuple[int, str]]:
    for port in spec.ports:
        number = port.container_port if spec.host_network else port.host_port
        if number:
            yield number, port.protocol


def unready(loaded: Loaded) -> Iterator[Finding]:
    """Pods of an export that have an address, and Services of which no pod is ready."""
    pods = [each for each in loaded.objects if isinstance(each, Pod) and not each.finished]
    for pod in pods:
        if pod.status.pod_ip and not pod.ready and not pod.terminating:
            yield placed(loaded, pod, f"is not ready: {_why(pod)}", "pod-not-ready")
    there = Labelled((pod.namespace, pod.metadata.labels, pod) for pod in pods)
    for service in loaded.objects:
        if isinstance(service, Service) and service.spec.selector and not service.spec.publish_not_ready_addresses:
            chosen = there.chosen(service)
            if chosen and not any(pod.ready and not pod.terminating for pod in chosen):
                names = few(str(pod.key) for pod in chosen)
                what = f"none of its {len(chosen)} pods is ready ({names})"
                if len(chosen) == 1:
                    what = f"its only pod {'ends' if chosen[0].terminating else 'is not ready'} ({names})"
                yield placed(loaded, service, what, "no-ready-endpoint")


def _why(pod: Pod) -> str:
    """The word of `kubectl get pods`, or the message of the condition where that states more."""
    condition = pod.condition("Ready")
    message = condition.message if condition is not None else ""
    word = state(pod)
    return message if word == "Running" and message else word


def policies(loaded: Loaded) -> Iterator[Finding]:
    """NetworkPolicies that select no pod."""
    labels: dict[str, list[Mapping[str, str]]] = {}
    for each in templates(loaded.objects):
        labels.setdefault(each.namespace, []).append(each.labels)
    for policy in loaded.objects:
        if isinstance(policy, NetworkPolicy):
            selector = policy.spec.pod_selector
            if not selector.empty and not any(selector.matches(each) for each in labels.get(policy.namespace, ())):
                yield placed(loaded, policy, "its podSelector matches no pod", "policy-selects-nothing")
