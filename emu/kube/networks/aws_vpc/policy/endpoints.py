"""PolicyEndpoints: a NetworkPolicy resolved to addresses and ports, as the control plane's controller writes it for the agents.

Pods are meant from when they have an address until they are finished, a hostNetwork pod as peer with its node's. In egress the ClusterIP
of a Service whose selector has the labels that a peer asks for stands beside the pods, since the agent sees packets before DNAT. Source:
pkg/resolvers/endpoints.go and pkg/k8s of aws/amazon-network-policy-controller-k8s ecc7e6a7. Must not know maps or nodes' programs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from emu.errors import InputError
from emu.kube.api.core import Namespace, Pod, Service
from emu.kube.api.meta import Key, LabelSelector
from emu.kube.api.networking import NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort
from emu.kube.networks.aws_vpc.policy.maps import L4, NUMBERS, Endpoint
from emu.kube.policy.ends import End, PodEnd, address, pod_end
from emu.kube.policy.groups import Group, Groups
from emu.kube.policy.index import METADATA_NAME
from emu.kube.policy.rules import Pods, Way
from emu.wire.addr import Prefix, ip4

_EVERYONE = LabelSelector()
_ALL = Prefix(0, 0)
Ports = Sequence[NetworkPolicyPort]


class PolicyEndpoints(NamedTuple):
    """One policy: what it allows by direction, the directions that it isolates, and the identifiers of the pods that it selects."""

    namespace: str
    name: str
    rules: Mapping[Way, tuple[Endpoint, ...]]
    isolates: frozenset[Way]
    identifiers: frozenset[str]


def identifier(namespace: str, pod: str) -> str:
    """GetPodIdentifier: pods whose names differ in what is behind the last dash have one, and share their maps."""
    name = pod.replace(".", "_")
    return f"{name.rpartition('-')[0] if '-' in name else name}@{namespace}"


class Resolver:
    """Follows pods, namespaces and Services, and resolves policies by them. What has not changed for a policy is not resolved anew."""

    def __init__(self) -> None:
        self.groups = Groups()
        self.resolved = 0  # how many policies were resolved
        self._pods: dict[Key, tuple[Pod, Mapping[str, str]]] = {}
        self._namespaces: dict[str, Mapping[str, str]] = {}
        self._services: dict[str, tuple[Service, ...]] = {}
        self._known: dict[Key, _Known] = {}

    def update(self, pods: Iterable[Pod], namespaces: Iterable[Namespace], services: Iterable[Service]) -> None:
        """Follow to these objects."""
        self._namespaces = {each.name: {METADATA_NAME: each.name, **each.metadata.labels} for each in namespaces}
        by_namespace: dict[str, list[Service]] = {}
        for each in services:
            by_namespace.setdefault(each.namespace, []).append(each)
            self._namespaces.setdefault(each.namespace, {METADATA_NAME: each.namespace})
        self._services = {namespace: tuple(found) for namespace, found in by_namespace.items()}
        seen = {pod.key: pod for pod in pods}
        for key in [key for key in self._pods if key not in seen]:
            del self._pods[key]
            self.groups.change((key.namespace, key.name), None)
        for key, pod in seen.items():
            labels = self._namespaces.get(pod.namespace) or {METADATA_NAME: pod.namespace}
            before = self._pods.get(key)
            if before is None or before[0] is not pod or before[1] != labels:
                self._pods[key] = pod, labels
                self.groups.change((pod.namespace, pod.name), _end(pod, labels))

    def resolve(self, policies: Iterable[NetworkPolicy]) -> list[PolicyEndpoints]:
        """These policies, each resolved."""
        known: dict[Key, _Known] = {}
        for policy in policies:
            old = self._known.get(policy.key)
            if old is None or old.policy is not policy:
                old = _Known(policy, _groups(policy, self.groups), (), (), None)
            services = self._services_of(policy)
            asked = (*old.groups, *map(self.behind, services))
            versions = tuple(each.version for each in asked)
            if old.found is None or versions != old.versions or services != old.services:
                self.resolved += 1
                found = _Draft(self, policy).resolved()
                old = old._replace(versions=versions, services=services, found=found)
            known[policy.key] = old
        self._known = known
        return [each.found for each in known.values() if each.found is not None]

    def _services_of(self, policy: NetworkPolicy) -> tuple[Service, ...]:
        """The Services that the policy's egress may mean."""
        spaces: set[str] = set()
        for rule in policy.spec.egress:
            for peer in rule.to:
                spaces.update(self.spaces(policy.namespace, peer))
        return tuple(each for space in sorted(spaces) for each in self._services.get(space, ()))

    def spaces(self, own: str, peer: NetworkPolicyPeer) -> Iterator[str]:
        """The namespaces of a peer."""
        if peer.ip_block is not None:
            return
        if peer.namespace_selector is None:
            yield own
        else:
            yield from (name for name, labels in self._namespaces.items() if peer.namespace_selector.matches(labels))

    def services(self, namespace: str) -> tuple[Service, ...]:
        return self._services.get(namespace, ())

    def behind(self, service: Service) -> Group:
        """The pods of a Service's selector."""
        selector = LabelSelector(match_labels=service.spec.selector)
        return self.groups.of(Pods(service.namespace, _EVERYONE, selector))

    def on_host(self, namespace: str, name: str) -> bool:
        """Is a pod on its node's network?"""
        return self._pods[Key("pod", namespace, name)][0].spec.host_network


