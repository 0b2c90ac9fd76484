"""Causes that a pod or its node shows: not scheduled, no image, crashing, not ready, its node not ready, a port that nothing listens on.

Must not know Services.
"""

from __future__ import annotations

from emu.kube.api.container_status import ContainerStatus
from emu.kube.api.core import Node, Pod
from emu.kube.live.remarks import state
from emu.why.case import Because, Case, Seen, name_of

_PULL = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable")
_CREATE = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")


def why_not_ready(case: Seen, pod: Pod) -> Because:
    """Why a pod is not ready, by its status."""
    for look in (_finished, _unscheduled, _ending, _node_down, _waiting):
        found = look(case, pod)
        if found is not None:
            return found
    return _probe(case, pod)


def _finished(case: Seen, pod: Pod) -> Because | None:
    if not pod.finished:
        return None
    at = case.at(pod.key, "status", "phase")
    codes = {each.state.terminated.exit_code for each in pod.status.container_statuses if each.state.terminated}
    code = f", a container ended with exit code {max(codes)}" if pod.status.phase == "Failed" and codes else ""
    sentence = f"{name_of(pod.key)} has finished: status.phase is {pod.status.phase}{at}{code}"
    return Because("finished", name_of(pod.key), sentence, "a pod that runs: a finished one does not start again")


def _unscheduled(case: Seen, pod: Pod) -> Because | None:
    condition = pod.condition("PodScheduled")
    if pod.spec.node_name or condition is None or condition.status == "True":
        return None
    at = case.at(pod.key, "status", "conditions")
    message = condition.message or condition.reason
    port = "free ports" in message
    cause = "host-port-taken" if port else "unschedulable"
    sentence = f"{name_of(pod.key)} is Pending, no node takes it: {message}{at}"
    if "untolerated taint" in message:
        remedy = "a toleration for the taint, or a node without it"
    elif port:
        remedy = "another hostPort or node: two pods of one node cannot have it"
    else:
        remedy = "room, labels or tolerations, as the scheduler's message states"
    return Because(cause, name_of(pod.key), sentence, remedy)


def _ending(case: Seen, pod: Pod) -> Because | None:
    if not pod.terminating:
        return None
    at = case.at(pod.key, "metadata", "deletionTimestamp")
    sentence = f"{name_of(pod.key)} ends: metadata.deletionTimestamp is {pod.metadata.deletion_timestamp}{at}"
    return Because("terminating", name_of(pod.key), sentence, "a pod that takes its place")


def _node_down(case: Seen, pod: Pod) -> Because | None:
    node = case.store.get(Node, "", pod.spec.node_name)
    if node is None:
        return None
    ready = next((each for each in node.status.conditions if each.type == "Ready"), None)
    if (
        ready is None
        or ready.status == "True"
        or (ready.status == "Unknown" and not ready.message and not ready.reason)
    ):
        return None
    at = case.at(node.key, "status", "conditions")
    what = ready.message or ready.reason or ready.status
    sentence = f"{name_of(node.key)} of {name_of(pod.key)} is not Ready{at}: {what}"
    return Because("node-not-ready", name_of(node.key), sentence, "a kubelet that posts its status again")


def _waiting(case: Seen, pod: Pod) -> Because | None:
    """A container that does not run."""
    both = (*pod.status.init_container_statuses, *pod.status.container_statuses)
    for each in both:
        waiting = each.state.waiting
        if waiting is not None and waiting.reason == "CrashLoopBackOff":
            return _crash(case, pod, each)
        if waiting is not None and waiting.reason in _PULL:
            return _waits(case, pod, each, "image-pull", "an image that can be pulled, and a secret for its registry")
        if waiting is not None and waiting.reason in _CREATE:
            return _waits(case, pod, each, "container-not-created", "what the message names")
    for each in pod.status.container_statuses:
        if each.state.terminated is not None:
            return _crash(case, pod, each)
    if not pod.status.pod_ip:
        word = state(pod)
        at = case.at(pod.key, "status", "phase")
        sentence = f"{name_of(pod.key)} has no address yet: it is {word}{at}"
        return Because("pending", name_of(pod.key), sentence, f"what kubectl describe pod {pod.name} has under Events")
    return None


def _crash(case: Seen, pod: Pod, status: ContainerStatus) -> Because:
    at = case.at(pod.key, "status", "containerStatuses")
    rival = _rival(case, pod)
    if rival is not None:
        return rival
    ended = status.state.terminated
    word = "CrashLoopBackOff" if ended is None else f"ended with exit code {ended.exit_code}"
    sentence = f'container "{status.name}" of {name_of(pod.key)} does not run: {word}{_restarts(status)}{at}'
    return Because(
        "crash-loop", name_of(pod.key), sentence, f"a container that keeps running: kubectl logs --previous {pod.name}"
    )


