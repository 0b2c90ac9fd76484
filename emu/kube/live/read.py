"""From the objects of an export to the configuration of the cluster that they came from, and what cannot be kept or known.

Subnets, LANs, pod network and kube-proxy are read from the objects; nothing is asked. Must not know how a cluster is built.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from emu.errors import InputError
from emu.kube.api.core import Node, Pod, Service
from emu.kube.api.discovery import EndpointSlice
from emu.kube.api.loader import Loaded, Objects
from emu.kube.api.meta import Object
from emu.kube.api.meta import replace as change
from emu.kube.dns.zone import DOMAIN, DnsConfig
from emu.kube.live import pod_network, subnets
from emu.kube.live.findings import gathered
from emu.kube.live.mend import few, mended
from emu.kube.live.outside import hosts, strangers
from emu.kube.live.pod_network import ROUTED, Known
from emu.kube.live.revisions import revisions
from emu.kube.live.settings import Stated, stated
from emu.kube.live.subnets import address
from emu.kube.networks.aws_vpc.limits import INSTANCE_TYPES
from emu.kube.networks.aws_vpc.options import AwsOptions
from emu.kube.networks.bridge.network import BridgeOptions
from emu.kube.networks.flannel.network import Backend, NetConf
from emu.kube.networks.network import Options
from emu.kube.plan import ClusterConfig, NodeConfig
from emu.kube.policy.dataplane import NONE, dataplanes
from emu.kube.proxy.config import DETECT_LOCAL_MODES, ProxyConfig
from emu.kube.proxy.mode import modes
from emu.kube.underlay.shape import INTERNAL_IP, LanSettings
from emu.modelled import Finding
from emu.wire.addr import Prefix

STAND_IN = "kube-router"  # the dataplane that enforces policies where the network's own is not modelled
ROUTED_CONFLIST = """{"cniVersion": "0.3.1", "name": "as-found", "plugins": [
  {"type": "calico", "mtu": {{.Mtu}}, "ipam": {"type": "static"}},
  {"type": "portmap", "snat": true, "capabilities": {"portMappings": true}}]}"""


@dataclass(frozen=True, slots=True)
class Live:
    """`config` and `objects` are for a `Cluster`. `network` is the pod network by the name that people know it by; `notes` are what was
    assumed or left out, a sentence each."""

    config: ClusterConfig
    objects: Objects
    network: str
    notes: list[str]


def read(loaded: Loaded, *, enforcing: bool = False) -> Live:
    """The cluster that an export shows. `enforcing`: what enforces policies runs where there is none, too. Raises InputError when there is no
    node."""
    notes: list[str] = []
    objects = mended(loaded.objects, notes)
    nodes = [each for each in objects if isinstance(each, Node)]
    if not nodes:
        raise InputError("the export has neither a node nor a pod that names one", expected="kubectl get nodes,pods -A")
    pods = [each for each in objects if isinstance(each, Pod) and not each.spec.host_network and not each.finished]
    known = pod_network.recognised(objects)
    facts = _Facts(nodes, pods, stated(objects, loaded.settings))
    notes += facts.stated.notes
    network, what = _network(known, facts)
    notes.append(what)
    on_one_link = network in ("kindnet", "aws-vpc")
    lans = facts.lans(by_zone=network == "aws-vpc", whole=on_one_link)
    if not lans:
        notes.append("no node has an InternalIP: emu gives them addresses of its own")
    services, given = _services(objects, facts.stated)
    pod_subnet = facts.pod_subnet([services, *(Prefix.parse(each.subnet) for each in lans)])
    if not given:
        notes.append(f"the Service subnet is not stated: {services} holds every ClusterIP")
    if lans:
        shown = ", ".join(f"{each.subnet}" for each in lans)
        notes.append(f"an export does not state the nodes' LANs: taken is {shown}, with one router")
    if not any(isinstance(each, EndpointSlice) for each in objects):
        notes.append("no EndpointSlice is in the export: they are made as the controller would make them")
    found, whose = strangers(objects, [*facts.cidrs.values(), services])
    outside, more_lans = hosts(found, lans)
    if outside:
        notes.append(f"an endpoint of {few(whose)} is neither a pod nor a node: a host outside answers on its port")
    policies = any(each.kind.endswith("NetworkPolicy") for each in objects)
    enforced = (policies or enforcing) and pod_network.enforces(known, objects)
    dataplane = _dataplane(network) if enforced else NONE
    if enforced and known is not None and dataplane == STAND_IN and known.name != STAND_IN:
        notes.append(f"{known.name} enforces NetworkPolicies: the chains of {STAND_IN} stand for its own")
    elif policies and known is not None:
        notes.append(f"{known.name} enforces no NetworkPolicy: those of the export have no effect")
    elif policies:
        notes.append("whether NetworkPolicies are enforced is not known: those of the export have no effect here")
    config = ClusterConfig(
        nodes=tuple(NodeConfig(each.name) for each in nodes),
        network=ROUTED_CONFLIST if network == ROUTED else network,
        network_options=_options(network, facts, notes, cloud=known is not None and known.name == "GKE's routes"),
        underlay="" if network != ROUTED else "switched",
        lans=(*lans, *more_lans),
        external=tuple(outside),
        pod_subnet=str(pod_subnet),
        service_subnet=str(services),
        proxy=_proxy(facts.stated, pod_subnet, known, notes),
        dns=DnsConfig(domain=facts.stated.domain or DOMAIN, built_in=False),
        policy=dataplane,
        live=True,
        findings=tuple(Finding("", "export", each, "assumed") for each in notes),
    )
    kept = Objects([*map(_with_cidr, objects), *revisions(objects)])
    kept.findings, kept.custom = gathered(loaded.objects.findings), loaded.objects.custom
    return Live(config, kept, known.name if known is not None else "", notes)


def _with_cidr(obj: Object) -> Object:
    """podCIDRs without podCIDR, as an edited export may have it."""
    if isinstance(obj, Node) and not obj.spec.pod_cidr and obj.spec.pod_cidrs:
        return change(obj, spec=change(obj.spec, pod_cidr=obj.spec.pod_cidrs[0]))
    return obj


class _Facts:
    """What nodes and pods show: addresses, and where they are."""

    def __init__(self, nodes: Sequence[Node], pods: Sequence[Pod], found: Stated) -> None:
        self.nodes, self.stated = nodes, found
        self.cidrs = {each.name: Prefix.parse(each.spec.pod_cidr) for each in nodes if _ipv4_cidr(each)}
        self.ips = {each.name: address(_internal(each)) for each in nodes}
        self.pods = [(each, address(each.status.pod_ip)) for each in pods if address(each.status.pod_ip)]

    @property
    def at_home(self) -> bool:
        """Whether every pod's address lies in its node's pod CIDR, and is not the gateway's."""
        return all(
            pod.spec.node_name in self.cidrs and addr in self.cidrs[pod.spec.node_name] for pod, addr in self.pods
        )

    @property
    def together(self) -> bool:
        """Whether nodes and pods are of one block of addresses, as a VPC without a secondary one has."""
        every = [*(each for each in self.ips.values() if each), *(addr for _, addr in self.pods)]
        whole = subnets.cover(Prefix(each, 32) for each in every)
        return whole is None or whole.length >= subnets.MOST

    def lans(self, *, by_zone: bool, whole: bool) -> list[LanSettings]:
        groups: dict[str, list[int]] = {}
        for node in self.nodes:
            if self.ips[node.name]:
                name = f"subnet-{node.zone or 'a'}" if by_zone else "nodes"
                groups.setdefault(name, []).append(self.ips[node.name])
        if by_zone:
            zones = {each.name: f"subnet-{each.zone or 'a'}" for each in self.nodes}
            for pod, addr in self.pods:
                groups.setdefault(zones.get(pod.spec.node_name, "subnet-a"), []).append(addr)
        return subnets.lans(groups, [*self.cidrs.values()], "first" if by_zone else "")

    def pod_subnet(self, others: Sequence[Prefix]) -> Prefix:
        return subnets.of_pods(self.stated.pod_subnet, [*self.cidrs.values()], [a for _, a in self.pods], others)


