"""What differs between two clusters: each kind of change in a table, with the flows that it concerns, and the exit status of `emu diff`."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import pytest

from emu.cli import main
from emu.matrix.difference import Change, difference, text_of
from emu.matrix.table import Table
from export_objects import Object
from exports import Shape, export
from matrices import asked, live

KUBEADM, KIND = Shape("kubeadm", 4), Shape("kind", 3)


def one(found: Object, kind: str, name: str) -> Object:
    made: Object = next(
        each for each in found["items"] if each["kind"] == kind and each["metadata"]["name"].startswith(name)
    )
    return made


def selector(found: Object) -> None:
    """A typo in a selector, and what the controller makes of it."""
    one(found, "Service", "web")["spec"]["selector"] = {"app": "wbe"}
    one(found, "EndpointSlice", "web-").update(endpoints=None, ports=None)


def policed(found: Object, app: str = "none") -> None:
    """A policy that lets no one come in to the pods of an app."""
    spec = {"podSelector": {"matchLabels": {"app": app}}, "policyTypes": ["Ingress"], "ingress": []}
    meta = {"name": f"deny-{app}", "namespace": "shop", "uid": app, "resourceVersion": "1"}
    found["items"].append(
        {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": meta, "spec": spec}
    )


def denied(found: Object) -> None:
    policed(found, "web")


def moved(found: Object) -> None:
    """The only pod of plain runs on another node, with an address of that node."""
    pod, other = one(found, "Pod", "plain"), one(found, "Pod", "web")
    node, host = other["spec"]["nodeName"], other["status"]["hostIP"]
    address = other["status"]["podIP"].rpartition(".")[0] + ".77"
    pod["spec"]["nodeName"] = node
    pod["status"] |= {"hostIP": host, "hostIPs": [{"ip": host}], "podIP": address, "podIPs": [{"ip": address}]}
    one(found, "EndpointSlice", "plain-")["endpoints"][0] |= {"addresses": [address], "nodeName": node}


def cidr(found: Object) -> None:
    """A node has another pod CIDR, and its pods addresses of it."""
    node = [each for each in found["items"] if each["kind"] == "Node"][-1]
    old = node["spec"]["podCIDR"].rpartition(".")[0]
    text = json.dumps(found).replace(f'"{old}.', '"10.244.200.')
    found.clear()
    found.update(json.loads(text))


def unready(found: Object) -> None:
    for each in one(found, "EndpointSlice", "half-")["endpoints"]:
        each["conditions"] |= {"ready": False, "serving": False}


def gone(found: Object) -> None:
    found["items"] = [
        each
        for each in found["items"]
        if each["metadata"]["name"] != "plain" and not each["metadata"]["name"].startswith("plain-")
    ]


class Row(NamedTuple):
    """An edit; the targets that it changes, what of them; words of the text."""

    edit: Callable[[Object], None]
    targets: frozenset[str]
    what: frozenset[str]
    words: str
    shape: Shape = KUBEADM


WEB = {"shop/web:80/tcp", "shop/web:80/tcp nodePort"}
ROWS = [
    Row(selector, frozenset(WEB), frozenset(("outcome", "endpoints", "nat", "path")), "[selector-matches-nothing]"),
    Row(
        denied, frozenset({*WEB, "shop/hand:80/tcp", "shop/wrongport:80/tcp"}), frozenset(("outcome", "path")), "[network-policy]", KIND,
    ),
    Row(moved, frozenset(("shop/plain:80/tcp",)), frozenset(("endpoints",)), "+ 10.244.1.77:3000 shop/plain on node-001"),
    Row(cidr, frozenset(("shop/local:80/tcp", "shop/local:80/tcp nodePort", "shop/wrongport:80/tcp", *WEB)), frozenset(("endpoints",)), "+ 10.244.200."),
    Row(unready, frozenset(("shop/half:80/tcp",)), frozenset(("outcome", "endpoints", "nat", "path")), "[stale-slice]"),
    Row(gone, frozenset(("shop/plain:80/tcp",)), frozenset(("outcome", "endpoints")), "target shop/plain:80/tcp is only in BEFORE"),
]  # fmt: skip


@cache
def table_before(shape: Shape, *, enforced: bool) -> Table:
    """What is asked of the export as it is. Nothing may change it."""
    return _table(given(shape, enforced=enforced))


def given(shape: Shape, *, enforced: bool) -> Object:
    found = export(shape)
    if enforced:
        policed(found)
    return found


def _table(found: Object) -> Table:
    return asked(partial(live, found, capture=True), jobs=2)


@cache
def changes(shape: Shape, edit: Callable[[Object], None]) -> tuple[list[Change], str]:
    enforced = edit is denied  # by both clusters
    edited = given(shape, enforced=enforced)
    edit(edited)
    found = difference(table_before(shape, enforced=enforced), _table(edited))
    return found.changes, text_of(found)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.edit.__name__)
def test_an_edit_changes_its_flows_and_no_others(row: Row) -> None:
    found, text = changes(row.shape, row.edit)
    of_targets = [each for each in found if row.edit not in (gone, moved) or each.source != "shop/plain"]
    assert {each.target for each in of_targets} == row.targets, text
    assert row.what <= {word for each in found for word in each.what}, text
    assert row.words in text, text


def test_the_same_cluster_has_no_difference() -> None:
    assert changes(KUBEADM, lambda found: None) == ([], "None of 344 flows differs.")


def test_a_pod_that_moves_onto_the_node_of_its_client_changes_the_road() -> None:
    found, text = changes(KUBEADM, moved)
    tools = next(each for each in found if each.source == "default/tools")
    assert tools.what == ("endpoints", "path") and tools.hop is not None, text
    assert tools.hop == ("source's node/cni0", "endpoint/eth0"), text


def test_a_policy_ends_the_road_before_the_endpoint() -> None:
    found, text = changes(KIND, denied)
    tools = next(each for each in found if each.source == "default/tools" and each.target == "shop/web:80/tcp")
    assert tools.hop is not None and tools.hop[1].endswith("/drop"), text
    assert tools.before.outcomes == ("delivered",) and tools.after.cause == "network-policy"


@pytest.mark.parametrize(("edit", "status"), [(None, 0), (selector, 1)])
def test_the_exit_status_is_that_of_kubectl_diff(
    edit: Callable[[Object], None] | None, status: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("before", "after"):
        found = export(Shape("minikube", 1))
        if name == "after" and edit is not None:
            edit(found)
        (tmp_path / f"{name}.json").write_text(json.dumps(found), encoding="utf-8")
    files = [str(tmp_path / "before.json"), str(tmp_path / "after.json")]
    assert main(["diff", *files, "-D", "shop/web", "-S", "default/tools", "-o", "json"]) == status
    data = json.loads(capsys.readouterr().out)
    assert bool(data["changes"]) is bool(status)
    assert main(["diff", files[0], str(tmp_path / "none.json")]) == 2


def _written(folder: Path, **found: Object) -> list[str]:
    for name, each in found.items():
        (folder / f"{name}.json").write_text(json.dumps(each))
    return [str(folder / f"{name}.json") for name in found]


@pytest.mark.parametrize("added", [False, True])
def test_the_first_policy_is_compared_with_the_dataplane_on_both_sides(
    added: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Chains that only one side has would differ in what no policy changes: how a Service without endpoints is refused."""
    without, first = (export(Shape("cilium", 3)) for _ in range(2))
    policed(first)
    files = _written(tmp_path, without=without, first=first)
    assert (
        main(
            [
                "diff",
                *(files if added else files[::-1]),
                "-D",
                "shop/cart",
                "-D",
                "shop/web",
                "-S",
                "default/tools",
                "-j",
                "1",
            ]
        )
        == 0
    )
    out, err = capsys.readouterr()
    assert (
        out == "None of 2 flows differs.\n"
        and f"{files[0]} has no NetworkPolicy: what enforces them runs there, too" in err
    )


