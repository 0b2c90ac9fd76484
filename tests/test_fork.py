"""A fork of a cluster: same state, own future. It shares nothing that can change, and it runs as the original would have."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import emu
from emu.errors import InputError
from emu.fork import Snapshot
from emu.kube.api.core import Service
from emu.kube.api.meta import replace
from emu.kube.cluster import Cluster, ClusterConfig
from emu.scenario import gallery
from emu.scenario.run import run
from emu.testing.strategies import SmallCluster, examples
from reachable import shared

NETWORKS = ("bridge", "flat", "kindnet", "flannel", "calico", "aws-vpc")
Change = Callable[[Cluster], object]


def _changed_service(cluster: Cluster) -> object:
    service = cluster.store.get(Service, "default", "web")
    assert service is not None
    return cluster.apply(replace(service, spec=replace(service.spec, session_affinity="ClientIP")), settle=False)


def _more(cluster: Cluster) -> object:
    opened = [flow for flow in cluster.flows.values() if flow.socket is not None]
    return cluster.more(opened[-1], b"again", timeout_s=1) if opened else None


STEPS: dict[str, Change] = {
    "tcp": lambda c: c.tcp("default/client", "svc/web:80", b"ask", timeout_s=2),
    "left open": lambda c: c.tcp("default/client", "svc/web:80", b"ask", close=False, timeout_s=2),
    "more": _more,
    "udp": lambda c: c.udp("default/client", "svc/web:80", b"ask", timeout_s=1),
    "ping": lambda c: c.ping("node/node-1", "default/web-0", timeout_s=1),
    "outside": lambda c: c.tcp("default/client", "external:80", b"GET / HTTP/1.0\r\n\r\n", timeout_s=2),
    "no host": lambda c: c.udp("default/client", "10.244.1.99:9", b"?", timeout_s=1),
    "closed": lambda c: c.tcp("node/node-1", "default/web-0:99", timeout_s=1),
    "raw": lambda c: c.send("default/client", "IP(dst='10.244.1.1')/ICMP()/'x'", timeout_s=1),
    "loss": lambda c: c.link("default/client", loss=0.3),
    "delay": lambda c: c.link("node-1", delay_ms=3),
    "rule": lambda c: c.iptables("node-1", "-A FORWARD -m statistic --mode random --probability 0.2 -j DROP"),
    "delete": lambda c: c.delete("pod", "default", "web-0", grace_s=0, settle=False) if "default/web-0" in c.pods else None,
    "service": _changed_service,
    "wait": lambda c: c.wait(7),
}  # fmt: skip
names = st.lists(st.sampled_from(sorted(STEPS)), max_size=4)


def state(cluster: Cluster, path: Path) -> list[object]:
    """What can be seen of a cluster: its capture with all comments, its flows, its rules with counters and its tables."""
    cluster.write(path, force=True)
    found: list[object] = [path.read_bytes(), cluster.clock.now, cluster.warnings]
    found += [
        (flow.name, flow.outcome, flow.received, flow.nat, flow.at, flow.ended_ns) for flow in cluster.flows.values()
    ]
    for name, net in cluster.namespaces.items():
        tracked = [] if net.conntrack is None else [(conn.orig, conn.reply, conn.status) for conn in net.conntrack]
        found.append((name, net.ipv4.tables.save(counters=True), dict(net.drops), tracked))
    return found


def do(cluster: Cluster, steps: list[str]) -> Cluster:
    for name in steps:
        try:
            STEPS[name](cluster)
        except InputError as error:  # an end that a step before removed: the same error in each of them
            cluster.warnings.append(str(error))
    return cluster


@pytest.mark.slow
@examples(30)
@given(before=names, after=names, servers=st.integers(1, 3), nodes=st.integers(1, 2))
def test_a_fork_runs_as_a_fresh_cluster_in_its_state(
    tmp_path_factory: pytest.TempPathFactory, before: list[str], after: list[str], servers: int, nodes: int
) -> None:
    """And so does the original afterwards, and a second fork of the same snapshot."""
    path = tmp_path_factory.mktemp("fork") / "all.pcapng"
    small = SmallCluster(nodes, servers)
    original, fresh = (do(Cluster(small.config, small.objects), before) for _ in range(2))
    snapshot = original.snapshot()
    unchanged = state(original, path)
    fork = snapshot.fork()
    assert state(fork, path) == unchanged
    wanted = state(do(fresh, after), path)
    assert state(do(fork, after), path) == wanted
    assert state(original, path) == unchanged, "the fork's future is its own"
    assert state(do(original, after), path) == wanted
    assert state(do(snapshot.fork(), after), path) == wanted


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS)
def test_nothing_that_changes_is_shared(network: str, tmp_path: Path) -> None:
    small = SmallCluster(2, 2)
    steps = ["tcp", "left open", "udp", "no host", "loss", "rule", "raw"]
    config = ClusterConfig.of(2, network=network)
    original, fresh = (do(Cluster(config, small.objects), steps) for _ in range(2))
    fork = original.fork()
    assert shared(original, fork) == []
    wanted = state(do(fresh, ["more", "tcp", "delete", "wait"]), tmp_path / "all.pcapng")
    assert state(do(fork, ["more", "tcp", "delete", "wait"]), tmp_path / "all.pcapng") == wanted


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(gallery.stories()))
def test_a_story_goes_on_alike(name: str, tmp_path: Path) -> None:
    """Whatever a story has set up: nothing is shared, and the same flows end alike in the fork and then in the original."""
    cluster = run(gallery.story(name)).cluster
    fork = cluster.fork()
    assert shared(cluster, fork) == []
    before = list(cluster.flows.values())
    states = []
    for each in (fork, cluster):
        for flow in before[:4]:
            verbs: dict[str, Callable[..., object]] = {"tcp": each.tcp, "udp": each.udp, "ping": each.ping}
            again = verbs.get(flow.kind)
            if again is not None and flow.source in each.namespaces:
                again(flow.source, flow.target, timeout_s=2)
        each.wait(40)
        states.append(state(each, tmp_path / "all.pcapng"))
    assert states[0] == states[1]


def test_the_walk_sees_what_is_shared() -> None:
    """The check above can fail: a list that both hold is found, however deep."""
    one, common = emu.Cluster(1), [1]
    other = one.fork()
    one.nodes["node-1"].disk["x"] = (common,)
    other.nodes["node-1"].net.drop_listeners.append(lambda frame, fact: common.append(1))
    assert shared(one, other) == [common]


@pytest.mark.parametrize("large", [False, True])
def test_a_cluster_that_is_gone_is_freed(large: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large one when the next large one is built: until then Python's collector does not look at it."""
    if large:
        monkeypatch.setattr("emu.kube.cluster.LARGE", 1)
    gone = weakref.ref(emu.Cluster(1))
    if large:
        assert gone() is not None
        emu.Cluster(1)
        gc.unfreeze()
    gc.collect()
    assert gone() is None


