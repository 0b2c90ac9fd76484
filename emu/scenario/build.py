"""A scenario's cluster: the words of the file turned into the cluster's own configuration.

Must not know steps or files.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from emu.errors import InputError
from emu.kernel.sysctl import report
from emu.kube.api.core import Node, NodeAddress, Taint
from emu.kube.api.documents import Document
from emu.kube.api.loader import Objects
from emu.kube.cluster import Cluster, ClusterConfig, NodeConfig
from emu.kube.dns.zone import DnsConfig
from emu.kube.plan import HostConfig
from emu.kube.proxy.config import ProxyConfig
from emu.kube.timing import Timing
from emu.kube.underlay.shape import LanSettings, NicSettings
from emu.modelled import Finding
from emu.scenario import kube_proxy
from emu.scenario.kinds import ClusterPart, DnsPart, ExternalPart, InterfacePart, KubeProxyPart, NodePart, ScenarioPart
from emu.scenario.quantity import duration_ns
from emu.scenario.script import Scenario, keys
from emu.scenario.shape import options_of

DEFAULT_NODES = "node-{}"


def config(part: ClusterPart, conflist: str = "") -> ClusterConfig:
    """The configuration that a scenario's `cluster` asks for. Raises InputError."""
    if isinstance(part.nodes, int):
        nodes = tuple(NodeConfig(DEFAULT_NODES.format(number)) for number in range(1, part.nodes + 1))
    else:
        nodes = tuple(map(_node, part.nodes))
    return ClusterConfig(
        nodes=nodes,
        network=conflist or part.network,
        network_options=options_of(part).get(part.network),
        policy=part.policy or "",
        underlay=part.underlay or "",
        lans=tuple(LanSettings(each.name, each.subnet, each.gateway, each.mtu) for each in part.lans),
        routes=part.routes,
        configure_cloud_routes=part.configure_cloud_routes,
        external=tuple(HostConfig(each.name, _interface(each, "eth0"), each.apps) for each in part.external),
        pod_subnet=part.pod_subnet,
        node_cidr_mask_size=part.node_cidr_mask_size,
        service_subnet=part.service_subnet,
        proxy=proxy(part.kube_proxy)._replace(release=release(part.kubernetes_version)),
        sysctls=part.sysctls,
        hairpin=part.hairpin,
        cpus=part.cpus,
        offloads=part.offloads,
        dns=dns(part.dns),
        timing=Timing(endpoint_updates_batch_ns=_ns(part.endpoint_updates_batch_period, "endpointUpdatesBatchPeriod")),
    )


def _node(part: NodePart) -> NodeConfig:
    taints = tuple(Taint(key=each.key, effect=each.effect, value=each.value) for each in part.taints)
    addresses = tuple(NodeAddress(type=each.type, address=each.address) for each in part.addresses)
    interfaces = tuple(_interface(each, each.name) for each in part.interfaces)
    return NodeConfig(part.name, part.zone, part.pod_cidr, part.labels, taints, part.region, addresses, interfaces)


def _interface(part: InterfacePart | ExternalPart, name: str) -> NicSettings:
    return NicSettings(name, part.lan, part.address, part.mac, part.mtu or 0, part.gateway)


def dns(part: bool | DnsPart) -> DnsConfig | None:
    """The cluster's DNS, None for a cluster without."""
    if isinstance(part, bool):
        return DnsConfig() if part else None
    return DnsConfig(domain=part.domain, upstream=part.upstream)


def proxy(part: KubeProxyPart) -> ProxyConfig:
    """The configuration of every node's kube-proxy. Without a clusterCIDR it takes the cluster's pod subnet."""
    return ProxyConfig(
        mode=part.mode,
        cluster_cidr=part.cluster_cidr,
        detect_local_mode=part.detect_local_mode,
        bridge_interface=part.detect_local.bridge_interface,
        interface_name_prefix=part.detect_local.interface_name_prefix,
        masquerade_all=part.iptables.masquerade_all,
        masquerade_bit=part.iptables.masquerade_bit,
        localhost_node_ports=part.iptables.localhost_node_ports,
        node_port_addresses=part.node_port_addresses,
        min_sync_period_ns=_ns(part.iptables.min_sync_period, "kubeProxy.iptables.minSyncPeriod"),
        sync_period_ns=_ns(part.iptables.sync_period, "kubeProxy.iptables.syncPeriod"),
    )


def release(version: str) -> tuple[int, int]:
    """Major and minor of `v1.31` or `v1.31.4`."""
    major, minor, *_ = version.removeprefix("v").split(".")
    return int(major), int(minor)


def _ns(value: str | float, key: str) -> int:
    try:
        return duration_ns(value)
    except InputError as error:
        raise error.at(path=f"cluster.{key}") from None