def _internal(node: Node) -> str:
    return next((a.address for a in node.status.addresses if a.type == INTERNAL_IP and ":" not in a.address), "")


def _ipv4_cidr(node: Node) -> bool:
    return bool(node.spec.pod_cidr) and ":" not in node.spec.pod_cidr


def _network(known: Known | None, facts: _Facts) -> tuple[str, str]:
    """The network that stands for the recognised one, and a sentence about it."""
    if known is None:
        network = "bridge" if facts.at_home else ROUTED
        kind = "a bridge on each node" if facts.at_home else "a routed veth pair for each pod"
        return network, f"no pod network is recognised: {kind} stands for it"
    if known.network == "bridge" and not facts.at_home:
        return ROUTED, f"the pod network is {known.name}; pods lie outside of their nodes' pod CIDRs: each has a route"
    if known.network in ("kindnet", "flannel", "bridge") and not facts.at_home:
        return (
            ROUTED,
            f"the pod network is {known.name}, but pods lie outside of their nodes' pod CIDRs: each has a route",
        )
    if known.network == "aws-vpc" and not facts.together:
        return (
            ROUTED,
            f"the pod network is {known.name}; pods and nodes are of several blocks of addresses: each pod has a route",
        )
    note = f": {known.note}" if known.note else ""
    return known.network or ROUTED, f"the pod network is {known.name}{note}"


