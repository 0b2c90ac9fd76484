"""What has nothing to do with a flow does not change it: a pod, a Service, a node or a flow more leaves the old flows'
frames byte for byte as they were.

Every namespace draws from sources of its own, and a copy more of a flooded frame delays no other. Old flows live on node-1,
node-2 and outside, what is new on any node; a new flow stays on node-3, because a shared neighbour entry or connection is
a relation. Times are compared, too: an initial sequence number is made of the time.
"""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from emu.clock import MS, SECOND
from emu.kube.api import core
from emu.kube.api.meta import Object, ObjectMeta
from emu.kube.cluster import Cluster, ClusterConfig
from emu.testing.strategies import examples

BEGIN_NS, STEP_NS = 60 * SECOND, 20 * SECOND
KINDS = st.sampled_from(("tcp", "udp", "ping"))
SOURCES = st.sampled_from(("default/client", "default/web-0", "node/node-1", "external"))
TARGETS = st.sampled_from(("svc/web:80", "svc/web:80", "default/web-1:8080", "default/client:9", "203.0.113.10:7"))
OLD = st.lists(st.tuples(KINDS, SOURCES, TARGETS), min_size=3, max_size=5)
NEW_FLOW = st.tuples(
    KINDS,
    st.sampled_from(("default/other-0", "node/node-3")),
    st.sampled_from(("svc/other:81", "svc/other:81", "default/other-1:8080")),
)
Frames = dict[str, list[tuple[int, str, bytes]]]


@dataclass(frozen=True)
class New:
    """What is added: pods on these nodes, Services (by the pods that they select), nodes, and flows, each before the old
    flow of this number."""

    pods: tuple[int, ...] = ()
    services: tuple[str, ...] = ()
    nodes: int = 0
    flows: tuple[tuple[int, tuple[str, str, str]], ...] = ()


NEW = st.builds(
    New,
    st.lists(st.integers(1, 3), max_size=3).map(tuple),
    st.lists(st.sampled_from(("web", "other", "nothing")), max_size=3).map(tuple),
    st.integers(0, 1),
    st.lists(st.tuples(st.integers(0, 2), NEW_FLOW), max_size=3).map(tuple),
)


def pod(name: str, node: int, app: str) -> core.Pod:
    declared = tuple(core.ContainerPort(container_port=8080, protocol=protocol) for protocol in ("TCP", "UDP"))
    spec = core.PodSpec(node_name=f"node-{node}", containers=(core.Container(name="app", ports=declared),))
    return core.Pod(metadata=ObjectMeta(name=name, labels={"app": app}), spec=spec)


def service(name: str, app: str, port: int) -> core.Service:
    ports = tuple(
        core.ServicePort(name=protocol.lower(), protocol=protocol, port=port, target_port=8080)
        for protocol in ("TCP", "UDP")
    )
    return core.Service(metadata=ObjectMeta(name=name), spec=core.ServiceSpec(selector={"app": app}, ports=ports))


def objects(new: New) -> list[Object]:
    pods = [pod("client", 1, "client"), *(pod(f"web-{n}", 1 + n % 2, "web") for n in range(4))]
    pods += [pod("other-0", 3, "other"), pod("other-1", 3, "other")]
    services = [service("web", "web", 80), service("other", "other", 81)]
    pods_more = [pod(f"new-{n}", node, "new") for n, node in enumerate(new.pods)]
    services_more = [service(f"new-{n}", app, 80) for n, app in enumerate(new.services)]
    return [*services_more, *pods, *services, *pods_more]


def send(cluster: Cluster, flow: tuple[str, str, str]) -> int:
    kind, source, target = flow
    if kind == "ping":
        app = target.removeprefix("svc/").rpartition(":")[0]
        return cluster.ping(source, f"default/{app}-1" if target.startswith("svc") else app).number
    if kind == "udp":
        return cluster.udp(source, target).number
    return cluster.tcp(source, target, b"ask").number


def run(underlay: str, old: list[tuple[str, str, str]], new: New) -> Frames:
    """The frames of the old flows and of none, by interface: when, which way, what."""
    cluster = Cluster(ClusterConfig.of(3 + new.nodes, underlay=underlay), objects(new))
    unrelated: set[int] = set()
    cluster.clock.run_until(BEGIN_NS)
    assert cluster.capture is not None
    begin = cluster.capture.mark()
    for number, flow in enumerate(old):
        at_ns = BEGIN_NS + number * STEP_NS
        cluster.clock.run_until(at_ns)
        for place, more in new.flows:
            if place == number:
                unrelated.add(send(cluster, more))
        cluster.clock.run_until(at_ns + STEP_NS // 2 + MS // 2)
        send(cluster, flow)
    cluster.clock.run_until(BEGIN_NS + len(old) * STEP_NS)
    frames: Frames = {}
    for captured in cluster.capture.frames(since=begin):
        if captured.flow not in unrelated:
            seen = captured.time_ns, captured.way, captured.data
            frames.setdefault(captured.interface, []).append(seen)
    return frames


@given(st.sampled_from(("routed", "switched")), OLD, NEW)
@examples(100)
def test_old_flows_keep_every_byte(underlay: str, old: list[tuple[str, str, str]], new: New) -> None:
    before, after = run(underlay, old, New()), run(underlay, old, new)
    assert any(before.values())
    for name, frames in before.items():
        assert after.get(name) == frames, name


def test_another_nodes_flow_does_not_change_which_endpoints_a_service_gives() -> None:
    def endpoints(*, other: bool) -> list[str]:
        cluster = Cluster(3, objects(New()), capture=False)
        if other:
            assert cluster.tcp("default/other-0", "svc/other:81", b"x").delivered
        return [cluster.tcp("default/client", "svc/web:80", b"x").at for _ in range(8)]

    alone = endpoints(other=False)
    assert len(set(alone)) > 1
    assert endpoints(other=True) == alone
