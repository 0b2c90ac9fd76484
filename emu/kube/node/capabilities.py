"""What the runtime gives the plugins for a pod beside its attachment: hostPorts and bandwidth. Must not know sandboxes."""

from __future__ import annotations

from typing import Any

from emu.errors import InputError
from emu.kube.api.core import Pod
from emu.kube.networks.network import Network
from emu.kube.node.bandwidth import BANDWIDTH, EGRESS, INGRESS, bandwidth_of

PORT_MAPPINGS = "portMappings"


def port_mappings(pod: Pod) -> dict[str, Any]:
    """A pod's hostPorts, in the order of the containers, each once in a container (kubelet's MakePortMappings, containerd's
    toCNIPortMappings)."""
    mappings: list[dict[str, Any]] = []
    for ports in pod.spec.ports_by_container:
        for each in dict.fromkeys((p.host_port, p.container_port, str(p.protocol), p.host_ip) for p in ports):
            host_port, container_port, protocol, host_ip = each
            if host_port:
                bound = {"hostIP": host_ip} if host_ip else {}
                mappings.append(
                    {"hostPort": host_port, "containerPort": container_port, "protocol": protocol.lower(), **bound}
                )
    return {PORT_MAPPINGS: mappings} if mappings else {}


def capability_args(name: str, pod: Pod, network: Network, warnings: list[str]) -> dict[str, Any]:
    """All of a pod's. What no plugin of the network takes is a warning. Raises InputError."""
    found, what = port_mappings(pod), {}
    if found:
        what[PORT_MAPPINGS] = "hostPort " + ", ".join(
            f"{each['hostPort']}/{each['protocol']}" for each in found[PORT_MAPPINGS]
        )
    try:
        limits = bandwidth_of(pod.metadata.annotations)
    except InputError as error:
        raise error.at(path=f"pod {name}") from None
    if limits:
        found[BANDWIDTH] = limits
        what[BANDWIDTH] = "annotation " + ", ".join(
            each for each in (INGRESS, EGRESS) if each in pod.metadata.annotations
        )
    for capability, words in what.items():
        if not any((plugin.get("capabilities") or {}).get(capability) for plugin in network.config.plugins):
            warnings.append(
                f"pod {name}: {words} has no effect: no plugin of network {network.config.name} has the capability "
                f"{capability}"
            )
    return found


def needs_none(pod: Pod) -> bool:
    """Is there nothing that a plugin could do for the pod beside its attachment?"""
    annotations = pod.metadata.annotations
    return not port_mappings(pod) and INGRESS not in annotations and EGRESS not in annotations
