"""kindnetd's network policies as two agents of a node: the program that knows the objects, and the set of addresses that are queued.

The program has each change as its watch brings it; the set is written anew at most once a second. Here each change of a pod counts for that
second, where kindnetd looks only at pods of its own node that a policy selects. Source: pkg/networkpolicy and pkg/dataplane of
kubernetes-sigs/kube-network-policies 5f81cc3. Must not know how a packet is judged (`queue.py`).
"""

from __future__ import annotations

from collections.abc import Mapping

from emu.clock import SECOND
from emu.kube.agent import Agent, Node, Objects, Settings, agents
from emu.kube.api.core import Namespace, Pod
from emu.kube.api.core import Node as NodeObject
from emu.kube.api.networking import NetworkPolicy
from emu.kube.networks.kindnet.policy.queue import CHAINS, TABLE, QueuedPolicies
from emu.kube.policy.dataplane import Dataplane, dataplanes
from emu.kube.policy.follow import Followed
from emu.kube.policy.index import PolicyIndex
from emu.kube.policy.rules import WAYS

NAME = "kindnet"
PROGRAM, SETS = "kindnet-policies", "kindnet-nftables"
WATCHED = (Namespace, Pod, NetworkPolicy)
SYNC_NS = SECOND  # minInterval of the runner
RESYNC_NS = 3600 * SECOND


@agents.add(PROGRAM)
class PolicyProgram(Agent[PolicyIndex, None, None]):
    """The program behind the queue: it follows the objects."""

    watches = WATCHED

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.followed = Followed()

    def start(self, node: Node, own: NodeObject) -> NodeObject:
        if TABLE not in node.root.programs:
            node.root.programs[TABLE] = QueuedPolicies(node.root, self._index)
        return own

    def _index(self) -> PolicyIndex:
        return self.followed.index

    def view(self, objects: Objects, before: PolicyIndex | None) -> PolicyIndex:
        return self.followed.update(obj for kind in WATCHED for obj in objects.list(kind))

    def facts(self, node: Node) -> None:
        """It reads nothing on the node."""

    def compile(self, view: PolicyIndex, facts: None) -> None:
        """Nothing on a node follows from what the program knows."""

    def apply(self, node: Node, value: None) -> bool:
        return True


Selected = Mapping[str, frozenset[int]]  # addresses by node


@agents.add(SETS)
class PolicySets(Agent[Selected, str, frozenset[int]]):
    """syncNFTablesRules: the set podips-v4 has the node's pods that a policy selects."""

    watches = WATCHED
    min_period_ns = SYNC_NS
    max_period_ns = resync_period_ns = RESYNC_NS

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.followed = Followed()

    def view(self, objects: Objects, before: Selected | None) -> Selected:
        index = self.followed.update(obj for kind in WATCHED for obj in objects.list(kind))
        found: dict[str, set[int]] = {}
        for end in index.pods:
            if end.pod is not None and end.width == 32 and any(index.selecting(end.pod, way).own for way in WAYS):
                found.setdefault(end.pod.node, set()).add(end.addr)
        return {node: frozenset(addresses) for node, addresses in found.items()}

    def facts(self, node: Node) -> str:
        return node.name

    def compile(self, view: Selected, facts: str) -> frozenset[int]:
        return view.get(facts, frozenset())

    def apply(self, node: Node, value: frozenset[int]) -> bool:
        table: QueuedPolicies = node.root.programs[TABLE]
        table.selected = value
        return True


dataplanes.add(NAME)(
    Dataplane(
        NAME,
        agents=(PROGRAM, SETS),
        kinds=(NetworkPolicy,),
        network=NAME,
        chains=tuple(CHAINS),
        both_sides=True,
        settled_ns=2 * SYNC_NS,
    )
)
