"""The network policy agent as a node agent, with what the control plane's controller resolves for it: which maps each node's pods have.

A new pod has its programs from the CNI plugin's ADD on: with maps where the agent knows policies of the pod's identifier, else in the
mode's default state until they arrive. The controller collects changes of pods for a second. Kept as it is: pods that share an identifier
share their maps. Source: controllers/ and pkg/rpc of aws/aws-network-policy-agent c8619c05, pkg/config of
aws/amazon-network-policy-controller-k8s ecc7e6a7. Must not know how a packet is judged (`program.py`).
"""

from __future__ import annotations

from collections.abc import Mapping

from emu.clock import SECOND
from emu.errors import InputError
from emu.kernel.link.device import Device
from emu.kube.agent import Agent, Node, Objects, Settings, agents
from emu.kube.api.core import Namespace, Pod, Service
from emu.kube.api.core import Node as NodeObject
from emu.kube.api.meta import Object
from emu.kube.api.networking import NetworkPolicy
from emu.kube.cni.plugins.aws_cni import IPAMD, POLICY_AGENT
from emu.kube.networks.aws_vpc.options import AwsOptions
from emu.kube.networks.aws_vpc.policy.endpoints import PolicyEndpoints, Resolver, identifier
from emu.kube.networks.aws_vpc.policy.maps import ALL, MOST_PORTS, Endpoint, Trie, computed
from emu.kube.networks.aws_vpc.policy.program import DEFAULT_ALLOW, DEFAULT_DENY, POLICIES_APPLIED, Maps, Programs
from emu.kube.policy.dataplane import Dataplane, dataplanes
from emu.kube.policy.ends import End
from emu.kube.policy.index import PolicyIndex
from emu.kube.policy.rules import Block, Pods, Policy, Way
from emu.kube.policy.verdict import Packet, has_port

NAME = "aws-network-policy-agent"
BATCH_NS = SECOND  # --pod-update-batch-period-duration of the controller
Known = Mapping[str, tuple[PolicyEndpoints, ...]]  # by identifier


class PolicyAgent:
    """The agent on one node: what it knows of the policies, and its programs."""

    def __init__(self, node: Node, *, strict: bool) -> None:
        self.node_ip, self.strict = node.ip, strict
        self.known: Known = {}
        self.programs = Programs(node.net, self.maps)
        self._made: dict[str, tuple[tuple[PolicyEndpoints, ...], Maps]] = {}

    # -- what the plugin calls -------------------------------------------------------------------

    def enforce(self, namespace: str, pod: str, device: Device) -> None:
        """EnforceNpToPod: a pod's veth is there."""
        self.programs.attach(namespace, pod, identifier(namespace, pod), device)

    def delete(self, namespace: str, pod: str) -> None:
        """DeletePodNp. May be called again."""
        self.programs.detach(namespace, pod)

    # -- what the agent does ---------------------------------------------------------------------

    def update(self, known: Known) -> None:
        """The policies that there are now."""
        self.known = known
        self.programs.update()
        self._made = {shared: made for shared, made in self._made.items() if shared in self.programs.maps}

    def maps(self, shared: str) -> Maps:
        """The maps of an identifier. Of one that has lost its last policy the node's own entry stays."""
        found = self.known.get(shared, ())
        before = self._made.get(shared)
        if not found:
            state = DEFAULT_DENY if self.strict else DEFAULT_ALLOW
            return Maps(state) if before is None else Maps(state, *self._tries(()))
        if (
            before is not None
            and len(before[0]) == len(found)
            and all(a is b for a, b in zip(before[0], found, strict=True))
        ):
            return before[1]
        made = Maps(POLICIES_APPLIED, *self._tries(found))
        self._made[shared] = found, made
        return made

    def _tries(self, found: tuple[PolicyEndpoints, ...]) -> tuple[Trie, Trie]:
        return computed(rules_of(found, "ingress"), self.node_ip), computed(rules_of(found, "egress"), self.node_ip)


def rules_of(found: tuple[PolicyEndpoints, ...], way: Way) -> list[Endpoint]:
    """The rules of one direction: a direction in which nothing isolates allows everything."""
    rules = [rule for each in found for rule in each.rules[way]]
    if found and not rules and not any(way in each.isolates for each in found):
        return [ALL]
    return rules


