"""The changes that are recorded add up to what the views show, in any life of a small cluster, and change nothing in it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emu.capture.states import TABLES
from emu.errors import InputError
from emu.kube.cluster import Cluster, ClusterConfig
from emu.report import views
from emu.testing.small_cluster import SmallCluster
from emu.testing.strategies import examples
from reachable import shared

STEPS: dict[str, Callable[[Cluster], object]] = {
    "tcp": lambda c: c.tcp("default/client", "svc/web:80", b"ask", timeout_s=2),
    "left open": lambda c: c.tcp("default/client", "svc/web:80", b"ask", close=False, timeout_s=2),
    "udp": lambda c: c.udp("default/client", "svc/web:80", b"ask", timeout_s=1),
    "ping": lambda c: c.ping("node/node-1", "default/web-0", timeout_s=1),
    "outside": lambda c: c.tcp("default/client", "external:80", b"GET / HTTP/1.0\r\n\r\n", timeout_s=2),
    "no host": lambda c: c.udp("default/client", "10.244.1.99:9", b"?", timeout_s=1),
    "closed": lambda c: c.tcp("node/node-1", "default/web-0:99", timeout_s=1),
    "down": lambda c: c.link("node-1", down=True),
    "up": lambda c: c.link("node-1", down=False),
    "mark": lambda c: c.iptables("node-1", "-t mangle -A PREROUTING -j CONNMARK --set-mark 7"),
    "account": lambda c: c.nodes["node-1"].net.sysctl.__setitem__("net.netfilter.nf_conntrack_acct", 1),
    "forget": lambda c: c.nodes["node-1"].net.flush_neighbours(),
    "delete": lambda c: c.delete("pod", "default", "web-0", grace_s=0),
    "wait": lambda c: c.wait(45),
    "wait long": lambda c: c.wait(700),
}
names = st.lists(st.sampled_from(sorted(STEPS)), min_size=1, max_size=6)
networks = st.sampled_from(("bridge", "flannel", "calico", "kindnet"))


def made(network: str, *, record: bool) -> Cluster:
    cluster = Cluster(ClusterConfig.of(2, network=network), SmallCluster(2, 2).objects)
    if record and cluster.capture is not None:
        cluster.capture.record()
    return cluster


def do(cluster: Cluster, step: str) -> None:
    try:
        STEPS[step](cluster)
    except InputError as error:  # an end that a step before removed
        cluster.warnings.append(str(error))


def check(cluster: Cluster) -> None:
    assert cluster.capture is not None
    assert cluster.capture.states is not None
    held = cluster.capture.states.at()
    for name, net in cluster.namespaces.items():
        for table in TABLES:
            found, expected = held[name].get(table, []), sorted(views[table](net).text.splitlines())
            if table == "conntrack":  # the seconds that are left are as of the change
                found, expected = (
                    sorted(" ".join([*line.split()[:4], *line.split()[5:]]) for line in lines)
                    for lines in (found, expected)
                )
            assert found == expected, (name, table)
    for name, tables in held.items():
        assert name in cluster.namespaces or not any(tables.values())


@pytest.mark.slow
@examples(25)
@given(network=networks, before=names, after=names)
def test_the_changes_add_up(
    tmp_path_factory: pytest.TempPathFactory, network: str, before: list[str], after: list[str]
) -> None:
    recorded, plain = made(network, record=True), made(network, record=False)
    for step in before:
        do(recorded, step)
        do(plain, step)
        check(recorded)
    folder = tmp_path_factory.mktemp("recorded")
    for cluster, name in ((recorded, "recorded"), (plain, "plain")):
        cluster.write(folder / f"{name}.pcapng")
    assert (folder / "recorded.pcapng").read_bytes() == (folder / "plain.pcapng").read_bytes()
    fork = recorded.fork()
    assert shared(recorded, fork) == []
    for step in after:
        do(fork, step)
        check(fork)
    check(recorded)
