"""The judge by itself: what it must see, and what it must forgive."""

from __future__ import annotations

import pytest

from ladder_compare import alike, compare_calls, compare_frames, compare_tables, conntrack
from ladder_drive import SCENARIOS
from ladder_lines import NAMES, Sighting, load
from ladder_setup import Setup

TCP = "ipv4     2 tcp      6 {} TIME_WAIT src=1.0.0.1 dst=1.0.0.2 sport=4 dport=8 src=1.0.0.2 dst=1.0.0.1 mark=0 use=1"
ICMP = "ipv4     2 icmp     1 29 src=1.0.0.1 dst=1.0.0.2 type=8 code=0 id={} src=1.0.0.2 dst=1.0.0.1 id={} mark=0 use=1"


@pytest.mark.parametrize("name", NAMES)
def test_the_tables_of_steps_are_the_ladders(name: str) -> None:
    measured = load(name)
    assert [step.title for step in SCENARIOS[name]] == [step.title for step in measured]
    known = set(Setup(name).namespaces)
    for step, kernel in zip(SCENARIOS[name], measured, strict=True):
        assert step.cold == ("cold" in step.title)
        assert {namespace for namespace, _ in kernel.tables} <= known


def sightings(*lines: str) -> list[Sighting]:
    """`a:x out [line]`"""
    return [Sighting(0, *line.split(" ", 2)) for line in lines]


ROAD = sightings("a:x out [1]", "b:y in [1]", "b:y out [2]", "a:x in [2]")


def test_the_same_road_in_another_interleaving_is_equal() -> None:
    assert compare_frames(ROAD, [ROAD[1], ROAD[0], ROAD[2], ROAD[3]]) == ""


@pytest.mark.parametrize(
    ("here", "want"),
    [
        (
            ROAD[:3],
            "1 places differ; first a:x:\n    both    out      [1]\n  ! kernel  in       [2]\n  ! here    nothing",
        ),
        ([*ROAD, *sightings("c:z in [3]")], "first c:z:\n  ! kernel  nothing more\n  ! here    in       [3]"),
        ([ROAD[0], ROAD[2], ROAD[1], ROAD[3]], "first b:y:"),
        (sightings("a:x out [1]", "b:y in-other [1]", "b:y out [2]", "a:x in [9]"), "2 places differ; first b:y:"),
    ],
)
def test_a_difference_is_shown_where_it_came_first(here: list[Sighting], want: str) -> None:
    text = compare_frames(ROAD, here)
    assert want in text
    assert f"The road here:\n  {here[0].tap:<14} {here[0].direction:<8} {here[0].line}" in text


def test_order_counts_within_a_namespace_too() -> None:
    road = sightings("a:x out [1]", "a:y out [1]", "b:z in [1]")
    assert compare_frames(road, [road[2], road[0], road[1]]) == ""
    assert "a, the order of its interfaces:\n  ! kernel  x " in compare_frames(road, [road[1], road[0], road[2]])


def test_probes_may_come_when_they_like_but_must_come() -> None:
    probe = sightings(
        "a:x out [p>q] ARP who-has 1.1.1.1 tell 2.2.2.2 (p)", "a:x in [q>p] ARP 1.1.1.1 is-at q -> 2.2.2.2 (p)"
    )
    assert compare_frames([*ROAD, *probe], [*probe, *ROAD]) == ""
    assert "who-has 1.1.1.1" in compare_frames([*ROAD, *probe], ROAD)
    assert "who-has 1.1.1.1" in compare_frames(ROAD, [*ROAD, *probe])


def test_calls_are_equal_or_not() -> None:
    assert compare_calls(["p1 got 3 bytes"], ["p1 got 3 bytes"]) == ""
    assert "! here    p1 got 4 bytes" in compare_calls(["p1 got 3 bytes"], ["p1 got 4 bytes"])


class TestConntrack:
    def test_a_second_is_forgiven(self) -> None:
        kernel = conntrack([TCP.format(119)])
        assert [alike(kernel, conntrack([TCP.format(left)])) for left in (117, 118, 119, 120, 121)] == [
            False,
            True,
            True,
            True,
            False,
        ]

    def test_nothing_else_is(self) -> None:
        kernel = conntrack([TCP.format(119)])
        assert not alike(kernel, conntrack([TCP.format(119).replace("TIME_WAIT", "CLOSE")]))
        assert not alike(kernel, conntrack([TCP.format(119).replace("sport=4", "sport=5")]))
        assert not alike(kernel, [])

    def test_echo_ids_are_random_but_one(self) -> None:
        kernel = conntrack([ICMP.format(7, 7)])
        assert alike(kernel, conntrack([ICMP.format(1, 1)]))
        assert not alike(kernel, conntrack([ICMP.format(1, 2)]))


def test_neighbours_are_a_set_and_routes_a_list() -> None:
    for what, forgiven in (("neigh", True), ("route", False)):
        key = ("n1", what)
        assert (compare_tables({key: ["a", "b"]}, {key: ["b", "a"]}) == "") == forgiven


def test_rules_are_compared_without_comments_and_counters() -> None:
    key = ("n1", "rules")
    kernel = {key: ["# Generated", "*nat", ":INPUT ACCEPT [0:0]"]}
    assert compare_tables(kernel, {key: ["*nat", ":INPUT ACCEPT [3:168]"]}) == ""
    assert "n1: rules" in compare_tables(kernel, {key: ["*nat", ":INPUT DROP [0:0]"]})