@agents.add(NAME)
class NetworkPolicyAgent(Agent[Known, None, Known]):
    """View: by identifier, the policies that select one of its pods anywhere. Value: the same."""

    watches = (NetworkPolicy, Pod, Namespace, Service)

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        options = settings.of(AwsOptions)
        self.strict = options.enforcing_mode == "strict"
        self.resync_period_ns = options.conntrack_cleanup_s * SECOND
        self.resolver = Resolver()

    def delay_of(self, kind: type[Object]) -> int:
        return 0 if kind is NetworkPolicy else BATCH_NS

    def start(self, node: Node, own: NodeObject) -> NodeObject:
        if IPAMD not in node.net.programs:
            raise InputError(
                f"{NAME} runs beside ipamd, which {node.name} has not",
                path="cluster.policy",
                expected="network aws-vpc",
            )
        if POLICY_AGENT not in node.net.programs:
            node.net.programs[POLICY_AGENT] = PolicyAgent(node, strict=self.strict)
        return own

    def view(self, objects: Objects, before: Known | None) -> Known:
        self.resolver.update(objects.list(Pod), objects.list(Namespace), objects.list(Service))
        found: dict[str, list[PolicyEndpoints]] = {}
        for each in self.resolver.resolve(objects.list(NetworkPolicy)):
            for shared in each.identifiers:
                found.setdefault(shared, []).append(each)
        return {shared: tuple(each) for shared, each in found.items()}

    def facts(self, node: Node) -> None:
        """The agent reads nothing on the node."""

    def compile(self, view: Known, facts: None) -> Known:
        return view

    def apply(self, node: Node, value: Known) -> bool:
        _agent(node).update(value)
        return True

    def intact(self, node: Node) -> bool:
        """The periodic look at the table of connections."""
        _agent(node).programs.clean()
        return True


def _agent(node: Node) -> PolicyAgent:
    found: PolicyAgent = node.net.programs[POLICY_AGENT]
    return found


def unread(policy: Policy) -> str:
    """What of a policy is left out here, "" for nothing."""
    for rules in policy.rules.values():
        if any(len(rule.ports or ()) > MOST_PORTS for rule in rules):
            return f"{NAME} keeps {MOST_PORTS} ports of an address, and which of more is left to chance: the first {MOST_PORTS} here"
    return ""


def allowed_all_the_same(index: PolicyIndex, packet: Packet, way: Way) -> bool:
    """The pod's own node is in the map of both directions; any node's address may be that of a hostNetwork pod, which selectors mean here."""
    pod, other = _ends(packet, way)
    if pod.pod is None or other.node is None:
        return False
    rules = (rule for policy in index.selecting(pod.pod, way).own for rule in policy.rules[way])
    selected = (rule for rule in rules if any(isinstance(peer, Pods) for peer in rule.peers or ()))
    return other.node.name == pod.pod.node or any(has_port(rule, packet) for rule in selected)


def denied_all_the_same(index: PolicyIndex, packet: Packet, way: Way) -> bool:
    """An address in an exception of one of the pod's rules may have an entry that denies, whatever the others allow."""
    pod, other = _ends(packet, way)
    if pod.pod is None:
        return False
    rules = (rule for policy in index.selecting(pod.pod, way).own for rule in policy.rules[way])
    blocks = (peer for rule in rules for peer in rule.peers or () if isinstance(peer, Block))
    return any(hole.has(other) for block in blocks for hole in block.holes)


def _ends(packet: Packet, way: Way) -> tuple[End, End]:
    """The pod that the direction is about, and the other end."""
    return (packet.source, packet.destination) if way == "egress" else (packet.destination, packet.source)


dataplanes.add(NAME)(
    Dataplane(
        NAME,
        agents=(NAME,),
        kinds=(NetworkPolicy,),
        network="aws-vpc",
        allows=allowed_all_the_same,
        forbids=denied_all_the_same,
        unread=unread,
        at_interface=True,
        settled_ns=2 * BATCH_NS,
    )
)
