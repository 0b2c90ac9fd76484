"""One small cluster by a few numbers, for tests that want a fixed one and no strategy. Must not know invariants."""

from __future__ import annotations

from dataclasses import dataclass

from emu.kube.api import core
from emu.kube.api.meta import Object, ObjectMeta
from emu.kube.cluster import ClusterConfig


@dataclass(frozen=True)
class SmallCluster:
    """A cluster of `nodes` with `servers` pods behind Service `web` (port 80, pods listen on 8080) and one client pod
    on node-1; `underlay`, `hairpin` and `call_iptables` as in the config."""

    nodes: int
    servers: int
    underlay: str = "routed"
    hairpin: bool = False
    call_iptables: bool = True

    @property
    def config(self) -> ClusterConfig:
        sysctls = {"net.bridge.bridge-nf-call-iptables": int(self.call_iptables)}
        return ClusterConfig.of(self.nodes, underlay=self.underlay, hairpin=self.hairpin, sysctls=sysctls)

    @property
    def objects(self) -> list[Object]:
        """Pods `default/client`, `default/web-0` ..., and `svc/web:80`."""
        pods: list[Object] = [_pod("client", 9, {}, "node-1")]
        pods += [_pod(f"web-{number}", 8080, {"app": "web"}) for number in range(self.servers)]
        service = core.Service(
            metadata=ObjectMeta(name="web"),
            spec=core.ServiceSpec(
                selector={"app": "web"},
                ports=tuple(
                    core.ServicePort(name=protocol.lower(), protocol=protocol, port=80, target_port=8080)
                    for protocol in ("TCP", "UDP")
                ),
            ),
        )
        return [*pods, service]


def _pod(name: str, port: int, labels: dict[str, str], node: str = "") -> core.Pod:
    declared = tuple(core.ContainerPort(container_port=port, protocol=protocol) for protocol in ("TCP", "UDP"))
    container = core.Container(name="app", ports=declared)
    return core.Pod(
        metadata=ObjectMeta(name=name, labels=labels), spec=core.PodSpec(node_name=node, containers=(container,))
    )
