"""What grows with the number of policies, counted and not timed: the rules that a packet walks, and what one relabelled pod rewrites."""

from __future__ import annotations

from functools import cache

import pytest

from emu.kernel.netfilter.ruleset import Chain
from emu.kube.api.core import Pod
from emu.kube.cluster import Cluster, ClusterConfig
from emu.rule import AnyRule
from many_policies import DATAPLANES, objects, policy, relabelled, touched

pytestmark = pytest.mark.slow
NODES, SPACES = 2, 3  # 300 pods
FEW, MANY = 12, 120


@cache
def cluster(dataplane: str, policies: int) -> Cluster:
    return Cluster(
        ClusterConfig.of(NODES, pod_subnet="10.128.0.0/9", **DATAPLANES[dataplane]), objects(policies, NODES, SPACES)
    )


def pair(made: Cluster) -> tuple[str, str]:
    """A pod of n0 that the first policy lets call another, which it selects."""
    pods = made.store.list(Pod, "n0")
    client, server = (next(each.name for each in pods if each.metadata.labels["app"] == app) for app in ("a1", "a0"))
    return f"n0/{client}", f"n0/{server}:8080"


@pytest.mark.parametrize("dataplane", DATAPLANES)
def test_a_packet_walks_as_many_rules_as_with_few_policies(dataplane: str) -> None:
    walked = []
    for policies in (FEW, MANY):
        made = cluster(dataplane, policies).fork()
        flow = made.tcp(*pair(made), b"x")
        assert flow.delivered
        walked.append(
            [
                each.chain
                for frame in flow.frames
                for each in frame.trail
                if isinstance(each, AnyRule) and each.table == "filter"
            ]
        )
    assert len(walked[0]) == len(walked[1]) > 10


@pytest.mark.parametrize("dataplane", DATAPLANES)
def test_a_relabelled_pod_rewrites_what_concerns_it(dataplane: str) -> None:
    """The chains of the pod, the top-level ones that call them, and the sets that it comes into or leaves, as with few policies."""
    made = cluster(dataplane, MANY).fork()
    pod = next(each for each in made.store.list(Pod, "n1") if each.metadata.labels["app"] == "a3")
    concerned = [
        each
        for number in range(1, MANY)
        if (each := policy(number, SPACES)).namespace == "n1" and {"a3", "a4"} & _labels(each)
    ]
    chains, sets = touched(made, relabelled(made, pod.name, "a4"))
    everything = sum(
        len(table) for node in made.nodes.values() for table in node.net.ipv4.tables.ruleset.tables.values()
    )
    assert 0 < chains <= 8 + len(concerned) < everything // 10
    assert sets <= NODES * 2 * len(concerned)
    again = relabelled(made, pod.name, "a4")
    assert touched(made, again) == (0, 0), "nothing has changed"


def _labels(each: object) -> set[str]:
    return set(str(each).replace("'", " ").split())


@pytest.mark.parametrize("dataplane", DATAPLANES)
def test_after_changes_the_rules_are_those_of_a_cluster_that_is_made_anew(dataplane: str) -> None:
    """Relabelled pods, a policy that goes, one that comes, one that is altered: by steps or at once, the same rules and sets."""
    made = cluster(dataplane, FEW).fork()
    wanted = {each.key: each for each in objects(FEW, NODES, SPACES)}
    name = next(each.name for each in made.store.list(Pod, "n1") if each.metadata.labels["app"] == "a1")
    relabelled(made, name, "a2")()
    gone, altered, new = policy(1, SPACES), policy(2, SPACES), policy(FEW + 7, SPACES)
    made.delete("networkpolicy", gone.namespace, gone.name)
    changed = type(altered)(metadata=altered.metadata, spec=new.spec)
    made.apply(changed)
    made.apply(new)
    pod = made.store.get(Pod, "n1", name)
    assert pod is not None
    del wanted[gone.key]
    given = wanted | {changed.key: changed, new.key: new}
    first = next(each for key, each in given.items() if key == pod.key)
    assert isinstance(first, Pod)
    given[pod.key] = type(first)(metadata=pod.metadata, spec=first.spec)
    fresh = Cluster(
        ClusterConfig.of(NODES, pod_subnet="10.128.0.0/9", **DATAPLANES[dataplane]), [*given.values()], capture=False
    )
    for node in fresh.nodes:
        assert _rules(made, node) == _rules(fresh, node)
        ours, theirs = (sorted(each.nodes[node].net.ipv4.tables.ipsets.save().splitlines()) for each in (made, fresh))
        assert ours == theirs


def _rules(made: Cluster, node: str) -> dict[str, list[str]]:
    tables = made.nodes[node].net.ipv4.tables.ruleset.tables["filter"]
    return {name: _specs(chain) for name, chain in tables.items()}


def _specs(chain: Chain) -> list[str]:
    return [rule.spec for rule in chain.rules]