def _dataplane(network: str) -> str:
    """What enforces policies with a network: its own dataplane, where that is modelled."""
    return next((name for name, each in dataplanes.items() if each.network == network), STAND_IN)


def _options(network: str, facts: _Facts, notes: list[str], *, cloud: bool) -> Options | None:
    if network == "flannel":
        return _flannel(facts, notes)
    if network == "aws-vpc":
        return _aws(facts)
    # a cloud's own routes, where one of the nodes shows it; else nodes of one LAN may route to each other
    return BridgeOptions(host_gw=False) if network == "bridge" and cloud else None


def _aws(facts: _Facts) -> AwsOptions:
    """The type of instance that the nodes' labels state, else the smallest one that has so many pods' addresses on one node."""
    stated = {each.metadata.labels.get("node.kubernetes.io/instance-type", "") for each in facts.nodes}
    pods = max(Counter(pod.spec.node_name for pod, _ in facts.pods).values(), default=0)
    enough = [
        name for name in sorted(INSTANCE_TYPES, key=lambda each: INSTANCE_TYPES[each].max_pods()) if _holds(name, pods)
    ]
    chosen = next((each for each in enough if each in stated), enough[0] if enough else "m5.4xlarge")
    return AwsOptions(instance_type=chosen, warm_ip_target=1)


def _holds(instance_type: str, pods: int) -> bool:
    limits = INSTANCE_TYPES[instance_type]
    return limits.enis * limits.slots > pods


def _flannel(facts: _Facts, notes: list[str]) -> NetConf | None:
    """net-conf.json, or what the nodes' annotations state of the backend."""
    if facts.stated.flannel:
        try:
            conf = msgspec.convert(dict(facts.stated.flannel), NetConf)
            return replace_network(conf)
        except msgspec.ValidationError as error:
            notes.append(f"flannel's net-conf.json is not modelled: {error}")
    kinds = {each.metadata.annotations.get(pod_network.FLANNEL, "") for each in facts.nodes} - {""}
    if "host-gw" in kinds:
        return NetConf(backend=Backend(type="host-gw"))
    other = kinds - {"vxlan"}
    if other:
        notes.append(f"flannel's backend {', '.join(sorted(other))} is not modelled: vxlan stands for it")
    return NetConf()


def replace_network(conf: NetConf) -> NetConf:
    """Without nftables, whose rules are not modelled, and without a network: it is the pod subnet."""
    return msgspec.structs.replace(conf, network="", enable_nftables=False)


def _services(objects: Iterable[Object], found: Stated) -> tuple[Prefix, bool]:
    services = [each for each in objects if isinstance(each, Service) and each.spec.type != "ExternalName"]
    first = next(
        (address(s.spec.cluster_ip) for s in services if (s.namespace, s.name) == ("default", "kubernetes")), 0
    )
    taken = [addr for each in services if (addr := address(each.spec.cluster_ip))]
    return subnets.of_services(found.service_subnet, first, taken)


def _proxy(found: Stated, pod_subnet: Prefix, known: Known | None, notes: list[str]) -> ProxyConfig:
    """kube-proxy as its ConfigMap has it; what is not stated has its default."""
    given: Mapping[str, Any] = found.proxy
    mode = str(given.get("mode") or "iptables")
    if mode not in modes:
        notes.append(f"kube-proxy's mode {mode} is not modelled: iptables stands for it")
        mode = "iptables"
    iptables = given.get("iptables")
    iptables = iptables if isinstance(iptables, dict) else {}
    detect = str(given.get("detectLocalMode") or "ClusterCIDR")
    node_ports = given.get("nodePortAddresses")
    release = _release(found.version)
    made = ProxyConfig(
        mode=mode,
        # without one it takes no pod for local (NoOpLocalDetector): so the VPC's kube-proxy is set up
        cluster_cidr=str(
            given.get("clusterCIDR") or ("" if known is not None and known.network == "aws-vpc" else pod_subnet)
        ),
        detect_local_mode=detect if detect in DETECT_LOCAL_MODES else "ClusterCIDR",
        masquerade_all=bool(iptables.get("masqueradeAll")),
        node_port_addresses=tuple(map(str, node_ports)) if isinstance(node_ports, list) else (),
    )
    bit = iptables.get("masqueradeBit")
    if isinstance(bit, int) and 0 <= bit <= 31:
        made = made._replace(masquerade_bit=bit)
    if not given:
        notes.append("kube-proxy's ConfigMap is not in the export: it has its defaults, in mode iptables")
    return made if release is None else made._replace(release=release)


def _release(version: str) -> tuple[int, int] | None:
    parts = version.removeprefix("v").split(".")
    if len(parts) >= 2 and parts[0].isdigit() and parts[1].isdigit():
        return int(parts[0]), int(parts[1])
    return None