class _Known(NamedTuple):
    """A policy as it was resolved last, while its groups had these versions and its Services were these."""

    policy: NetworkPolicy
    groups: tuple[Group, ...]
    versions: tuple[int, ...]
    services: tuple[Service, ...]
    found: PolicyEndpoints | None


def _end(pod: Pod, labels: Mapping[str, str]) -> End | None:
    """IsPodNetworkReady, which asks not whether the pod is on its node's network."""
    if not pod.status.pod_ip or pod.finished:
        return None
    return End(*address(pod.status.pod_ip), pod=pod_end(pod, labels))


def _peer(peer: NetworkPolicyPeer, own: str) -> Pods:
    pods = peer.pod_selector or _EVERYONE
    return Pods(own, _EVERYONE, pods) if peer.namespace_selector is None else Pods("", peer.namespace_selector, pods)


def _groups(policy: NetworkPolicy, groups: Groups) -> tuple[Group, ...]:
    """The pods that the policy selects, and those of each peer."""
    own = policy.namespace
    found = [groups.of(Pods(own, _EVERYONE, policy.spec.pod_selector))]
    peers = [peer for rule in policy.spec.ingress for peer in rule.from_]
    peers += [peer for out in policy.spec.egress for peer in out.to]
    found += [groups.of(_peer(peer, own)) for peer in peers if peer.ip_block is None]
    return tuple(dict.fromkeys(found))


