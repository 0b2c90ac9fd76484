"""The cells of a matrix: letters and causes over made exports, and the same facts as text, JSON and CSV."""

from __future__ import annotations

import csv
import io
from functools import partial
from typing import NamedTuple

import pytest

from emu.errors import InputError
from emu.kube.cluster import Cluster
from emu.matrix.ask import Question
from emu.matrix.ends import Choice
from emu.matrix.shown import csv_of, text_of
from emu.matrix.table import HEADINGS, Table, data_of
from emu.matrix.whole import ask_all
from exports import Shape, export
from large_exports import large
from matrices import asked, facts, letters, live


class Row(NamedTuple):
    """What every pod of a made export meets at a Service: the state that `exports.STATES` gives it."""

    target: str
    letter: str
    cause: str = ""
    object: str = ""


STATES = [
    Row("books/ledger:5432/tcp", "."),
    Row("default/kubernetes:443/tcp", "."),
    Row("kube-system/kube-dns:53/udp", "."),
    Row("kube-system/kube-dns:53/tcp", "."),
    Row("shop/cart:80/tcp", "r", "not-ready", "pod/shop/cart-"),
    Row("shop/crash:80/tcp", "r", "crash-loop", "pod/shop/crash-"),
    Row("shop/half:80/tcp", "."),
    Row("shop/hand:80/tcp", "."),
    Row("shop/image:80/tcp", "r", "image-pull", "pod/shop/image-"),
    Row("shop/leaving:80/tcp", "."),
    Row("shop/local:80/tcp", "."),
    Row("shop/plain:80/tcp", "."),
    Row("shop/queue:80/tcp", "r", "unschedulable", "pod/shop/queue-"),
    Row("shop/typo:80/tcp", "r", "selector-matches-nothing", "service/shop/typo"),
    Row("shop/web:80/tcp", "."),
    Row("shop/wrongname:80/tcp", "r", "target-port-name", "service/shop/wrongname"),
    Row("shop/wrongport:80/tcp", "R", "target-port-number", "service/shop/wrongport"),
]
SHAPES = (Shape("kubeadm", 4), Shape("kind", 3), Shape("eks", 3), Shape("calico", 3))


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.flavour)
def test_each_pod_and_node_meets_the_state_of_each_service(shape: Shape) -> None:
    table = asked(partial(live, export(shape)))
    numbers = {column.name: number for number, column in enumerate(table.columns)}
    sources = [number for number, row in enumerate(table.rows) if row.members and row.name != "external"]
    assert len(sources) >= 10
    for row in STATES:
        for number in sources:
            cell = table.cells[number][numbers[row.target]]
            first = cell.first
            found = cell.letter, first.cause if first is not None else "", first.object if first is not None else ""
            assert found[:2] == (row.letter, row.cause), (table.rows[number].name, row.target, found)
            assert found[2].startswith(row.object), (table.rows[number].name, found)


def test_the_outside_asks_for_node_ports_alone_and_pods_that_do_not_run_ask_for_nothing() -> None:
    table = asked(partial(live, export(Shape("kubeadm", 4))))
    outside = {
        column.name: cell for column, cell in zip(table.columns, table.cells[-1], strict=True) if cell.letter != "-"
    }
    assert {name: cell.letter for name, cell in outside.items()} == {
        "shop/local:80/tcp nodePort 31235": "~", "shop/web:80/tcp nodePort 31234": ".",
    }  # fmt: skip
    local = outside["shop/local:80/tcp nodePort 31235"]
    assert (local.pairs, local.delivered) == (4, 1)  # four nodes, of which one has the endpoint
    assert local.first is not None and local.first.cause == "no-local-endpoint"
    assert set(letters(table)["shop/queue"]) == set(letters(table)["shop/image"]) == {"-"}


def test_pods_ask_for_outer_addresses_on_request() -> None:
    table = asked(partial(live, export(Shape("kubeadm", 4))), outer=True)
    node_ports = [number for number, column in enumerate(table.columns) if column.by == "nodePort"]
    tools = next(cells for row, cells in zip(table.rows, table.cells, strict=True) if row.name == "default/tools")
    # flannel masquerades a pod that leaves for another node, so that externalTrafficPolicy Local counts there as for the outside
    assert [tools[number].letter for number in node_ports] == ["~", "."]


def test_every_endpoint_is_met_once_by_the_first_source() -> None:
    table = asked(partial(live, export(Shape("kubeadm", 4, web=9))))
    number = next(number for number, column in enumerate(table.columns) if column.name == "shop/web:80/tcp")
    met = {answer.endpoint for cells in table.cells for answer, _ in cells[number].answers}
    offered = {each.split()[0] for each in table.endpoints[number]}
    assert len(offered) == 9 and met <= offered
    alone = asked(partial(live, export(Shape("kubeadm", 4, web=9))), shared=False)
    assert {answer.endpoint for cells in alone.cells for answer, _ in cells[number].answers} == offered