def test_a_note_of_both_sides_is_written_once_and_that_of_one_names_its_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, after = export(KIND), export(KIND)
    after["items"] = [each for each in after["items"] if each["metadata"]["name"] != "stale-fx2l7"]
    files = _written(tmp_path, before=before, after=after)
    assert main(["diff", *files, "-D", "shop/cart", "-S", "default/tools", "-j", "1"]) == 0
    notes = capsys.readouterr().err.splitlines()
    assert len([each for each in notes if "the pod network is kindnet" in each]) == 1
    [stale] = [each for each in notes if "which is not there" in each]
    assert stale.startswith(f"note: {files[0]}: endpointslice/shop/stale-")
    assert notes[-1] == "note: 2 more remarks on the export (-v shows them)"
    assert main(["-v", "diff", *files, "-D", "shop/cart", "-S", "default/tools", "-j", "1"]) == 0
    assert "pod/shop/image-" in capsys.readouterr().err


def test_a_matrix_is_written_before_what_else_strikes_in_an_export(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (file,) = _written(tmp_path, dump=export(KIND))
    assert main(["matrix", "-f", file, "-D", "shop/cart", "-S", "default/tools", "-j", "1"]) == 0
    notes = capsys.readouterr().err.splitlines()
    assert "note: export: the pod network is kindnet" in notes
    assert notes[-1] == "note: 4 more remarks on the export (-v shows them)"
