"""Hypothesis strategies: what happens to a cluster beside its flows, as sequences. Pods and Services are deleted, workloads scaled, nodes drained,
links pulled out.

An event is frozen, its repr a Python expression; `run` does it and does nothing where what it speaks of is not there. Sequences shrink towards
none. Must not know invariants.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from json import dumps
from typing import Protocol

from hypothesis import strategies as st

from emu.errors import InputError
from emu.kube.api.loader import load_text
from emu.kube.cluster import Cluster
from emu.testing.clusters import ClusterShape, flows


class Event(Protocol):
    """A change of a cluster, or a flow."""

    def run(self, cluster: Cluster, /) -> object:
        """Do it, and let the cluster settle."""


@dataclass(frozen=True)
class Scale:
    """`kubectl scale`: workload `name` of the kind gets so many replicas."""

    kind: str
    name: str
    replicas: int

    def run(self, cluster: Cluster) -> None:
        try:
            cluster.scale(self.kind, "default", self.name, self.replicas)
        except InputError:
            return


@dataclass(frozen=True)
class Delete:
    """`kubectl delete`: a `kind` (pod, service) by name, or the first that a glob matches. `grace_s` None: its own grace period."""

    kind: str
    name: str
    grace_s: int | None = None

    def run(self, cluster: Cluster) -> None:
        name = self.name
        if name.endswith("*"):
            name = next((each.pod for each in cluster.pods.values() if each.pod.startswith(name[:-1])), name)
        try:
            cluster.delete(self.kind, "default", name, grace_s=self.grace_s)
        except InputError:
            return


@dataclass(frozen=True)
class Create:
    """`kubectl apply`: objects, as the text of a file, are made, or made again."""

    manifests: str

    def run(self, cluster: Cluster) -> None:
        for obj in load_text(self.manifests).objects:
            cluster.apply(obj)


@dataclass(frozen=True)
class Drain:
    """`kubectl drain`, or with `on` False `kubectl uncordon`."""

    node: str
    on: bool = True

    def run(self, cluster: Cluster) -> None:
        if self.on:
            cluster.drain(self.node)
        else:
            cluster.cordon(self.node, unschedulable=False)


@dataclass(frozen=True)
class Link:
    """The cable of a node or pod at `device` is pulled out (`down`) or put in."""

    where: str
    down: bool
    device: str = "eth0"

    def run(self, cluster: Cluster) -> None:
        try:
            cluster.link(self.where, device=self.device, down=self.down)
        except InputError:
            return


@dataclass(frozen=True)
class Wait:
    """Virtual time passes."""

    seconds: float

    def run(self, cluster: Cluster) -> None:
        cluster.wait(self.seconds)


@cache
def events(shape: ClusterShape) -> st.SearchStrategy[Event]:
    """One event of a cluster: a flow or a change."""
    return st.one_of(flows(shape), changes(shape))


@cache
def changes(shape: ClusterShape) -> st.SearchStrategy[Event]:
    """One change of a cluster."""
    scaled = [
        (each.kind, f"w{number}")
        for number, each in enumerate(shape.workloads)
        if each.kind in ("StatefulSet", "Deployment")
    ]
    nodes = [f"node-{number}" for number in range(1, shape.nodes + 1)]
    pods = [name.partition("/")[2] for name in shape.pods]
    services = [f"s{number}" for number in range(len(shape.services))]
    made = [dumps(each) for number, workload in enumerate(shape.workloads) for each in workload.manifests(number)]
    wanted: list[st.SearchStrategy[Event]] = [
        st.builds(Wait, st.sampled_from((0.001, 1.0, 5.0, 40.0))),
        st.builds(Delete, st.just("pod"), st.sampled_from(pods), st.sampled_from((0, None))),
        st.builds(Create, st.sampled_from(made)),
        st.builds(Link, st.sampled_from([f"default/{name}" for name in pods] + nodes), st.booleans()),
        st.builds(Drain, st.sampled_from(nodes), st.booleans()),
    ]
    if scaled:
        wanted.append(st.tuples(st.sampled_from(scaled), st.integers(0, 3)).map(lambda each: Scale(*each[0], each[1])))
    if services:
        again = [dumps(each.manifest(at, shape.target_port(each))) for at, each in enumerate(shape.services)]
        wanted.append(st.builds(Delete, st.just("service"), st.sampled_from(services)))
        wanted.append(st.builds(Create, st.sampled_from(again)))
    return st.one_of(wanted)


def event_sequences(shape: ClusterShape, max_events: int = 8) -> st.SearchStrategy[list[Event]]:
    """Sequences of up to `max_events` events."""
    return st.lists(events(shape), max_size=max_events)
