"""What a page shows of tables and rules is what was recorded at each frame: a state, and changes that add up."""

from __future__ import annotations

import json
import re
from collections import Counter

import pytest

import emu
from emu.capture.states import States
from emu.report.html.document import document
from emu.report.html.model import Run
from emu.report.html.scene import of_run
from emu.scenario.gallery import stories, story
from emu.scenario.run import run
from page_gallery import page_of, ran

NUMBER = re.compile(r"^#\d+ ")
Held = dict[str, dict[str, Counter[str]]]


def recorded(name: str) -> States:
    capture = ran(name).cluster.capture
    assert capture is not None and capture.states is not None
    return capture.states


def held_at(shown: Run, steps: set[int]) -> dict[int, Held]:
    """The tables at some steps, as a reader of the document adds them up."""
    now: Held = {
        netns: {table: Counter(lines) for table, lines in tables.items()} for netns, tables in shown.state.items()
    }
    found: dict[int, Held] = {}
    for at, frame in enumerate(shown.frames):
        for netns, delta in frame.st.items():
            for table, (gone, new) in delta.items():
                lines = now.setdefault(netns, {}).setdefault(table, Counter())
                for line in gone:
                    assert lines[line] > 0, "only what is there goes"
                    lines[line] -= 1
                lines.update(new)
        if at in steps:
            found[at] = {
                netns: {table: Counter(lines) for table, lines in tables.items()} for netns, tables in now.items()
            }
    return found


def plain(tables: Held) -> dict[tuple[str, str], list[str]]:
    """Without the numbers of connections, and without what is empty."""
    return {
        (netns, table): sorted(NUMBER.sub("", line) for line in lines.elements())
        for netns, held in tables.items()
        for table, lines in held.items()
        if +lines
    }


@pytest.mark.parametrize("name", sorted(stories()))
def test_the_changes_add_up_to_what_was_recorded(name: str) -> None:
    shown, states = page_of(name).runs[0], recorded(name)
    capture = ran(name).cluster.capture
    assert capture is not None
    frames = [each for each in capture.frames(background=False) if each.flow]
    steps = {0, len(frames) // 3, len(frames) - 1} if frames else set()
    for at, held in held_at(shown, steps).items():
        expected = {
            (netns, "ct" if table == "conntrack" else table): lines
            for netns, tables in states.at(frames[at].number).items()
            for table, lines in tables.items()
            if lines
        }
        assert plain(held) == expected, at


def test_a_connection_becomes_visible_with_its_number() -> None:
    """Where the first packet of a connection is confirmed, and not before."""
    shown = page_of("pod-to-service").runs[0]
    fresh = [
        (at, line)
        for at, frame in enumerate(shown.frames)
        for line in frame.st.get("node-1", {}).get("ct", ([], []))[1]
    ]
    at, line = fresh[0]
    assert line.startswith("#1 ipv4") and "dst=10.96.0.10" in line and "[UNREPLIED]" in line
    assert shown.interfaces[shown.frames[at].i].name == "node-1/eth0"
    asked = [at for at, frame in enumerate(shown.frames) if any("INCOMPLETE" in new for new in _new(frame.st, "neigh"))]
    assert asked[0] == 0, "the pod's question for its gateway"


def _new(delta: dict[str, dict[str, tuple[list[str], list[str]]]], table: str) -> list[str]:
    return [line for tables in delta.values() for line in tables.get(table, ([], []))[1]]


def test_a_matched_rule_has_what_it_had_counted_by_then() -> None:
    shown = page_of("pod-to-service").runs[0]
    counts: dict[str, list[int]] = {}
    for frame in shown.frames:
        for entry in (json.loads(shown.words[at]) for at in frame.tr):
            if entry["k"] == "rule":
                counts.setdefault(f"{entry['chain']} {entry['n']} {shown.interfaces[frame.i].ns}", []).append(
                    entry["pkts"]
                )
    assert counts and all(found == sorted(found) and found[0] >= 1 for found in counts.values())
    assert any(found[-1] > 3 for found in counts.values())


def test_the_last_step_shows_where_the_packet_ends() -> None:
    shown = page_of("pod-to-service").runs[0]
    ends = {
        (shown.interfaces[frame.i].name, entry["to"])
        for frame in shown.frames
        for entry in (json.loads(shown.words[at]) for at in frame.tr)
        if entry["k"] == "delivered"
    }
    assert ("default/web/eth0", "a TCP socket :8080") in ends


def test_rules_that_change_are_kept_with_the_frame_from_which_on_they_hold() -> None:
    for name in sorted(stories()):
        shown = page_of(name).runs[0]
        for netns, kept in shown.rules.items():
            since = [each.since for each in kept]
            assert since == sorted(set(since)) and since[0] == 0, (name, netns)
            assert since[-1] < max(1, len(shown.frames))
    changed = page_of("services-gone-for-half-a-minute").runs[0].rules
    assert any(len(kept) > 1 for kept in changed.values())


def test_without_a_record_there_are_rules_and_no_tables() -> None:
    bare = document([of_run(run(story("pod-to-service")))]).runs[0]
    assert not bare.state and not any(frame.st for frame in bare.frames)
    assert bare.rules == page_of("pod-to-service").runs[0].rules


def test_a_cluster_that_records_has_tables_in_the_page_of_a_flow() -> None:
    cluster = emu.Cluster(1)
    assert cluster.capture is not None
    cluster.capture.record()
    flow = cluster.ping("node/node-1", "external")
    assert '"st":{"node-1":{' in flow.html()
