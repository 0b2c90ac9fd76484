"""The core group, v1: Namespace, Node, Pod, Service, Endpoints.

Only the fields that shape packets, with the API server's defaults. Must not know how they are used.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from emu.kube.api.addresses import is_address, read_plain
from emu.kube.api.affinity import Affinity
from emu.kube.api.container_status import ContainerStatus, Probe
from emu.kube.api.meta import ApiStruct, Object, ObjectMeta, Path, Problem, is_label, replace, selects
from emu.kube.api.port_names import PORT_NAME, is_port_name

Port = Annotated[int, Meta(ge=1, le=65535)]
PortOrZero = Annotated[int, Meta(ge=0, le=65535)]
Protocol = Literal["TCP", "UDP", "SCTP"]
TrafficPolicy = Literal["Cluster", "Local"]
Family = Literal["IPv4", "IPv6"]
TaintEffect = Literal["NoSchedule", "PreferNoSchedule", "NoExecute"]


class NamespaceStatus(ApiStruct, frozen=True):
    phase: str = "Active"


class Namespace(Object, frozen=True, kw_only=True):
    namespaced: ClassVar[bool] = False
    api_version: str = "v1"
    kind: str = "Namespace"
    status: NamespaceStatus = NamespaceStatus()


class Condition(ApiStruct, frozen=True):
    type: str
    status: Literal["True", "False", "Unknown"]
    reason: str = ""
    message: str = ""


class NodeAddress(ApiStruct, frozen=True):
    type: str
    address: str


class Taint(ApiStruct, frozen=True):
    key: str
    effect: TaintEffect
    value: str = ""


class Toleration(ApiStruct, frozen=True):
    """An empty key or effect fits every one; an empty operator is Equal."""

    key: str = ""
    operator: Literal["", "Exists", "Equal"] = ""
    value: str = ""
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = ""
    toleration_seconds: int | None = None

    def tolerates(self, taint: Taint) -> bool:
        """Toleration.ToleratesTaint."""
        if self.effect not in ("", taint.effect) or self.key not in ("", taint.key):
            return False
        return self.operator == "Exists" or self.value == taint.value


def untolerated(tolerations: Iterable[Toleration], taints: Iterable[Taint], *effects: TaintEffect) -> Iterator[Taint]:
    """The taints of these effects that none of the tolerations fits."""
    given = tuple(tolerations)
    for taint in taints:
        if taint.effect in effects and not any(each.tolerates(taint) for each in given):
            yield taint


# What the admission plugin DefaultTolerationSeconds adds to a pod, unless it tolerates these by itself
_WAITS = tuple(
    Toleration(key=f"node.kubernetes.io/{key}", operator="Exists", effect="NoExecute", toleration_seconds=300)
    for key in ("not-ready", "unreachable")
)


class NodeSpec(ApiStruct, frozen=True):
    pod_cidr: str = ""
    pod_cidrs: tuple[str, ...] = ()
    unschedulable: bool = False
    taints: tuple[Taint, ...] = ()


class NodeVersions(ApiStruct, frozen=True):
    kubelet_version: str = ""
    os_image: str = ""
    kernel_version: str = ""
    container_runtime_version: str = ""


class NodeStatus(ApiStruct, frozen=True):
    addresses: tuple[NodeAddress, ...] = ()
    conditions: tuple[Condition, ...] = ()
    allocatable: dict[str, int | float | str] = {}
    node_info: NodeVersions = NodeVersions()


class Node(Object, frozen=True, kw_only=True):
    namespaced: ClassVar[bool] = False
    api_version: str = "v1"
    kind: str = "Node"
    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()

    @property
    def internal_ip(self) -> str:
        """The first InternalIP, or ""."""
        return next((a.address for a in self.status.addresses if a.type == "InternalIP"), "")

    @property
    def zone(self) -> str:
        return self.metadata.labels.get("topology.kubernetes.io/zone", "")


class ContainerPort(ApiStruct, frozen=True):
    container_port: Port
    host_port: PortOrZero = 0
    host_ip: str = ""
    protocol: Protocol = "TCP"
    name: str = ""


class Container(ApiStruct, frozen=True):
    name: str
    image: str = ""
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    ports: tuple[ContainerPort, ...] = ()
    restart_policy: str | None = None
    liveness_probe: Probe | None = None
    readiness_probe: Probe | None = None
    startup_probe: Probe | None = None

    @property
    def probes(self) -> Iterator[Probe]:
        yield from (
            each for each in (self.startup_probe, self.liveness_probe, self.readiness_probe) if each is not None
        )


class DnsConfigOption(ApiStruct, frozen=True):
    name: str
    value: str | None = None


class PodDnsConfig(ApiStruct, frozen=True):
    nameservers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[DnsConfigOption, ...] = ()


class HostAlias(ApiStruct, frozen=True):
    ip: str = ""
    hostnames: tuple[str, ...] = ()


class PodSpec(ApiStruct, frozen=True):
    containers: tuple[Container, ...] = ()
    init_containers: tuple[Container, ...] = ()
    node_name: str = ""
    node_selector: dict[str, str] = {}
    host_network: bool = False
    hostname: str = ""
    subdomain: str = ""
    service_account_name: str = ""
    restart_policy: Literal["Always", "OnFailure", "Never"] = "Always"
    dns_policy: str = "ClusterFirst"
    dns_config: PodDnsConfig | None = None
    termination_grace_period_seconds: int | None = 30
    host_aliases: tuple[HostAlias, ...] = ()
    tolerations: tuple[Toleration, ...] = ()
    affinity: Affinity | None = None

    def likes(self, node: Node) -> bool:
        """Whether the node has what nodeSelector and the required node affinity ask for."""
        labels, required = node.metadata.labels, self.affinity.required if self.affinity is not None else None
        return selects(self.node_selector, labels) and (required is None or required.matches(labels, node.name))

    @property
    def in_force(self) -> tuple[Toleration, ...]:
        """The tolerations, with those that the API server adds."""
        own = self.tolerations
        added = (
            each for each in _WAITS if not any(t.key in ("", each.key) and t.effect in ("", "NoExecute") for t in own)
        )
        return (*own, *added)

    @property
    def ports(self) -> Iterator[ContainerPort]:
        """The declared ports of every container, and of restartable init containers (sidecars)."""
        for ports in self.ports_by_container:
            yield from ports

    @property
    def ports_by_container(self) -> Iterator[tuple[ContainerPort, ...]]:
        """The same, container by container."""
        for container in self.containers:
            yield container.ports
        for container in self.init_containers:
            if container.restart_policy == "Always":
                yield container.ports

    def problems(self, at: Path) -> Iterator[Problem]:
        if not self.containers:
            yield Problem((*at, "containers"), "a pod needs at least one container")
        if self.affinity is not None:
            yield from self.affinity.problems((*at, "affinity"))
        for i, toleration in enumerate(self.tolerations):
            if not toleration.key and toleration.operator != "Exists":
                yield Problem((*at, "tolerations", i, "operator"), "operator must be Exists when `key` is empty")
            if toleration.value and toleration.operator == "Exists":
                yield Problem((*at, "tolerations", i, "value"), "value must be empty when `operator` is Exists")
            if toleration.toleration_seconds is not None and toleration.effect != "NoExecute":
                path = (*at, "tolerations", i, "effect")
                yield Problem(path, "effect must be 'NoExecute' when `tolerationSeconds` is set")
        names: set[str] = set()
        for field, containers in (("initContainers", self.init_containers), ("containers", self.containers)):
            for i, c in enumerate(containers):
                path = (*at, field, i)
                if not is_label(c.name):
                    yield Problem((*path, "name"), f'"{c.name}" is not a container name', "a DNS label")
                if c.name in names:
                    yield Problem((*path, "name"), f'two containers are called "{c.name}"')
                names.add(c.name)
                yield from _container_port_problems(c, (*path, "ports"), self.host_network)


def _container_port_problems(container: Container, at: Path, host_network: bool) -> Iterator[Problem]:
    names: set[str] = set()
    for i, p in enumerate(container.ports):
        if p.name:
            if p.name in names:
                yield Problem((*at, i, "name"), f'two ports are called "{p.name}"')
            names.add(p.name)
            if not is_port_name(p.name):
                yield Problem((*at, i, "name"), f'"{p.name}" is not a port name', PORT_NAME)
        if host_network and p.host_port not in (0, p.container_port):
            what = f"{p.host_port} differs from containerPort {p.container_port} although the pod uses hostNetwork"
            yield Problem((*at, i, "hostPort"), what)


class PodIP(ApiStruct, frozen=True):
    ip: str


class PodStatus(ApiStruct, frozen=True):
    phase: Literal["Pending", "Running", "Succeeded", "Failed", "Unknown"] = "Pending"
    pod_ip: str = ""
    pod_ips: tuple[PodIP, ...] = ()
    host_ip: str = ""
    conditions: tuple[Condition, ...] = ()
    reason: str = ""
    message: str = ""
    init_container_statuses: tuple[ContainerStatus, ...] = ()
    container_statuses: tuple[ContainerStatus, ...] = ()


class Pod(Object, frozen=True, kw_only=True):
    api_version: str = "v1"
    kind: str = "Pod"
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    def condition(self, type: str) -> Condition | None:
        return next((c for c in self.status.conditions if c.type == type), None)

    @property
    def ready(self) -> bool:
        """Whether the Ready condition is True."""
        condition = self.condition("Ready")
        return condition is not None and condition.status == "True"

    @property
    def terminating(self) -> bool:
        return self.metadata.deletion_timestamp is not None

    @property
    def finished(self) -> bool:
        return self.status.phase in ("Succeeded", "Failed")

    def problems(self) -> Iterator[Problem]:
        return self.spec.problems(("spec",))

    def inherit(self, old: Pod) -> Pod:
        pod = super().inherit(old)
        return pod if pod.spec.node_name else replace(pod, spec=replace(pod.spec, node_name=old.spec.node_name))


class PodTemplateSpec(ApiStruct, frozen=True):
    metadata: ObjectMeta = ObjectMeta()
    spec: PodSpec = PodSpec()


class ServicePort(ApiStruct, frozen=True):
    port: Port
    name: str = ""
    protocol: Protocol = "TCP"
    target_port: Port | str | None = None
    node_port: PortOrZero = 0
    app_protocol: str | None = None


class ClientIPConfig(ApiStruct, frozen=True):
    timeout_seconds: Annotated[int, Meta(ge=1, le=86400)] = 10800


class SessionAffinityConfig(ApiStruct, frozen=True):
    client_ip: ClientIPConfig = ClientIPConfig()


class ServiceSpec(ApiStruct, frozen=True):
    """`cluster_ip` "" is not yet allocated, "None" is headless. A `target_port` of None means `port`."""

    ports: tuple[ServicePort, ...] = ()
    selector: dict[str, str] = {}
    type: Literal["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"] = "ClusterIP"
    cluster_ip: str = ""
    cluster_ips: tuple[str, ...] = ()
    external_ips: tuple[str, ...] = ()
    external_name: str = ""
    session_affinity: Literal["None", "ClientIP"] = "None"
    session_affinity_config: SessionAffinityConfig = SessionAffinityConfig()
    internal_traffic_policy: TrafficPolicy = "Cluster"
    external_traffic_policy: TrafficPolicy = "Cluster"
    load_balancer_ip: str = ""
    load_balancer_source_ranges: tuple[str, ...] = ()
    allocate_load_balancer_node_ports: bool = True
    health_check_node_port: PortOrZero = 0
    publish_not_ready_addresses: bool = False
    traffic_distribution: str = ""
    ip_families: tuple[Family, ...] = ()
    ip_family_policy: Literal["SingleStack", "PreferDualStack", "RequireDualStack"] | None = None

    def __post_init__(self) -> None:
        read_plain(self, "cluster_ip", "cluster_ips", "external_ips", "load_balancer_ip", "load_balancer_source_ranges")

    @property
    def headless(self) -> bool:
        return self.cluster_ip == "None"


class LoadBalancerIngress(ApiStruct, frozen=True):
    ip: str = ""
    hostname: str = ""
    ip_mode: Literal["VIP", "Proxy"] | None = None

    def __post_init__(self) -> None:
        read_plain(self, "ip")


class LoadBalancerStatus(ApiStruct, frozen=True):
    ingress: tuple[LoadBalancerIngress, ...] = ()


class ServiceStatus(ApiStruct, frozen=True):
    load_balancer: LoadBalancerStatus = LoadBalancerStatus()


class Service(Object, frozen=True, kw_only=True):
    api_version: str = "v1"
    kind: str = "Service"
    spec: ServiceSpec = ServiceSpec()
    status: ServiceStatus = ServiceStatus()

    def problems(self) -> Iterator[Problem]:
        spec = self.spec
        if not spec.ports and not spec.headless and spec.type != "ExternalName":
            yield Problem(("spec", "ports"), "a Service needs at least one port")
        if spec.type == "ExternalName" and not spec.external_name:
            yield Problem(("spec", "externalName"), "an ExternalName Service needs an externalName")
        if spec.headless and spec.type != "ClusterIP":
            yield Problem(("spec", "clusterIP"), f"a headless Service cannot be of type {spec.type}")
        if spec.cluster_ip and spec.cluster_ips and spec.cluster_ip != spec.cluster_ips[0]:
            yield Problem(("spec", "clusterIPs", 0), f"{spec.cluster_ips[0]} is not clusterIP {spec.cluster_ip}")
        for path, text in (
            (("spec", "clusterIP"), spec.cluster_ip),
            *((("spec", "clusterIPs", i), ip) for i, ip in enumerate(spec.cluster_ips)),
            *((("spec", "externalIPs", i), ip) for i, ip in enumerate(spec.external_ips)),
        ):
            if text and text != "None" and not is_address(text):
                yield Problem(path, f'"{text}" is not an IP address')
        yield from self._family_problems()
        yield from self._port_problems()

    def _family_problems(self) -> Iterator[Problem]:
        """As the API server of a cluster of IPv4 alone refuses (pkg/registry/core/service/storage/alloc.go)."""
        spec, policy = self.spec, self.spec.ip_family_policy
        at, families = ("spec", "ipFamilyPolicy"), spec.ip_families
        if spec.type == "ExternalName":
            what = "Forbidden: may not be set for 'ExternalName' services"
            yield from (Problem(("spec", "ipFamilies"), what),) if families else ()
            yield from (Problem(at, what),) if policy else ()
            return
        for i, family in enumerate(families):
            if family in families[:i]:
                yield Problem(("spec", "ipFamilies", i), f'Duplicate value: "{family}"')
        if policy == "SingleStack" and len(families) > 1:
            what = "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified"
            yield Problem(at, f'Invalid value: "SingleStack": {what}')
        if spec.headless and not spec.selector:
            return
        if policy == "RequireDualStack":
            yield Problem(at, f'Invalid value: "{policy}": this cluster is not configured for dual-stack services')
        for i, family in enumerate(families):
            if family == "IPv6":
                yield Problem(("spec", "ipFamilies", i), 'Invalid value: "IPv6": not configured on this cluster')

    def _port_problems(self) -> Iterator[Problem]:
        names: dict[str, int] = {}
        ports: dict[tuple[int, str], int] = {}
        for i, p in enumerate(self.spec.ports):
            at: Path = ("spec", "ports", i)
            if not p.name and len(self.spec.ports) > 1:
                yield Problem(at, "a port of a Service with several ports needs a name")
            if p.name and not is_label(p.name):
                yield Problem((*at, "name"), f'"{p.name}" is not a port name', "a DNS label")
            if p.name and names.setdefault(p.name, i) != i:
                yield Problem((*at, "name"), f'two ports are called "{p.name}"')
            if ports.setdefault((p.port, p.protocol), i) != i:
                yield Problem((*at, "port"), f"{p.port}/{p.protocol} is there twice")
            if isinstance(p.target_port, str) and not is_port_name(p.target_port):
                what = f'"{p.target_port}" is not the name of a port'
                yield Problem((*at, "targetPort"), what, f"a number without quotes, or {PORT_NAME}")

    def inherit(self, old: Service) -> Service:
        """Addresses and node ports that were allocated stay, as the API server keeps them on update."""
        service = super().inherit(old)
        spec = service.spec
        if spec.type == "ExternalName" or old.spec.type == "ExternalName":
            return service
        if not spec.cluster_ip and not spec.cluster_ips:
            spec = replace(spec, cluster_ip=old.spec.cluster_ip, cluster_ips=old.spec.cluster_ips)
        if spec.type != "ClusterIP":
            known = {(p.port, p.protocol): p.node_port for p in old.spec.ports}
            ports = (p if p.node_port else replace(p, node_port=known.get((p.port, p.protocol), 0)) for p in spec.ports)
            spec = replace(spec, ports=tuple(ports))
            if not spec.health_check_node_port and spec.external_traffic_policy == "Local":
                spec = replace(spec, health_check_node_port=old.spec.health_check_node_port)
        return replace(service, spec=spec)


class EndpointAddress(ApiStruct, frozen=True):
    ip: str
    hostname: str = ""
    node_name: str | None = None

    def __post_init__(self) -> None:
        read_plain(self, "ip")


class EndpointPort(ApiStruct, frozen=True):
    port: Port
    name: str = ""
    protocol: Protocol = "TCP"
    app_protocol: str | None = None


class EndpointSubset(ApiStruct, frozen=True):
    addresses: tuple[EndpointAddress, ...] = ()
    not_ready_addresses: tuple[EndpointAddress, ...] = ()
    ports: tuple[EndpointPort, ...] = ()


class Endpoints(Object, frozen=True, kw_only=True):
    api_version: str = "v1"
    kind: str = "Endpoints"
    subsets: tuple[EndpointSubset, ...] = ()

    def problems(self) -> Iterator[Problem]:
        for i, subset in enumerate(self.subsets):
            for field, addresses in (
                ("addresses", subset.addresses),
                ("notReadyAddresses", subset.not_ready_addresses),
            ):
                for j, a in enumerate(addresses):
                    if not is_address(a.ip):
                        yield Problem(("subsets", i, field, j, "ip"), f'"{a.ip}" is not an IP address')