class _Draft:
    def __init__(self, resolver: Resolver, policy: NetworkPolicy) -> None:
        self.resolver, self.policy = resolver, policy
        self.own = policy.namespace

    def resolved(self) -> PolicyEndpoints:
        """Rules of a direction that policyTypes does not list are resolved, too."""
        pods = self._ends(Pods(self.own, _EVERYONE, self.policy.spec.pod_selector))
        names = {(end.pod.namespace, end.pod.name) for end in pods if end.pod is not None}
        names = {each for each in names if not self.resolver.on_host(*each)}
        rules: dict[Way, tuple[Endpoint, ...]] = {
            "ingress": tuple(dict.fromkeys(self._ingress(pods))),
            "egress": tuple(dict.fromkeys(self._egress())),
        }
        isolates: frozenset[Way] = frozenset(
            "ingress" if each == "Ingress" else "egress" for each in self.policy.directions
        )
        return PolicyEndpoints(
            self.own, self.policy.name, rules, isolates, frozenset(identifier(*each) for each in names)
        )

    def _ends(self, pods: Pods) -> list[End]:
        return [end for end in self.resolver.groups.of(pods).ends if end.width == 32]

    def _ingress(self, pods: Sequence[End]) -> Iterator[Endpoint]:
        for rule in self.policy.spec.ingress:
            ports = self._ingress_ports(rule.ports, pods)
            if rule.ports and not ports:
                continue
            if not rule.from_:
                yield Endpoint(_ALL, ports)
            for peer in rule.from_:
                if peer.ip_block is not None:
                    yield from _block(peer, ports)
                else:
                    yield from (Endpoint(Prefix(end.addr, 32), ports) for end in self._ends(_peer(peer, self.own)))

    def _ingress_ports(self, ports: Ports, pods: Sequence[End]) -> tuple[L4, ...]:
        """A name stands for every number that one of the policy's pods gives it."""
        if not any(isinstance(each.port, str) for each in ports):
            return _numbers(ports)
        return tuple(dict.fromkeys(found for end in pods for found in _ports_at(end, ports)))

    def _egress(self) -> Iterator[Endpoint]:
        for rule in self.policy.spec.egress:
            numbers = _numbers(rule.ports)
            if not rule.to and (numbers or not rule.ports):
                yield Endpoint(_ALL, numbers)
            for peer in rule.to:
                if peer.ip_block is not None:
                    if numbers or not rule.ports:
                        yield from _block(peer, numbers)
                    continue
                for end in self._ends(_peer(peer, self.own)):
                    ports = tuple(_ports_at(end, rule.ports))
                    if ports or not rule.ports:
                        yield Endpoint(Prefix(end.addr, 32), ports)
                for namespace in self.resolver.spaces(self.own, peer):
                    for service in self.resolver.services(namespace):
                        yield from self._service(service, peer.pod_selector or _EVERYONE, rule.ports)

    def _service(self, service: Service, selector: LabelSelector, ports: Ports) -> Iterator[Endpoint]:
        """The ClusterIP of a Service whose own selector has what the peer's asks for (getMatchingServiceClusterIPs)."""
        addr = service.spec.cluster_ip
        if addr in ("", "None") or ":" in addr or not selector.matches(service.spec.selector):
            return
        found: list[L4] = []
        for each in ports:
            if each.port is None:
                found.append(L4(NUMBERS[each.protocol]))
                continue
            number = self._listening(service, each)
            if number is None or (isinstance(each.port, int) and self._passes_by(service, number, each, ports)):
                continue
            found.append(L4(NUMBERS[each.protocol], number, each.end_port or 0))
        if found or not ports:
            yield Endpoint(Prefix(ip4(addr), 32), tuple(found))

    def _listening(self, service: Service, wanted: NetworkPolicyPort) -> int | None:
        """The Service's port in front of a policy's port: by its targetPort, else by what its pods call that port."""
        for each in service.spec.ports:
            target = each.port if each.target_port is None else each.target_port
            if target == wanted.port and each.protocol == wanted.protocol:
                return each.port
        for pod in _pods(self.resolver.behind(service)):
            number, name = _container_port(pod, wanted)
            for each in service.spec.ports:
                target = each.port if each.target_port is None else each.target_port
                if number is not None and each.protocol == wanted.protocol and target in (number, name):
                    return each.port
        return None

    def _passes_by(self, service: Service, number: int, wanted: NetworkPolicyPort, ports: Ports) -> bool:
        """Whether the Service's port goes, by a name, to a number that the policy does not allow (hasTargetPortBypass)."""
        name = next(
            (
                each.target_port
                for each in service.spec.ports
                if each.port == number and each.protocol == wanted.protocol and isinstance(each.target_port, str)
            ),
            "",
        )
        if not name:
            return False
        for pod in _pods(self.resolver.behind(service)):
            first = next((p for p in pod.ports if p.name == name and p.protocol == wanted.protocol), None)
            if first is not None and not _allowed(first.number, wanted.protocol, ports):
                return True
        return False


def _block(peer: NetworkPolicyPeer, ports: tuple[L4, ...]) -> Iterator[Endpoint]:
    assert peer.ip_block is not None
    try:
        holes = tuple(Prefix.parse(each) for each in peer.ip_block.except_)
        yield Endpoint(Prefix.parse(peer.ip_block.cidr), ports, holes)
    except InputError:
        return  # a block of IPv6 addresses


def _numbers(ports: Ports) -> tuple[L4, ...]:
    """The ports that have a number, or none."""
    return tuple(
        L4(NUMBERS[each.protocol], each.port or 0, each.end_port or 0)
        for each in ports
        if each.port is None or isinstance(each.port, int)
    )


def _ports_at(end: End, ports: Ports) -> Iterator[L4]:
    """The ports as one pod has them: a name is the pod's own port of that name."""
    assert end.pod is not None
    for each in ports:
        if not isinstance(each.port, str):
            yield L4(NUMBERS[each.protocol], each.port or 0, each.end_port or 0)
            continue
        named = (p.number for p in end.pod.ports if p.name == each.port and p.protocol == each.protocol)
        number = next(named, None)
        if number is not None:
            yield L4(NUMBERS[each.protocol], number)


def _pods(group: Group) -> Iterator[PodEnd]:
    return (end.pod for end in group.ends if end.pod is not None)


def _container_port(pod: PodEnd, wanted: NetworkPolicyPort) -> tuple[int | None, str]:
    """LookupContainerPortAndName: number and name of a pod's port; a number that has no name stands for itself."""
    for each in pod.ports:
        if each.protocol == wanted.protocol and wanted.port in (each.name, each.number):
            return each.number, each.name
    return (wanted.port, "") if isinstance(wanted.port, int) else (None, "")


def _allowed(number: int, protocol: str, ports: Ports) -> bool:
    """isNumericPortAllowed: names are left out."""
    for each in ports:
        if each.protocol != protocol or isinstance(each.port, str):
            continue
        if each.port is None or each.port <= number <= (each.end_port or each.port):
            return True
    return False