def test_deepcopy_is_a_fork() -> None:
    cluster = emu.Cluster(1)
    copy = deepcopy(cluster)
    assert shared(cluster, copy) == []
    assert copy.ping("node/node-1", "external").delivered and not cluster.flows


def test_a_flow_of_another_cluster_is_not_gone_on_with() -> None:
    small = SmallCluster(1, 1)
    cluster = emu.Cluster(small.config, small.objects)
    flow = cluster.tcp("default/client", "svc/web:80", b"x", close=False)
    fork = cluster.fork()
    with pytest.raises(InputError, match=r"a flow of another cluster \(expected flows\[1\] of this one\)"):
        fork.more(flow, b"y")
    assert fork.more(fork.flows[1], b"y").received == b"y"


def test_a_cluster_is_not_copied_while_its_clock_runs() -> None:
    cluster, found = emu.Cluster(1), list[str]()

    def copy() -> None:
        with pytest.raises(InputError) as failure:
            cluster.fork()
        found.append(str(failure.value))

    cluster.clock.call_later(10, copy)
    cluster.wait(1)
    assert found == ["a cluster cannot be copied while its clock runs (expected a call between two flows)"]


def test_what_cannot_be_copied_is_named() -> None:
    cluster = emu.Cluster(1)
    cluster.nodes["node-1"].disk["mine"] = (number for number in range(3))
    with pytest.raises(InputError, match=r"a builtins\.generator cannot be copied"):
        cluster.fork()


class Slotted:
    __slots__ = ("_one", "__hidden", "empty")

    def __init__(self) -> None:
        self._one, self.__hidden = [1], [2]

    def both(self) -> tuple[list[int], list[int]]:
        return self._one, self.__hidden


def test_kinds_of_objects() -> None:
    """What a state may hold: each is its own in the copy, and hangs together as before."""
    items: list[object] = [1]
    slotted = Slotted()
    later: list[Callable[[], object]] = []
    number = 0

    def count() -> int:
        nonlocal number
        number += 1
        return number

    def again() -> object:
        return (later, again)[0]

    whole: dict[object, Any] = {
        "list": items, "append": items.append, "count": count, "peek": lambda: number, "slots": slotted,
        "method": slotted.both, "set": {(1, id(slotted)), "x"}, ("key", 1): [items], "self": later, "again": again,
    }  # fmt: skip
    later.append(again)
    copy = Snapshot(whole).fork()
    copy["append"](2)
    assert copy["list"] == [1, 2] and items == [1] and copy["key", 1][0] is copy["list"]
    assert copy["count"]() == 1 and copy["peek"]() == 1 and number == 0
    assert copy["method"]() == ([1], [2]) and copy["method"]()[0] is copy["slots"].both()[0] is not slotted.both()[0]
    assert copy["again"]() is copy["self"] is not later
    assert not hasattr(copy["slots"], "empty") and copy["set"] == whole["set"]
