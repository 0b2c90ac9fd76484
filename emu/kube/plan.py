"""A cluster's configuration, and the nodes and subnets that follow from it.

Errors in addresses are found here, before anything is booted. Must not know
namespaces, or how nodes are made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from emu.errors import InputError
from emu.kube.api import core
from emu.kube.api.meta import ObjectMeta, name_problem
from emu.kube.api.meta import replace as change
from emu.kube.dns.zone import DnsConfig
from emu.kube.networks.network import Options, usual_underlay
from emu.kube.proxy.config import ProxyConfig
from emu.kube.timing import Timing
from emu.kube.underlay.layout import subnet_of
from emu.kube.underlay.shape import LanSettings, NicSettings
from emu.modelled import Finding
from emu.wire.addr import Prefix

if TYPE_CHECKING:
    from emu.pasted.node_texts import NodeTexts

ZONE, REGION = "topology.kubernetes.io/zone", "topology.kubernetes.io/region"
OS, ARCH, HOSTNAME = "kubernetes.io/os", "kubernetes.io/arch", "kubernetes.io/hostname"
MOST_NODES = 5000  # what Kubernetes supports
N = TypeVar("N", bound=core.Node)
_MACHINE = {OS: "linux", ARCH: "amd64"}
_OLDER = {OS: "beta.kubernetes.io/os", ARCH: "beta.kubernetes.io/arch"}


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """One node; `pod_cidr` "" takes the next part of the pod subnet. `labels` come beside those of its kubelet. Without
    `interfaces` it has eth0 alone, with the InternalIP of `addresses` if these have one."""

    name: str
    zone: str = ""
    pod_cidr: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[core.Taint, ...] = ()
    region: str = ""
    addresses: tuple[core.NodeAddress, ...] = ()
    interfaces: tuple[NicSettings, ...] = ()


@dataclass(frozen=True, slots=True)
class HostConfig:
    """A host outside the cluster: its interface, and what listens on it, each as `APP@PORT` or `APP@PORT/udp`. `apps` None:
    nothing, but on `external` what is always there."""

    name: str
    interface: NicSettings = field(default_factory=NicSettings)
    apps: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    """A cluster before anything runs in it; names as in kind's configuration, KubeProxyConfiguration, and the flags of
    kube-controller-manager (`node_cidr_mask_size`, `configure_cloud_routes`).

    `network` names a built-in network or is the text of a CNI .conflist; `network_options` are its own. No
    `underlay` means the one that the network usually lies on. `lans` are those of the
    underlay, `external` the hosts outside. `routes` are further routes of the underlay's router, in ip route's words; a gateway
    may be a node's name. `sysctls` are for every node. `findings` are the
    settings of the scenario that are not modelled. `offloads`: the devices have the offloads that Linux switches on by
    default, so that veths and bridges carry large segments and unfinished checksums. `cpus`: of each node (`Clock.beside`).
    `live`: the objects are the state of a cluster that runs, and stay as they are (`kube/live`); of their pods `only` these
    run ("namespace/name"; None: all), the others are objects alone.
    `dumps` are what commands printed on nodes, by name: they replace what is computed there (`kube/dumped`).
    `policy` names the dataplane that enforces policies; "" is the network's own. No `pod_subnet` is `usual_pod_subnet`.
    """

    nodes: tuple[NodeConfig, ...] = (NodeConfig("node-1"), NodeConfig("node-2"))
    network: str = "bridge"
    network_options: Options | None = None
    policy: str = ""
    underlay: str = ""
    lans: tuple[LanSettings, ...] = ()
    routes: tuple[str, ...] = ()
    configure_cloud_routes: bool = True
    external: tuple[HostConfig, ...] = ()
    pod_subnet: str = ""
    node_cidr_mask_size: int = 24
    service_subnet: str = "10.96.0.0/12"
    proxy: ProxyConfig = field(default_factory=ProxyConfig)
    sysctls: Mapping[str, int | str] | None = None
    hairpin: bool = False
    cpus: int = 1
    offloads: bool = False
    timing: Timing = field(default_factory=Timing)
    dns: DnsConfig | None = None
    live: bool = False
    only: frozenset[str] | None = None
    findings: tuple[Finding, ...] = ()
    dumps: Mapping[str, NodeTexts] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.underlay:
            object.__setattr__(self, "underlay", usual_underlay(self.network))
        if not self.pod_subnet:
            usual = usual_pod_subnet(len(self.nodes), self.node_cidr_mask_size)
            object.__setattr__(self, "pod_subnet", usual)

    @classmethod
    def of(cls, nodes: int, **rest: Any) -> ClusterConfig:
        """A config with `nodes` nodes called node-1, node-2 ... Raises InputError."""
        if not 1 <= nodes <= MOST_NODES:
            raise InputError(f"a cluster of {nodes} nodes", path="cluster.nodes", expected=f"1 to {MOST_NODES}")
        return cls(nodes=tuple(NodeConfig(f"node-{number}") for number in range(1, nodes + 1)), **rest)


def usual_pod_subnet(nodes: int, mask_size: int) -> str:
    """The pod subnet of a cluster that names none: Flannel's and kind's, or one with room for the nodes that do not fit there."""
    return "10.244.0.0/16" if nodes < 1 << max(mask_size - 16, 0) else "10.128.0.0/9"


def configured(config: object) -> ClusterConfig:
    """The configuration of a cluster that is given as people write it. Raises InputError."""
    if config is None:
        return ClusterConfig()
    if isinstance(config, int) and not isinstance(config, bool):
        return ClusterConfig.of(config)
    if not isinstance(config, ClusterConfig):
        what = f"a cluster of {config!r}" if isinstance(config, str) else f"a cluster of a {type(config).__name__}"
        raise InputError(what, expected="a number of nodes or a ClusterConfig, then the objects")
    if not config.nodes:
        raise InputError("a cluster without nodes", path="cluster.nodes", expected="1 node or more")
    return config


def labelled(node: N) -> N:
    """The node with the labels that its kubelet sets (os, arch, hostname), and with the older names that the node lifecycle
    controller gives the first two. Labels that it has stay (kubelet_node_status.go, node_lifecycle_controller.go)."""
    labels = {**_MACHINE, HOSTNAME: node.name, **node.metadata.labels}
    labels = {**{older: labels[name] for name, older in _OLDER.items()}, **labels}
    return change(node, metadata=change(node.metadata, labels=labels))


def plan_nodes(config: ClusterConfig, declared: list[core.Node], pod_subnet: Prefix) -> list[core.Node]:
    """The Node objects, from the manifests or else from the config; each with a pod CIDR and the labels of its kubelet.
    Raises InputError."""
    if declared:
        wanted = declared
    else:
        wanted = [
            core.Node(
                metadata=ObjectMeta(name=each.name, namespace="", labels={**_topology(each), **each.labels}),
                spec=core.NodeSpec(pod_cidr=each.pod_cidr, taints=each.taints),
            )
            for each in config.nodes
        ]
    taken = pod_cidrs(
        [(node.metadata.name, node.spec.pod_cidr) for node in wanted], pod_subnet, declared=bool(declared)
    )
    free = _free_cidrs(pod_subnet, taken, _mask_size(config.node_cidr_mask_size, pod_subnet))
    result = []
    for node in wanted:
        if not node.spec.pod_cidr:
            own = next(free, None)
            if own is None:
                raise InputError(
                    f"the pod subnet {pod_subnet} has no room for node {node.metadata.name!r}",
                    path="cluster.podSubnet",
                    expected=f"a subnet with a /{max(config.node_cidr_mask_size, pod_subnet.length)} for each node",
                )
            node = change(node, spec=change(node.spec, pod_cidr=str(own)))
        result.append(labelled(node))
    return result


def _topology(node: NodeConfig) -> dict[str, str]:
    found = {ZONE: node.zone, REGION: node.region}
    return {label: value for label, value in found.items() if value}


def _mask_size(size: int, subnet: Prefix) -> int:
    """The length of a node's pod CIDR. Raises InputError for what the node ipam controller refuses: it keeps a bit for each
    of at most 65536 nodes (cidrset.NewCIDRSet). A pod subnet of less than a /24 is one node's, where no size is asked for."""
    size = max(size, subnet.length) if size == 24 else size
    path = "cluster.nodeCIDRMaskSize"
    if size < subnet.length:
        raise InputError(f"a /{size} does not fit into {subnet}", path=path, expected=f"{subnet.length} to 30")
    if size - subnet.length > 16:
        raise InputError(
            f"the pod subnet {subnet} has more than 65536 parts of /{size}", path=path,
            expected=f"up to {subnet.length + 16}",
        )  # fmt: skip
    return size


