"""kube-router's network policy controller as a node agent: what it takes from the objects, and what it puts on its node.

Every node has the chains and sets of all policies, and chains for its own pods. It runs at once on a change, and every five minutes. Must
not know how a rule reads (`rules.py`, `policies.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from emu.clock import SECOND
from emu.kernel.netfilter.ruleset import Chain
from emu.kube.agent import Agent, Node, Objects, Settings, agents
from emu.kube.api.core import Namespace, Pod
from emu.kube.api.meta import Key, Object
from emu.kube.api.networking import NetworkPolicy
from emu.kube.policy import tables
from emu.kube.policy.dataplane import Dataplane, dataplanes
from emu.kube.policy.ends import End
from emu.kube.policy.follow import Followed
from emu.kube.policy.groups import Group
from emu.kube.policy.kube_router import names, rules
from emu.kube.policy.kube_router.policies import Draft, Written, by_another_blocks_exception, by_the_other_direction
from emu.kube.policy.kube_router.rules import Lines
from emu.kube.policy.rules import WAYS, Policy
from emu.kube.policy.settings import PolicySettings
from emu.kube.policy.tables import SetText, Wanted
from emu.kube.policy.verdict import Selecting

NAME = "kube-router"
PERIOD_NS = 300 * SECOND  # --iptables-sync-period
_OPTIONS = "family inet hashsize 1024 maxelem 65536 timeout 0"


Placed = tuple[End, tuple[rules.Jump, ...]]  # a pod with its calls of policies
FIRST = {name: rules.first(name) for name in names.TOP}


class Changed(NamedTuple):
    """The names of the chains and sets of policies that are not what they were in the view before."""

    chains: frozenset[str]
    sets: frozenset[str]


class View(NamedTuple):
    """Of all nodes: the policies' chains and sets, and each node's pods with their jumps to policies. `number` counts the views."""

    chains: Mapping[str, Chain]
    sets: Mapping[str, SetText]
    pods: Mapping[str, tuple[Placed, ...]]
    number: int
    changed: Changed


class State(NamedTuple):
    """What a node is to have, out of the view of this `number`."""

    wanted: Wanted
    sets: Mapping[str, SetText]
    number: int
    changed: Changed


class _Known(NamedTuple):
    """A policy as it was written last, while its groups had these versions."""

    draft: Draft
    versions: tuple[int, ...]
    written: Written
    chain: Chain
    sets: Mapping[str, SetText]


class _Pod(NamedTuple):
    """A pod's calls, while it is this end and these policies select it."""

    selecting: tuple[Selecting, ...]
    placed: Placed


class _Applied(NamedTuple):
    """What was put on a node, and how it was left: its filter table, and how many sets it has."""

    state: State
    chains: Mapping[str, Chain] | None
    sets: int


