"""An export of a large cluster: as many nodes, pods and Services as are asked for, of GKE's kind, whose subnets hold a thousand nodes.

Services have pods of one Deployment each, spread over all nodes, in namespaces of their own. The same numbers give the same objects. Must not
import emu.
"""

from __future__ import annotations

from collections.abc import Iterator

from export_objects import Object, Objects, Shape


def large(nodes: int, pods: int, services: int, *, namespaces: int = 20, policies: bool = False) -> Object:
    """The List of `nodes` nodes, `pods` pods in Deployments, and a Service in front of each Deployment. With `policies` each namespace but
    the first takes connections only from the first one and from itself, and kube-router runs, which enforces it."""
    made = _Large(Shape("gke", nodes, control=0))
    items = [*made.objects(pods, services, namespaces, policies)]
    return {"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": items}


class _Large(Objects):
    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        self.number = {name: number for number, name in enumerate(self.nodes)}

    def _ip(self, node: str) -> str:
        return str(self._host(self.number[node]))

    def _service_ip(self, name: str) -> str:
        if name == "kubernetes":
            return "10.8.0.1"
        number = 256 + int(name.removeprefix("app-"))
        return f"10.8.{number >> 8}.{number & 255}"

    def _pod_ip(self, node: str) -> str:
        number = self.number[node]
        self.used[node] += 1
        return f"10.{4 + (number >> 8)}.{number & 255}.{self.used[node]}"

    def objects(self, pods: int, services: int, namespaces: int, policies: bool) -> Iterator[Object]:
        names = [f"team-{number:02}" for number in range(namespaces)]
        for name in ("default", "kube-system", *names):
            yield {
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": self.meta(name, labels={"kubernetes.io/metadata.name": name}),
            }
        for number, node in enumerate(self.nodes):
            yield self._node(number, node)
        labels = {"k8s-app": "kube-router"} if policies else {"k8s-app": "netd"}
        yield from self._daemon_set(labels["k8s-app"], "kube-system", labels)
        yield self._service(
            "kubernetes", "default", {}, [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": 443}]
        )
        for number in range(services):
            yield from self._app(f"app-{number}", names[number % namespaces], number, pods, services)
        if policies:
            for name in names[1:]:
                yield self._policy(name, names[0])

    def _node(self, number: int, name: str) -> Object:
        return {
            "apiVersion": "v1", "kind": "Node",
            "metadata": self.meta(name, labels={"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": "eu-central-1" + "abc"[number % 3],
                                                "cloud.google.com/gke-nodepool": "pool-1"}),
            "spec": {"podCIDR": f"10.{4 + (number >> 8)}.{number & 255}.0/24", "podCIDRs": [f"10.{4 + (number >> 8)}.{number & 255}.0/24"]},
            "status": {"addresses": [{"address": self._ip(name), "type": "InternalIP"}, {"address": name, "type": "Hostname"}],
                       "conditions": [{"reason": "KubeletReady", "status": "True", "type": "Ready"}]},
        }  # fmt: skip

    def _app(self, name: str, namespace: str, number: int, pods: int, services: int) -> Iterator[Object]:
        count = pods // services + (number < pods % services)
        first = number * (pods // services)
        nodes = [self.nodes[(first + each) % len(self.nodes)] for each in range(count)]
        made = [*self._deployment(name, namespace, {"app": name}, nodes, [(8080, "http", "TCP")])]
        yield from made
        port = {"name": "http", "port": 80, "protocol": "TCP", "targetPort": "http"}
        yield self._service(name, namespace, {"app": name}, [port])
        yield self._slice_of(name, namespace, [each for each in made if each["kind"] == "Pod"], [("http", 8080, "TCP")])

    def _policy(self, namespace: str, allowed: str) -> Object:
        peers = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": allowed}}}, {"podSelector": {}}]
        return {
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": self.meta("own", namespace),
            "spec": {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"from": peers}]},
        }  # fmt: skip
