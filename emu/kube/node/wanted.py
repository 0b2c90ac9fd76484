"""What runs in a pod: each container that keeps running, and the apps on its ports. Must not know sandboxes."""

from __future__ import annotations

from collections.abc import Iterator

from emu.apps.words import chosen as words_of
from emu.kube.api.core import Container, Pod
from emu.kube.node.capabilities import needs_none
from emu.kube.node.found import NOTHING, Listening

APP_ANNOTATION = "emu/app"
Wanted = tuple[str, int, str]  # app, port, protocol


def apps_of(pod: Pod, known: Listening = NOTHING) -> Iterator[tuple[Container, list[Wanted]]]:
    """Each container that keeps running, sidecars first, and the apps on its ports: `echo`, or the app that the annotation
    `emu/app: NAME@PORT[/udp]` names (several with commas; a port that no container declares belongs to the first container).
    What is `known` of a pod by other means yields to the annotation."""
    words = (part.strip() for part in pod.metadata.annotations.get(APP_ANNOTATION, "").split(","))
    chosen = words_of(filter(None, words), f"pod {pod.namespace}/{pod.name} annotation {APP_ANNOTATION}")
    chosen = {**known, **chosen}
    declared = {(port.container_port, port.protocol) for port in pod.spec.ports}
    sidecars = [each for each in pod.spec.init_containers if each.restart_policy == "Always"]
    for container in (*sidecars, *pod.spec.containers):
        wanted: list[Wanted] = []
        # several names for one port are one socket
        for key in dict.fromkeys((each.container_port, str(each.protocol)) for each in container.ports):
            if key[1] != "SCTP":
                wanted.append((chosen.get(key, "echo"), *key))
        if container is pod.spec.containers[0]:
            wanted += [(app, *key) for key, app in chosen.items() if key not in declared]
        yield container, wanted


def ordinary(pod: Pod, known: Listening) -> bool:
    """Does the pod do nothing but answer on ports of its own, and want nothing of its node but an address?"""
    if (
        pod.spec.host_network
        or not needs_none(pod)
        or any(each.startswith("emu/") for each in pod.metadata.annotations)
    ):
        return False
    wanted = [each for _container, some in apps_of(pod, known) for each in some]
    ports = {(port, protocol) for _app, port, protocol in wanted}
    return len(ports) == len(wanted) and all(app == "echo" and 0 < port < 65536 for app, port, _protocol in wanted)