@agents.add(NAME)
class KubeRouter(Agent[View, str, State]):
    watches = (NetworkPolicy, Pod, Namespace)
    resync_period_ns = PERIOD_NS

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.services = settings.of(PolicySettings).service_subnet
        self.followed = Followed()
        self.written = 0  # how many policies were written
        self._known: dict[Key, _Known] = {}
        self._asking: dict[Group, set[Key]] = {}  # the policies whose text depends on a group
        self._pods: dict[tuple[str, str], _Pod] = {}
        self._compiled: dict[str, tuple[tuple[Placed, ...], Mapping[str, Chain]]] = {}  # by node
        self._applied: dict[str, _Applied] = {}  # by node

    def view(self, objects: Objects, before: View | None) -> View:
        index = self.followed.update(self._given(objects))
        old = {} if before is None else self._known
        touched = {key for group in index.groups.changed for key in self._asking.get(group, ())}
        index.groups.changed.clear()
        wanted = index.by_key
        gone = [known for key, known in old.items() if key not in wanted]
        for each in gone:
            self._forget(each)
        stale = [
            key
            for key, policy in wanted.items()
            if key in touched or key not in old or old[key].written.policy is not policy
        ]
        fresh = {key: self._policy(wanted[key]) for key in stale}
        left = [*gone, *(old[key] for key in stale if key in old)]
        known = self._known = {key: fresh.get(key) or old[key] for key in wanted}
        renamed = bool(gone) or any(
            key not in old or old[key].written.chain != each.written.chain for key, each in fresh.items()
        )
        if before is not None and not gone and not stale:
            chains, sets, changed = before.chains, before.sets, Changed(frozenset(), frozenset())
        else:
            chains = {each.written.chain: each.chain for each in known.values()}
            sets = {name: made for each in known.values() for name, made in each.sets.items()}
            both = [*left, *fresh.values()]
            names_of_sets = {name for each in both for name in each.sets}
            changed = Changed(
                frozenset(each.written.chain for each in both),
                frozenset(
                    name for name in names_of_sets if before is None or before.sets.get(name) is not sets.get(name)
                ),
            )
        return View(chains, sets, self._placed(renamed), 0 if before is None else before.number + 1, changed)

    def _given(self, objects: Objects) -> list[Object]:
        return [obj for kind in self.watches for obj in objects.list(kind)]

    def _placed(self, renamed: bool) -> dict[str, tuple[Placed, ...]]:
        """The pods of each node with their calls. What has not changed is the same object."""
        index, pods = self.followed.index, dict[tuple[str, str], _Pod]()
        nodes: dict[str, list[Placed]] = {}
        for end in index.pods:
            if end.pod is None or end.width != 32:
                continue
            name, selecting = (end.pod.namespace, end.pod.name), tuple(index.selecting(end.pod, way) for way in WAYS)
            there = None if renamed else self._pods.get(name)
            if (
                there is None
                or there.placed[0] is not end
                or any(a is not b for a, b in zip(there.selecting, selecting, strict=True))
            ):
                there = _Pod(selecting, (end, self._jumps(selecting)))
            pods[name] = there
            nodes.setdefault(end.pod.node, []).append(there.placed)
        self._pods = pods
        return {node: tuple(each) for node, each in nodes.items()}

    def _jumps(self, selecting: tuple[Selecting, ...]) -> tuple[rules.Jump, ...]:
        jumps = []
        for policy in {id(each): each for found in selecting for each in found.own}.values():
            chain = self._known[Key(policy.kind.lower(), policy.namespace, policy.name)].written.chain
            jumps.append(
                rules.Jump(policy.namespace, policy.name, chain, "ingress" in policy.rules, "egress" in policy.rules)
            )
        return tuple(jumps)

    def _forget(self, known: _Known) -> None:
        policy = known.written.policy
        for group in known.draft.groups:
            self._asking[group].discard(Key(policy.kind.lower(), policy.namespace, policy.name))

    def _policy(self, policy: Policy) -> _Known:
        key = Key(policy.kind.lower(), policy.namespace, policy.name)
        known = self._known.get(key)
        if known is not None and known.written.policy is not policy:
            self._forget(known)
            known = None
        draft = known.draft if known is not None else Draft(policy, self.followed.index.groups)
        versions = draft.versions
        if known is not None and known.versions == versions:
            return known
        for group in draft.groups:
            self._asking.setdefault(group, set()).add(key)
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
        placed, known = view.pods.get(facts, ()), self._compiled.get(facts)
        if (
            known is None
            or len(known[0]) != len(placed)
            or any(a is not b for a, b in zip(known[0], placed, strict=True))
        ):
            known = self._compiled[facts] = (placed, self._own(placed))
        return State(Wanted(view.chains, known[1], FIRST), view.sets, view.number, view.changed)

    def _own(self, placed: Sequence[Placed]) -> Mapping[str, Chain]:
        """The chains of one node: the common ones, those of its pods, and those that built-in ones call."""
        found: dict[str, Lines] = {**rules.common()}
        pods = []
        for end, jumps in placed:
            assert end.pod is not None
            lines = rules.pod(end, jumps)
            name = names.pod_chain(end.pod.namespace, end.pod.name, "\n".join(lines))
            found[name] = lines
            pods.append((end, name))
        found |= rules.top(pods, self.services)
        return {name: tables.chain(name, lines) for name, lines in found.items()}

    def apply(self, node: Node, value: State) -> bool:
        before = self._applied.get(node.name)
        old = before.state.sets if before is not None else {}
        if before is not None and self._as_left(node, before) and value.number - before.state.number in (0, 1):
            changed = value.changed if value.number != before.state.number else Changed(frozenset(), frozenset())
            own, last = value.wanted.own, before.state.wanted.own
            mine = [] if own is last else [name for name in {**last, **own} if own.get(name) is not last.get(name)]
            tables.put_sets(node.root, value.sets, old, changed.sets)
            tables.change(node.root, value.wanted, [*changed.chains, *mine])
            tables.destroy_sets(node.root, value.sets, old, changed.sets)
        else:
            tables.put_sets(node.root, value.sets, old)
            tables.put(node.root, value.wanted, names.owned)
            tables.destroy_sets(node.root, value.sets, old)
        there = node.root.ipv4.tables
        self._applied[node.name] = _Applied(value, there.ruleset.tables.get("filter"), len(there.ipsets))
        return True

    @staticmethod
    def _as_left(node: Node, before: _Applied) -> bool:
        """Whether nothing else has changed the node's filter table or sets since."""
        there = node.root.ipv4.tables
        return there.ruleset.tables.get("filter") is before.chains and len(there.ipsets) == before.sets

    def intact(self, node: Node) -> bool:
        before = self._applied.get(node.name)
        return before is not None and tables.in_place(node.root, before.state.wanted)


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