def _restarts(status: ContainerStatus) -> str:
    times = status.restart_count
    return f", restarted {times} {'time' if times == 1 else 'times'}" if times else ""


def _rival(case: Seen, pod: Pod) -> Because | None:
    """Another pod of the same node's own network declares the same port, and runs: a crash that every restart repeats."""
    if not pod.spec.host_network:
        return None
    mine = {(each.container_port, each.protocol) for each in pod.spec.ports}
    for other in case.store.list(Pod):
        if other.key == pod.key or not other.spec.host_network or other.spec.node_name != pod.spec.node_name:
            continue
        both = mine & {(each.container_port, each.protocol) for each in other.spec.ports}
        if both and other.ready:
            port, protocol = min(both)
            at = case.at(pod.key, "spec", "hostNetwork")
            sentence = f"{name_of(pod.key)} and {name_of(other.key)} have the network of node/{pod.spec.node_name} (hostNetwork){at}, and both declare {port}/{protocol}: the second cannot listen, and crashes"
            return Because(
                "host-network-clash", name_of(pod.key), sentence, "another port for one of them, or no hostNetwork"
            )
    return None


def _waits(case: Seen, pod: Pod, status: ContainerStatus, cause: str, remedy: str) -> Because:
    waiting = status.state.waiting
    at = case.at(pod.key, "status", "containerStatuses")
    message = f" ({waiting.message})" if waiting is not None and waiting.message else ""
    word = waiting.reason if waiting is not None else ""
    return Because(
        cause, name_of(pod.key), f'container "{status.name}" of {name_of(pod.key)} waits: {word}{message}{at}', remedy
    )


def _probe(case: Seen, pod: Pod) -> Because:
    condition = pod.condition("Ready")
    at = case.at(pod.key, "status", "conditions")
    gates = [each for each in pod.status.conditions if each.status == "False" and "/" in each.type]
    if gates:
        sentence = f"{name_of(pod.key)} runs, and its readiness gate {gates[0].type} is False{at}"
        return Because("readiness-gate", name_of(pod.key), sentence, f"what sets the condition {gates[0].type}")
    why = f" ({condition.message})" if condition is not None and condition.message else ""
    probe = next((each.readiness_probe for each in pod.spec.containers if each.readiness_probe is not None), None)
    asked = f"port {probe.asked.port}" if probe is not None and probe.asked is not None else "its probe"
    sentence = f"{name_of(pod.key)} is Running and not Ready{at}{why}: its readiness probe does not succeed"
    return Because("not-ready", name_of(pod.key), sentence, f"an answer at {asked}: kubectl describe pod {pod.name}")


# -- of a pod that was asked itself ------------------------------------------------------------------------


def idle_pod(case: Case) -> Because | None:
    """The pod that the packet is for does not run."""
    pod = case.receiver
    if pod is None or case.word == "delivered" or f"{pod.namespace}/{pod.name}" in case.places.pods:
        return None
    return why_not_ready(case, pod)


def silent_container(case: Case) -> Because | None:
    """The container that declares the port does not run."""
    pod = case.receiver
    if pod is None or case.word != "refused":
        return None
    _, port = case.reached
    for container in pod.spec.containers:
        if any(each.container_port == port for each in container.ports):
            for status in pod.status.container_statuses:
                if (
                    status.name == container.name
                    and status.state.running is None
                    and (status.state.waiting or status.state.terminated)
                ):
                    return _waiting(case, pod)
    return None


def not_listening(case: Case) -> Because | None:
    """Nothing listens on the port."""
    if case.word != "refused":
        return None
    address, port = case.reached
    pod, node = case.receiver, case.receiving_node
    if pod is None and node is not None:
        sentence = f"nothing listens on {address}:{port} of {name_of(node.key)}: it answers with RST"
        return Because(
            "not-listening",
            name_of(node.key),
            sentence,
            "a NodePort, a hostPort or a program on the node with this port",
            _UNSEEN,
        )
    if pod is None:
        return Because(
            "not-listening",
            case.flow.at,
            f"nothing listens on {address}:{port}: {case.flow.at} answers with RST",
            "a port that is open there",
        )
    declared = sorted({each.container_port for each in pod.spec.ports})
    have = f"it declares {', '.join(map(str, declared))}" if declared else "it declares no port"
    at = case.at(pod.key, "spec", "containers")
    sentence = f"nothing listens on port {port} of {name_of(pod.key)}{at} ({have}): it answers with RST"
    remedy = f"port {declared[0]}" if len(declared) == 1 else "a port that a container listens on"
    return Because("not-listening", name_of(pod.key), sentence, remedy, _UNSEEN)


_UNSEEN = ("a port that is declared nowhere is not listened on",)
