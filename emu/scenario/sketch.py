"""The first scenario for manifests that came up without one: a text to begin with, which names their own pods and Services.

Must not know how it is shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from emu.kube.api.apps import ReplicaSet
from emu.kube.api.core import Node, Pod, Service, ServicePort
from emu.kube.api.meta import selects
from emu.kube.store import Store
from emu.scenario.lint import refuses
from emu.scenario.script import Scenario


def sketch(scenario: Scenario, objects: Store) -> str:
    """A scenario of one step: a pod asks the first Service that can answer, or else another pod. "" if no pod runs."""
    running = [pod for pod in objects.list(Pod) if pod.status.phase == "Running" and pod.ready]
    step = _step(scenario, running, objects) if running else ""
    if not step:
        return ""
    part = scenario.spec.cluster
    network = "" if part.network == "bridge" else f", network: {part.network}"
    lines = ["apiVersion: emu/v1", "kind: Scenario", f"cluster: {{nodes: {len(objects.list(Node))}{network}}}"]
    there = all(Path(each).is_file() or Path(each).is_dir() for each in scenario.bare)
    lines += [f"manifests: [{', '.join(_quoted(each) for each in scenario.bare)}]"] if there else []
    lines += ["steps:", f"- {step}", "  expect: {outcome: delivered}"]
    return "\n".join([*lines, *([] if there else ["---", "# here the manifests follow"])])


def _step(scenario: Scenario, running: Sequence[Pod], objects: Store) -> str:
    for service in objects.list(Service):
        spec = service.spec
        behind = [pod for pod in running if _behind(service, pod)]
        if not behind or spec.cluster_ip in ("", "None") or refuses(scenario.loaded, service):
            continue
        port = next((each for each in spec.ports if each.protocol in ("TCP", "UDP")), None)
        if port is not None:
            client = next((pod for pod in running if pod not in behind), behind[0])
            return _flow(_named(client, objects), service, port)
    if len(running) > 1:
        one, other = (_named(pod, objects) for pod in running[:2])
        return f'ping: {{from: "{one}", to: "{other}"}}'
    return f'ping: {{from: "{_named(running[0], objects)}", to: external}}'


def _behind(service: Service, pod: Pod) -> bool:
    selector = service.spec.selector
    return bool(selector) and pod.namespace == service.namespace and selects(selector, pod.metadata.labels)


def _flow(client: str, service: Service, port: ServicePort) -> str:
    name = service.name if service.namespace == "default" else f"{service.name}.{service.namespace}"
    send = "GET / HTTP/1.0\\r\\n\\r\\n" if port.protocol == "TCP" else "hello"
    return f'{port.protocol.lower()}: {{from: "{client}", to: "svc/{name}:{port.port}", send: "{send}"}}'


def _named(pod: Pod, objects: Store) -> str:
    """A pod, or the only one of its workload by the workload's name, as its own name is drawn."""
    owner = next(iter(pod.metadata.owner_references), None)
    if owner is None or owner.kind == "StatefulSet":
        return pod.key.namespace + "/" + pod.name
    above = None
    if owner.kind == "ReplicaSet":
        found = next((each for each in objects.list(ReplicaSet) if each.metadata.uid == owner.uid), None)
        above = next(iter(found.metadata.owner_references), None) if found is not None else None
    name = (above or owner).name
    same = [each for each in objects.list(Pod) if each.namespace == pod.namespace]
    alike = [each for each in same if each.name.startswith(f"{name}-")]
    return f"{pod.namespace}/{name}-*" if len(alike) == 1 else f"{pod.namespace}/{pod.name}"


def _quoted(path: str) -> str:
    return f'"{path}"' if any(sign in path for sign in ",[]{}#:&*!|>'\"%@` ") else path
