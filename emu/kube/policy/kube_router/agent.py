"""kube-router's network policy controller as a node agent: what it takes from the objects, and what it puts on its node.

Every node has the chains and sets of all policies, and chains for its own pods. It runs at once on a change, and every five minutes. Must
not know how a rule reads (`rules.py`, `policies.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from emu.clock import SECOND
from emu.kernel.netfilter.ruleset import Chain
from emu.kube.agent import Agent, Node, Objects, Settings, agents
from emu.kube.api.core import Namespace, Pod
from emu.kube.api.meta import Object
from emu.kube.api.networking import NetworkPolicy
from emu.kube.policy import tables
from emu.kube.policy.dataplane import Dataplane, dataplanes
from emu.kube.policy.ends import End
from emu.kube.policy.follow import Followed
from emu.kube.policy.kube_router import names, rules
from emu.kube.policy.kube_router.policies import Draft, Written, by_another_blocks_exception, by_the_other_direction
from emu.kube.policy.rules import WAYS, Policy
from emu.kube.policy.settings import PolicySettings
from emu.kube.policy.tables import SetText, Wanted

NAME = "kube-router"
PERIOD_NS = 300 * SECOND  # --iptables-sync-period
_OPTIONS = "family inet hashsize 1024 maxelem 65536 timeout 0"


class View(NamedTuple):
    """Of all nodes: the policies' chains and sets, and each node's pods with their jumps to policies."""

    chains: Mapping[str, Chain]
    sets: Mapping[str, SetText]
    pods: Mapping[str, tuple[tuple[End, tuple[rules.Jump, ...]], ...]]


class State(NamedTuple):
    wanted: Wanted
    sets: Mapping[str, SetText]


class _Known(NamedTuple):
    """A policy as it was written last, while its groups had these versions."""

    draft: Draft
    versions: tuple[int, ...]
    written: Written
    chain: Chain
    sets: Mapping[str, SetText]


@agents.add(NAME)
class KubeRouter(Agent[View, str, State]):
    watches = (NetworkPolicy, Pod, Namespace)
    resync_period_ns = PERIOD_NS

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.services = settings.of(PolicySettings).service_subnet
        self.followed = Followed()
        self.written = 0  # how many policies were written
        self._known: dict[str, _Known] = {}  # by the policy's kind, namespace and name
        self._applied: dict[str, State] = {}  # by node

    def view(self, objects: Objects, before: View | None) -> View:
        index = self.followed.update(self._given(objects))
        known = self._known = {str(policy): self._policy(policy) for policy in index.policies}
        found = known.values()
        pods: dict[str, list[tuple[End, tuple[rules.Jump, ...]]]] = {}
        for end in index.pods:
            if end.pod is not None and end.width == 32:
                own = [each for way in WAYS for each in index.selecting(end.pod, way).own]
                jumps = []
                for policy in {id(each): each for each in own}.values():
                    chain = known[str(policy)].written.chain
                    both = ("ingress" in policy.rules, "egress" in policy.rules)
                    jumps.append(rules.Jump(policy.namespace, policy.name, chain, *both))
                pods.setdefault(end.pod.node, []).append((end, tuple(jumps)))
        return View(
            {each.written.chain: each.chain for each in found},
            {name: made for each in found for name, made in each.sets.items()},
            {node: tuple(each) for node, each in pods.items()},
        )

    def _given(self, objects: Objects) -> list[Object]:
        return [obj for kind in self.watches for obj in objects.list(kind)]

    def _policy(self, policy: Policy) -> _Known:
        known = self._known.get(str(policy))
        if known is not None and known.written.policy is not policy:
            known = None
        draft = known.draft if known is not None else Draft(policy, self.followed.index.groups)
        versions = draft.versions
        if known is not None and known.versions == versions:
            return known
        self.written += 1
        made = draft.written()
        chain = known.chain if known is not None and known.written.lines == made.lines else None
        sets: dict[str, SetText] = {}
        for number, each in enumerate(made.sets):
            old = known.written.sets if known is not None else ()
            same = known is not None and number < len(old) and old[number] == each
            sets[each.name] = (
                known.sets[each.name]
                if known is not None and same
                else SetText.of(each.name, each.kind, _OPTIONS, each.elements)
            )
        return _Known(draft, versions, made, chain or tables.chain(made.chain, made.lines), sets)

    def facts(self, node: Node) -> str:
        return node.name

    def compile(self, view: View, facts: str) -> State:
        chains: dict[str, Chain] = {name: tables.chain(name, lines) for name, lines in rules.common().items()}
        chains |= view.chains
        pods = []
        for end, jumps in view.pods.get(facts, ()):
            assert end.pod is not None
            lines = rules.pod(end, jumps)
            name = names.pod_chain(end.pod.namespace, end.pod.name, "\n".join(lines))
            chains[name] = tables.chain(name, lines)
            pods.append((end, name))
        for name, lines in rules.top(pods, self.services).items():
            chains[name] = tables.chain(name, lines)
        return State(Wanted(chains, {name: rules.first(name) for name in names.TOP}), view.sets)

    def apply(self, node: Node, value: State) -> bool:
        before = self._applied.get(node.name)
        old = before.sets if before is not None else {}
        tables.put_sets(node.net, value.sets, old)
        tables.put(node.net, value.wanted, names.owned)
        tables.destroy_sets(node.net, value.sets, old)
        self._applied[node.name] = value
        return True

    def intact(self, node: Node) -> bool:
        state = self._applied.get(node.name)
        return state is not None and tables.in_place(node.net, state.wanted)


dataplanes.add(NAME)(
    Dataplane(
        NAME,
        agents=(NAME,),
        kinds=(NetworkPolicy,),
        chains=(names.POD,),
        allows=by_the_other_direction,
        forbids=by_another_blocks_exception,
    )
)
