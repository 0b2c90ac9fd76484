"""The map of a flow: every interface once, in the order of the way, boxes that do not overlap, bystanders in one column."""

from __future__ import annotations

from itertools import pairwise

import pytest

from emu.report.html.layout import Planner, Sight
from emu.report.html.model import Box, Bridge, Layout, Run
from emu.scenario.gallery import stories
from page_gallery import page_of

NAMES = sorted(stories())


def names(shown: Run, layout: Layout) -> list[str]:
    """`client`, `veth*`: devices whose names are drawn are cut."""
    found = []
    for column in layout.columns:
        pod = column.ns.rpartition("/")[2]
        device = "veth" if column.dev.startswith("veth") else column.dev
        found.append(device if column.n < 0 else f"{pod}:{device}")
    return found


@pytest.mark.parametrize(
    ("story", "flow", "expected"),
    [
        (
            "pod-to-service", 1,
            "client:eth0 node-1:veth node-1:cbr0 node-1:eth0 underlay:port1 underlay:port2 node-2:eth0 node-2:cbr0 node-2:veth web:eth0",
        ),
        ("pod-to-pod-same-node", 1, "client:eth0 node-1:veth node-1:cbr0 node-1:veth web:eth0"),
        ("containers-localhost", 1, "pair:lo"),
        ("containers-localhost", 2, ""),
        (
            "flannel-vxlan", 1,
            "client:eth0 node-1:veth node-1:cni0 node-1:flannel.1 node-1:eth0 underlay:port1 underlay:port2 node-2:eth0 node-2:flannel.1 node-2:cni0 node-2:veth web:eth0",
        ),
    ],
)  # fmt: skip
def test_columns_stand_in_the_order_of_the_way(story: str, flow: int, expected: str) -> None:
    shown = page_of(story).runs[0]
    layout = next(each for each in shown.layouts if each.flow == flow)
    assert " ".join(names(shown, layout)) == expected


@pytest.mark.parametrize("name", NAMES)
def test_every_interface_of_a_flow_has_one_column(name: str) -> None:
    shown = page_of(name).runs[0]
    assert shown.layouts
    for place, layout in enumerate(shown.layouts):
        there = [number for column in layout.columns for number in (column.fold or [column.n])]
        assert len(there) == len(set(there)), place
        frames = [each for each in shown.frames if each.f == layout.flow]
        assert {each.i for each in frames if each.w != "drop"} <= set(there), place
        owners = {shown.interfaces[number].ns for number in there}
        assert {shown.interfaces[each.i].ns for each in frames} <= owners, f"{place}: a drop has a place to stand"


@pytest.mark.parametrize("name", NAMES)
def test_boxes_cables_bridges_and_kernels_fit_their_columns(name: str) -> None:
    shown = page_of(name).runs[0]
    for place, layout in enumerate(shown.layouts):
        columns, ports = layout.columns, shown.interfaces
        for box in layout.boxes:
            outer = [each for each in layout.boxes if each.ns == box.inside]
            assert all(each.first <= box.first and box.last <= each.last for each in outer), place
        machines = sorted((each for each in layout.boxes if not each.inside), key=lambda box: box.first)
        beside = all(one.last < other.first for one, other in pairwise(machines))
        assert beside, f"{place}: machines stand beside each other"
        for one, other in layout.cables:
            assert ports[columns[one].n].peer == columns[other].n, place
        for bridge in layout.bridges:
            for column in (columns[at] for at in bridge.ports):
                assert column.ns == bridge.ns and bridge.dev in (column.master, column.dev), place
        lanes = {each.ns for each in layout.lanes}
        assert lanes == {each.ns for each in columns if each.n >= 0}, place


def test_pods_that_got_only_a_flooded_request_share_a_column() -> None:
    shown = page_of("microservices-demo").runs[0]
    folds = [column for layout in shown.layouts for column in layout.columns if column.fold]
    assert folds
    for column in folds:
        pods = column.title.split(", ")
        assert column.dev == f"{len(pods)} pods" and len(pods) >= 2 and len(column.fold) == 2 * len(pods)
        assert {shown.interfaces[number].ns for number in column.fold} == {*pods, column.ns}
    widest = max(len(layout.columns) for layout in shown.layouts)
    assert widest <= 13


def test_the_boxes_and_the_bridge_of_a_service() -> None:
    (layout,) = page_of("pod-to-service").runs[0].layouts
    assert layout.boxes == [
        Box("node-1", "node", 0, 3, "192.168.51.11"),
        Box("underlay", "underlay", 4, 5, "203.0.113.1"),
        Box("node-2", "node", 6, 9, "192.168.52.12"),
        Box("default/client", "pod", 0, 0, "10.244.1.2", "node-1"),
        Box("default/web", "pod", 9, 9, "10.244.2.2", "node-2"),
    ]
    assert layout.bridges == [Bridge("node-1", "cbr0", [1, 2]), Bridge("node-2", "cbr0", [7, 8])]
    assert layout.cables == [(0, 1), (3, 4), (5, 6), (8, 9)]


def test_the_same_flow_has_the_same_map_however_often_it_is_planned() -> None:
    shown = page_of("guestbook").runs[0]
    planner = Planner(shown.interfaces, shown.namespaces)
    for layout, flow in zip(shown.layouts, shown.flows, strict=True):
        sights = [Sight(each.i, False) for each in shown.frames if each.f == layout.flow]
        assert planner.layout(flow, sights) == planner.layout(flow, [*sights, *sights])
