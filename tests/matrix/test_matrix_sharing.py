"""A flow that stands for many gives what each of them would: the same table with and without sharing, over drawn clusters; the same one whatever runs it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest
from hypothesis import given

import local_dask
from emu.kernel.link.bridge import Port
from emu.kernel.link.veth import Veth
from emu.kube.cluster import Cluster
from emu.matrix.acquaint import Acquaintance
from emu.matrix.ask import Asker, Question
from emu.matrix.table import data_of
from emu.testing.clusters import ClusterShape, ServiceShape, WorkloadShape, clusters
from emu.testing.strategies import examples
from exports import Shape, export
from large_exports import large
from matrices import asked, facts, letters, live

PLAIN = clusters(max_nodes=3, max_workloads=3, max_services=2, max_flows=1)
POLICED = clusters(
    networks=("bridge", "flannel", "calico"), max_nodes=3, max_workloads=3, max_services=2, max_flows=1, max_policies=3,
    dataplanes=("", "kube-router"),
)  # fmt: skip


def _policed(shape: ClusterShape) -> bool:
    """Calico has a dataplane of its own, and runs with no other."""
    return shape.network != "calico" or shape.policy == ""


@pytest.mark.slow
@given(PLAIN)
@examples(25)
def test_sharing_changes_no_cell(shape: ClusterShape) -> None:
    build = partial(shape.build, capture=False)
    one, other = asked(build, outer=True), asked(build, shared=False, outer=True)
    assert facts(one) == facts(other)


def test_a_node_port_of_the_source_s_own_node_is_another_way() -> None:
    """Where the endpoint is on the network of that node, too, its answer is lost."""
    host, pods = WorkloadShape((3, 2), host_network=True), WorkloadShape((3, 1, 2))
    shape = ClusterShape((host, pods), (ServiceShape(kind="NodePort"),), nodes=3, network="kindnet", hairpin=True)
    build = partial(shape.build, capture=False)
    assert facts(asked(build, outer=True)) == facts(asked(build, shared=False, outer=True))


@pytest.mark.slow
@given(POLICED.filter(_policed))
@examples(25)
def test_sharing_changes_no_cell_under_policies(shape: ClusterShape) -> None:
    build = partial(shape.build, capture=False)
    one, other = asked(build, outer=True), asked(build, shared=False, outer=True)
    assert facts(one) == facts(other)


@pytest.mark.slow
@given(PLAIN)
@examples(10)
def test_neighbours_that_are_known_change_no_cell(shape: ClusterShape) -> None:
    build = partial(shape.build, capture=False)
    assert facts(asked(build)) == facts(asked(build, acquainted=False))


@pytest.mark.parametrize("flavour", ["kubeadm", "kind", "calico", "eks"])
def test_sharing_changes_no_cell_of_an_export(flavour: str) -> None:
    again = partial(live, export(Shape(flavour, 3)))
    one, other = asked(again), asked(again, shared=False)
    assert facts(one) == facts(other)
    assert one.flows < other.flows


def test_policies_distinguish_who_may() -> None:
    """In each namespace but the first its own pods and those of the first may come in."""
    again = partial(live, large(4, 24, 6, namespaces=3, policies=True))
    one, other = asked(again), asked(again, shared=False)
    assert facts(one) == facts(other)
    allowed = {name: row[1:] for name, row in letters(one).items() if name.startswith("team-")}
    assert {name: "".join("x" if letter not in ".~" else "." for letter in row) for name, row in allowed.items()} == {
        "team-00/app-0": "......", "team-00/app-3": "......", "team-01/app-1": "....xx", "team-01/app-4": "....xx",
        "team-02/app-2": "..xx..", "team-02/app-5": "..xx..",
    }  # fmt: skip


# -- whatever runs it -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """A Dask cluster of two processes on this machine."""
    with local_dask.scheduler() as address:
        yield address


def test_several_processes_make_the_table_of_one() -> None:
    again = partial(live, export(Shape("kubeadm", 4)), capture=True)
    assert data_of(asked(again, jobs=2)) == data_of(asked(again, jobs=1))


@pytest.mark.slow
def test_a_dask_cluster_makes_the_table_of_one_process(scheduler: str) -> None:
    again = partial(live, export(Shape("kubeadm", 4)))
    assert data_of(asked(again, dask=scheduler)) == data_of(asked(again))


def test_the_roads_do_not_depend_on_the_order_of_the_columns() -> None:
    """Processes take columns as they get ready: what one has asked before must not show in the next."""
    found = export(Shape("cilium", 3))
    build = partial(Cluster.live, found, capture=True)
    asker, other = (Asker(build(), Question()) for _ in range(2))
    numbers = [at for at, each in enumerate(asker.columns) if each.by == "clusterIP"][:6]
    roads = {at: {each[:6] + each[10:] for each in asker.ask(at).answers} for at in numbers}
    again = {at: {each[:6] + each[10:] for each in other.ask(at).answers} for at in reversed(numbers)}
    assert roads == again


def test_a_node_that_sent_first_is_known_to_its_switch() -> None:
    cluster = Cluster.live(export(Shape("cilium", 3)), capture=False)
    known = Acquaintance(cluster)
    name, node = next(iter(cluster.nodes.items()))
    known.of(name, name)
    nic = node.net.devices["eth0"]
    assert isinstance(nic, Veth) and nic.peer is not None and isinstance(nic.peer.master, Port)
    assert nic.mac in nic.peer.master.bridge.fdb
