"""The page's document: what it states is what emu states, every byte is there, and the same run gives the same bytes."""

from __future__ import annotations

import getpass
import json
import os
import socket
from pathlib import Path

import msgspec
import pytest
from jsonschema import Draft202012Validator

from emu.capture.words import WORDS
from emu.report.html import patches
from emu.report.html.document import document
from emu.report.html.entries import KINDS
from emu.report.html.model import SNAP, Document, Frame, encode, schema
from emu.report.html.scene import of_run
from emu.scenario.gallery import stories, story
from emu.scenario.run import run
from emu.version import VERSION
from page_gallery import page_of, ran

NAMES = sorted(stories())


def rebuilt(frames: list[Frame]) -> list[bytes]:
    """The bytes of the frames, as a reader of the document makes them."""
    found, before = [], dict[int, bytes]()
    for frame in frames:
        data = patches.whole(frame.b) if frame.b else before[frame.p]
        before[frame.p] = patches.patched(data, frame.d)
        found.append(before[frame.p])
    return found


@pytest.mark.parametrize("name", NAMES)
def test_every_frame_is_there_with_its_bytes_and_its_comment(name: str) -> None:
    shown, done = page_of(name).runs[0], ran(name)
    assert done.cluster.capture is not None
    flows = [each.flow.number for each in done.flows]
    captured = done.cluster.capture.frames(flows=flows, background=False)
    assert [(each.f, each.h, each.t) for each in shown.frames] == [(c.flow, c.hop, c.time_ns) for c in captured]
    assert rebuilt(shown.frames) == [each.data[:SNAP] for each in captured]
    words = shown.words
    for frame, own in zip(shown.frames, captured, strict=True):
        assert shown.interfaces[frame.i].name == own.interface and frame.w == own.way
        assert frame.z == (len(own.data) if len(own.data) > SNAP else 0)
        lines = [words[frame.s], *(words[fact] for fact in frame.x), *(words[line] for line in frame.c)]
        flow_hop = f"flow/hop {own.flow}/{own.hop}"
        assert "\n".join([*lines, flow_hop]) == own.comment()
        assert words[frame.l] == own.line().split(" ", 2)[2]
        assert len(frame.tr) == len(own.trail) + sum(len(end.trail) + 1 for end in own.after)


@pytest.mark.parametrize("name", NAMES)
def test_sights_of_one_packet_have_one_number_and_name_what_it_is_for(name: str) -> None:
    shown, done = page_of(name).runs[0], ran(name)
    assert done.cluster.capture is not None
    captured = [each for each in done.cluster.capture.frames(background=False) if each.flow]
    numbers = {own.packet_number: frame.p for frame, own in zip(shown.frames, captured, strict=True)}
    assert sorted(numbers.values()) == [*range(1, len(numbers) + 1)]
    for frame, own in zip(shown.frames, captured, strict=True):
        assert (frame.p, frame.a) == (numbers[own.packet_number], numbers.get(own.cause, 0))


def test_a_request_is_for_a_packet_that_is_seen_later() -> None:
    frames = page_of("pod-to-service").runs[0].frames
    assert frames[0].a > frames[0].p == 1, "the client's SYN waits for the gateway's MAC"


@pytest.mark.parametrize("name", NAMES)
def test_the_flows_are_those_of_the_run(name: str) -> None:
    shown, done = page_of(name).runs[0], ran(name)
    assert [each["flow"] for each in shown.flows] == [each.flow.number for each in done.flows]
    assert [each["outcome"] for each in shown.flows] == [each.flow.outcome.word for each in done.flows]
    assert [flow for step in shown.steps for flow in step.flows] == [each["flow"] for each in shown.flows]
    assert [each.flow for each in shown.layouts] == [each["flow"] for each in shown.flows]
    assert (shown.exit, shown.failures) == (done.exit_status, done.failures) == (0, [])
    assert {each.ns for each in shown.interfaces} <= {each.name for each in shown.namespaces}


@pytest.mark.parametrize("name", NAMES)
def test_chapters_stand_where_their_lines_are_first(name: str) -> None:
    shown = page_of(name).runs[0]
    for each in shown.chapters:
        at = [f.h for f in shown.frames if f.f == each.flow and each.text in [shown.words[line] for line in f.c]]
        assert each.hop == at[0]
    stated = {shown.words[line] for frame in shown.frames for line in frame.c}
    assert bool(stated) is bool(shown.chapters)