def build(scenario: Scenario, *, capture: bool = True, from_start: bool = True) -> Cluster:
    """The scenario's cluster, settled: pods run, rules are in force, captures are on unless `capture` is false, and have the frames of the
    build unless `from_start` is. Raises InputError with its place."""
    seed = scenario.spec.seed
    try:
        cluster = Cluster(*asked(scenario), seed=seed, capture=capture, from_start=from_start)
        join(cluster, scenario)
        return cluster
    except InputError as error:
        if error.file is not None:
            raise
        raise _placed(error, scenario) from None


def join(cluster: Cluster, scenario: Scenario) -> None:
    """What the scenario's own file declares comes into a cluster that runs. Raises InputError."""
    for obj in scenario.declared.objects:
        cluster.apply(obj, settle=False)
    if scenario.declared.objects:
        cluster.settle()


def asked(scenario: Scenario) -> tuple[ClusterConfig, Objects]:
    """The configuration that a scenario asks for, or that the export of a running cluster shows, with what of it is not modelled, and
    the objects. Raises InputError."""
    if not scenario.loaded.live:
        return configured(scenario), scenario.loaded.objects
    from emu.kube.live.read import read  # only here: most clusters come from manifests

    shown = read(scenario.loaded)
    if scenario.bare:
        return replace(shown.config, dumps=scenario.dumps), shown.objects
    return _beside(shown.config, scenario), shown.objects


def configured(scenario: Scenario) -> ClusterConfig:
    """The configuration that a scenario's `cluster` asks for, with what of it is not modelled. Raises InputError."""
    made = config(scenario.spec.cluster, scenario.conflist)
    return replace(made, findings=tuple(findings(scenario)), dumps=scenario.dumps)


BESIDE_AN_EXPORT = ("live", "cpus", "hairpin", "offloads", "sysctls", "endpointUpdatesBatchPeriod", "policy")
"""The keys of `cluster` that an export states nothing about, or that may be stated otherwise. All others are read from its objects."""


def _beside(shown: ClusterConfig, scenario: Scenario) -> ClusterConfig:
    """What an export shows, with what the scenario states besides."""
    part, document = scenario.spec.cluster, scenario.document
    given: dict[str, Any] = (document.value.get("cluster") or {}) if isinstance(document.value, dict) else {}
    idle = [
        _finding(document, ("cluster", key), "has no effect: the manifests are the export of a running cluster (live: false: they are not)")
        for key in given
        if key not in BESIDE_AN_EXPORT and not (key == "nodes" and _only_dumps(part))
    ]  # fmt: skip
    stated = config(part)
    words = {"cpus": "cpus", "hairpin": "hairpin", "offloads": "offloads", "sysctls": "sysctls", "policy": "policy"}
    words |= {"endpointUpdatesBatchPeriod": "timing"}
    more = {word: getattr(stated, word) for key, word in words.items() if key in given}
    return replace(shown, **more, findings=(*shown.findings, *idle), dumps=scenario.dumps)


def _only_dumps(part: ClusterPart) -> bool:
    """Whether the nodes that are stated beside an export have a name and a dump each, and no more."""
    return not isinstance(part.nodes, int) and all(
        each.dump and each == NodePart(each.name, dump=each.dump) for each in part.nodes
    )


def findings(scenario: Scenario) -> Iterator[Finding]:
    """What the scenario's `cluster` asks for that is not modelled, with its place."""
    part, document = scenario.spec.cluster, scenario.document
    declared = {each.name for each in scenario.objects if isinstance(each, Node)}
    stated = [] if isinstance(part.nodes, int) else [each.name for each in part.nodes]
    lost = [name for name in stated if declared and name not in declared]
    if lost:
        what = f"no Node object of the manifests is called {', '.join(lost)}: where there are Node objects, they are the nodes"
        yield _finding(document, ("cluster", "nodes"), what)._replace(id="nodes-ignored")
    for key, what in kube_proxy.remarks(part.kube_proxy):
        yield _finding(document, ("cluster", "kubeProxy", key), what)
    for name, value in part.sysctls.items():
        try:
            what = report(name, value)
        except InputError:  # it stops the cluster from being built, and is reported then
            continue
        if what:
            yield _finding(document, ("cluster", "sysctls", name), what)


def _finding(document: Document, path: tuple[str, ...], what: str) -> Finding:
    return Finding(f"{document.file}:{document.line_of(path)}", ".".join(path[:2]), what)


def _placed(error: InputError, scenario: Scenario) -> InputError:
    """The error with the place of the object, or of the scenario's key, that it speaks of."""
    for key, place in scenario.loaded.places.items():
        if error.path and error.path.partition(" ")[0] == str(key):
            return error.at(file=place.file, line=place.line)
    where = keys(error.path) if error.path else _key(error, scenario.spec)
    placed = scenario.document.error(error.what, where)
    return error.at(file=placed.file, line=placed.line, path=placed.path)


def _key(error: InputError, spec: ScenarioPart) -> tuple[str | int, ...]:
    """The key that an error without a path speaks of."""
    for key in spec.cluster.sysctls:
        if key in error.what:
            return "cluster", "sysctls", key
    return ("cluster", "network") if repr(spec.cluster.network) in error.what else ("cluster",)