def test_one_endpoint_that_refuses_is_found_among_many() -> None:
    """No object shows it: its program listens on another port."""

    def planted() -> object:
        cluster = live(export(Shape("kubeadm", 4, web=6)))
        name = [each for each in cluster.pods if each.startswith("shop/web-")][3]
        for container in cluster.pods[name].containers:
            for app in container.apps:
                app.stop()
        return cluster

    table = asked(planted)  # type: ignore[arg-type]
    number = next(number for number, column in enumerate(table.columns) if column.name == "shop/web:80/tcp")
    cell = table.cells[0][number]
    assert cell.letter == "~" and cell.pairs - cell.delivered == len(table.rows[0].members)


# -- forms -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small() -> Table:
    return asked(partial(live, export(Shape("minikube", 1))))


def test_json_csv_and_text_have_the_same_cells(small: Table) -> None:
    data = data_of(small)
    rows = [*csv.DictReader(io.StringIO(csv_of(small)))]
    assert [{key: str(value) for key, value in cell.items()} for cell in data["cells"]] == rows
    assert list(rows[0]) == list(HEADINGS)
    text = text_of(small).splitlines()
    for source in data["sources"]:
        shown = "".join(cell["letter"] for cell in data["cells"] if cell["source"] == source["name"])
        short = source["name"] if len(source["name"]) <= 30 else ".." + source["name"][-28:]
        line = next(each for each in text if each.startswith(f"{short} "))
        assert line.removeprefix(short).replace(" ", "") == shown
    assert data["flows"] == small.flows and f"{small.flows} flows were sent" in " ".join(text)
    assert {each["name"] for each in data["targets"]} == {cell["target"] for cell in data["cells"]}


def test_the_text_fits_eighty_columns(small: Table) -> None:
    assert max(map(len, text_of(small).splitlines())) <= 80


def test_a_cluster_without_services_is_stated_as_one() -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {"containers": [{"name": "c"}]}}
    text = text_of(asked(partial(Cluster, 1, [pod])))
    assert " ".join(text.split()) == (
        "3 sources, and no Service whose ports have an IPv4 address: a matrix asks Services alone. `emu why` asks from a pod to a pod."
    )


def test_a_large_matrix_has_a_line_for_sources_that_are_alike() -> None:
    table = asked(partial(live, large(10, 90, 45)))
    text = text_of(table)
    assert max(map(len, text.splitlines())) <= 80
    assert "kube-system/netd +46 r ." in text and "team-00/app-0:80/tcp +44" in text
    assert "[hairpin]" in text


def test_globs_restrict_and_one_that_matches_nothing_is_an_error() -> None:
    again = partial(live, export(Shape("minikube", 1)))
    table = ask_all(again, Question(Choice("", ("shop/w*", "nodes"), ("svc/web.shop:80",))), jobs=1)
    assert [row.name for row in table.rows] == ["shop/web", "nodes"]
    assert {column.service for column in table.columns} == {"web"}
    with pytest.raises(InputError, match="no source of the matrix is called 'shop/wbe'"):
        ask_all(again, Question(Choice("", ("shop/wbe",))), jobs=1)
    shop = ask_all(again, Question(Choice("shop")), jobs=1)
    assert {row.name.partition("/")[0] for row in shop.rows} == {"shop", "nodes", "external"}
    assert {column.namespace for column in shop.columns} == {"shop"}


def test_facts_count_every_pair_once(small: Table) -> None:
    for (source, target), parts in facts(small).items():
        row = next(each for each in small.rows if each.name == source)
        number = next(n for n, column in enumerate(small.columns) if column.name == target)
        if small.columns[number].by == "clusterIP":
            offered = max(1, len(small.endpoints[number])) if source != "external" else 0
            assert sum(parts.values()) == len(row.members) * offered, (source, target)


def test_the_outside_asks_nodes_by_their_public_addresses_where_the_underlay_translates_them() -> None:
    """A node of a VPC is not reached by its InternalIP."""
    table = asked(lambda: live(export(Shape("eks", 4)), capture=True), outer=True)
    row = next(at for at, each in enumerate(table.rows) if each.name == "external")
    cells = {column.name: cell for column, cell in zip(table.columns, table.cells[row], strict=True) if cell.answers}
    web, local = cells["shop/web:80/tcp nodePort 31234"], cells["shop/local:80/tcp nodePort 31235"]
    assert (web.letter, local.letter) == (".", "~")
    assert {answer.cause for answer, _ in local.answers} == {"", "no-local-endpoint"}
    assert any("front/eth0" in answer.path for answer, _ in web.answers)