def test_the_chapters_of_a_service() -> None:
    found = page_of("pod-to-service").runs[0].chapters
    there, back = ([each.label for each in found if each.back is leg] for leg in (False, True))
    assert there == ["3", "1", "2", "4", "3"] and back == ["1", "2", "2", "3", "4"]
    assert found[3].text == "story (4), before (3): the Service's address has become a pod's"


def test_the_document_is_read_back_by_its_types_and_fits_its_schema() -> None:
    for name in NAMES:
        data = encode(page_of(name))
        assert encode(msgspec.json.decode(data, type=Document)) == data
    stated = schema()
    judge = Draft202012Validator(stated)
    judge.check_schema(stated)
    for name in ("pod-to-service", "flannel-vxlan", "microservices-demo"):
        assert [*judge.iter_errors(json.loads(encode(page_of(name))))] == []
    assert [*judge.iter_errors({"format": 2, "emu": "x", "runs": []})] and [*judge.iter_errors({"format": 1})]
    assert stated["$ref"] == "#/$defs/Document" and set(stated["$defs"]) >= {"Document", "Run", "Frame", "Layout"}
    assert stated["$defs"]["Document"]["required"] == ["format", "emu", "runs"]
    assert stated["$defs"]["Document"]["properties"]["format"]["enum"] == [1]
    frame = stated["$defs"]["Frame"]
    assert set(frame["required"]) == set("fhtiwpls") and set(frame["properties"]) >= {
        "b",
        "d",
        "z",
        "x",
        "c",
        "tr",
        "st",
    }


@pytest.mark.parametrize("name", ["pod-to-service", "guestbook", "flannel-vxlan", "lossy-link"])
def test_two_runs_give_the_same_bytes(name: str) -> None:
    assert encode(page_of(name)) == encode(document([of_run(run(story(name), record=True))]))


def test_nothing_in_it_is_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither folders nor names; what was written beside it does not show."""
    monkeypatch.chdir(tmp_path)
    made = document([of_run(run(story("pod-to-service"), tmp_path / "out", record=True))])
    text = encode(made).decode()
    assert made.runs[0].flows[0].pop("file") == "01-the-client-asks-the-service.pcapng"
    assert encode(made) == encode(page_of("pod-to-service"))
    known = {str(tmp_path), str(Path(__file__).parents[3]), os.uname().nodename, socket.gethostname()}
    assert [each for each in known if len(each) > 4 and each in text] == []
    assert getpass.getuser() == "root" or getpass.getuser() not in text
    assert json.loads(text)["emu"] == VERSION and json.loads(text)["runs"][0]["seed"] == 0


K_OF = {
    "AnyRule": "rule", "Policy": "policy", "Natted": "nat", "Tracked": "ct", "Dropped": "drop", "Bridged": "bridge",
    "Learned": "learn", "Carried": "carried", "Encapsulated": "tunnel", "Decapsulated": "tunnel", "Waited": "waited",
    "Asked": "asked", "Answered": "answered", "Born": "born", "Delivered": "delivered", "Note": "note", "Route": "route",
    "Forbidden": "forbidden", "Probed": "note",
}  # fmt: skip


def test_every_kind_of_entry_that_the_gallery_has_is_known() -> None:
    """A new kind of entry is a row of `KINDS`."""
    assert {kind.__name__ for kind in KINDS} - {"Stated"} == set(K_OF)  # that one is read from a file
    found = set()
    for name in NAMES:
        words = page_of(name).runs[0].words
        found |= {json.loads(words[at])["k"] for frame in page_of(name).runs[0].frames for at in frame.tr}
    assert (
        found <= set(K_OF.values())
        and {"rule", "nat", "ct", "drop", "route", "asked", "answered", "bridge", "born", "tunnel"} <= found
    )
    assert not any('"k":"note","text":"<' in word for name in NAMES for word in page_of(name).runs[0].words)


def test_what_a_comment_has_words_for_has_a_form_on_the_page() -> None:
    assert {kind.__name__ for kind in WORDS} - {kind.__name__ for kind in KINDS} == set()


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        (b"abcdef", b"abcdef", []),
        (b"abcdef", b"Xbcdef", [(0, "58")]),
        (b"abcdef", b"aXcXef", [(1, "586358")]),
        (b"abcdef", b"aXcdXf", [(1, "58"), (4, "58")]),
        (b"abcdef", b"abcdeX", [(5, "58")]),
        (b"", b"", []),
    ],
)
def test_patches(old: bytes, new: bytes, found: list[tuple[int, str]]) -> None:
    assert patches.changes(old, new) == found
    assert patches.patched(old, found) == new
