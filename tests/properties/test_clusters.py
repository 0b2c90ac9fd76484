"""Small clusters under random flows: what was captured and counted keeps every named invariant."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emu.kube.cluster import Cluster
from emu.testing import invariants
from emu.testing.strategies import SmallCluster, clusters, examples

SOURCES = ("default/client", "default/web-0", "node/node-1", "external")
TARGETS = (
    "svc/web:80",
    "default/web-0:8080",
    "default/client:9",
    "default/client:1",
    "10.244.1.200:80",
    "203.0.113.10:7",
)
FLOWS = st.lists(
    st.tuples(st.sampled_from(("tcp", "udp", "ping")), st.sampled_from(SOURCES), st.sampled_from(TARGETS)),
    min_size=1,
    max_size=4,
)


def run(small: SmallCluster, flows: list[tuple[str, str, str]]) -> Cluster:
    cluster = Cluster(small.config, small.objects)
    for kind, source, target in flows:
        if kind == "ping":
            cluster.ping(source, target.rpartition(":")[0].replace("svc/web", "10.244.1.1"), timeout_s=4)
        elif kind == "udp":
            cluster.udp(source, target, timeout_s=4)
        else:
            cluster.tcp(source, target, b"ask", timeout_s=4)
    cluster.wait(10)
    return cluster


@given(clusters(), FLOWS)
@examples(150)
def test_random_flows(small: SmallCluster, flows: list[tuple[str, str, str]]) -> None:
    cluster = run(small, flows)
    names = [name for name in invariants.INVARIANTS if name != "reply_source"]
    invariants.hold(cluster, *names)
    for flow in cluster.flows.values():
        if flow.delivered and flow.kind == "tcp":
            invariants.reply_source(flow)


@pytest.mark.parametrize("underlay", ["routed", "switched"])
def test_reply_source_for_every_client_of_the_service(underlay: str) -> None:
    small = SmallCluster(2, 3, underlay, hairpin=True)
    cluster = run(small, [(kind, source, "svc/web:80") for kind in ("tcp", "udp") for source in SOURCES[:3]])
    assert all(flow.delivered for flow in cluster.flows.values())
    invariants.hold(cluster)


def test_without_br_netfilter_it_is_not() -> None:
    """The invariant sees the well-known defect: the endpoint's answer comes straight over the bridge."""
    small = SmallCluster(1, 1, call_iptables=False)
    cluster = run(small, [("tcp", "default/client", "svc/web:80")])
    with pytest.raises(AssertionError, match=r"is answered 10\.244\.1\.\d+:8080") as failure:
        invariants.reply_source(cluster)
    assert "TCP 8080>" in str(failure.value), "with the road that the frames took"
    assert [name for name, _ in invariants.broken(cluster)] == ["reply_source"]