def _free_cidrs(subnet: Prefix, taken: list[Prefix], size: int = 24) -> Iterator[Prefix]:
    """The pod subnet's parts that no node names; the first is left out, so that node-1 gets 10.244.1.0/24: a control plane
    has it."""
    for number in range(1 if subnet.length < size else 0, 1 << (size - subnet.length)):
        cidr = Prefix(subnet.net + (number << (32 - size)), size)
        if not any(cidr.overlaps(each) for each in taken):
            yield cidr


def pod_cidrs(nodes: Sequence[tuple[str, str]], pod_subnet: Prefix, *, declared: bool = False) -> list[Prefix]:
    """The pod CIDRs of those nodes, given as (name, CIDR or ""), that have one. Raises InputError for two nodes of one
    name and for a CIDR that lies outside the pod subnet or overlaps another node's. The error's path is below `cluster`, or
    names the Node object where manifests declare the nodes (`declared`)."""
    if not nodes:
        raise InputError("a cluster needs a node", path="cluster.nodes", expected="a number, or a list of nodes")
    taken: list[tuple[str, Prefix]] = []
    names: set[str] = set()
    for number, (name, text) in enumerate(nodes):
        at = f"node/{name} spec" if declared else f"cluster.nodes[{number}]"
        if name in names:
            raise InputError(f'two nodes are called "{name}"', path=f"{at}.name")
        expected = name_problem("Node", name)
        if expected is not None:
            raise InputError(f'"{name}" is not a name', path=f"{at}.name", expected=expected)
        names.add(name)
        if not text:
            continue
        at += ".podCIDR"
        prefix = subnet_of(text, at)
        if not pod_subnet.overlaps(prefix) or prefix.length < pod_subnet.length:
            what = f"podCIDR {prefix} lies outside podSubnet {pod_subnet}"
            raise InputError(what, path=at, expected=f"a part of {pod_subnet}")
        for other, theirs in taken:
            if prefix.overlaps(theirs):
                what = f"podCIDR {prefix} of {name} overlaps {theirs} of {other}"
                raise InputError(what, path=at, expected="subnets that do not overlap")
        taken.append((name, prefix))
    return [prefix for _, prefix in taken]


def subnets(pod_subnet: str, service_subnet: str) -> tuple[Prefix, Prefix]:
    """The two subnets of a cluster. Raises InputError, with a path below `cluster`, if one is no subnet or they overlap."""
    found = subnet_of(pod_subnet, "cluster.podSubnet"), subnet_of(service_subnet, "cluster.serviceSubnet")
    check_subnets(*found)
    return found


def check_subnets(pod_subnet: Prefix, service_subnet: Prefix) -> None:
    """Check that pods and Services share no addresses. Raises InputError."""
    if pod_subnet.overlaps(service_subnet):
        what = f"serviceSubnet {service_subnet} overlaps podSubnet {pod_subnet}"
        raise InputError(what, path="cluster.serviceSubnet", expected="subnets that do not overlap")
