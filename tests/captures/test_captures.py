"""The committed captures: made anew they are the same bytes, Wireshark finds nothing wrong with any of them, and their
index is true. Where this fails after a change that was meant: `tools/golden captures`, look at the difference, commit.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import gallery_index
from emu.scenario.gallery import stories, story
from emu.scenario.run import run
from emu.scenario.script import load
from gallery_index import CAPTURES, INDEX, SHIPPED, index, metadata, rows
from tshark import Tshark

MAX_BYTES = 10 << 20
NAMES = sorted(stories())
RETRANSMISSION = "This frame is a (suspected) retransmission"
SYN_AGAIN = "Connection establish request (SYN): server port"
SYN_ACK_AGAIN = "Connection establish acknowledge (SYN+ACK): server port"
SAME_PORTS = "A new tcp session is started with the same ports as an earlier session in this trace"
# each SYN that the endpoint gets anew opens another connection there, with a sequence number of its own
ANOTHER_NUMBER = {"Previous segment(s) not captured"}
# of a flow that a mistake keeps from its receiver or from its answer: all is sent again
LOST = {RETRANSMISSION, SYN_AGAIN, SYN_ACK_AGAIN, SAME_PORTS, *ANOTHER_NUMBER, "TCP window update"}
# The entries of Wireshark's TCP analysis of one interface that the story explains: by scenario, a part of the file's name,
# and the beginnings of the entries.
EXPLAINED = {
    "hairpin-off": ("", {RETRANSMISSION, SYN_AGAIN}),
    "service-same-node-nf0": ("", {RETRANSMISSION, SYN_AGAIN, SYN_ACK_AGAIN, SAME_PORTS, *ANOTHER_NUMBER}),
    "lossy-link": ("sent-twice", {RETRANSMISSION, SYN_AGAIN}),
    # after a segment far above the window, all that follows looks sent before
    "invalid-and-reset": ("all", {RETRANSMISSION, *ANOTHER_NUMBER, "Connection finish", "This frame undergoes"}),
    # Calico drops what no rule allows, and the client sends it again
    "policy-calico": ("from-", {RETRANSMISSION, SYN_AGAIN}),
    # the full segments before these are dropped, and the receiver reports the gap
    "vxlan-pod-mtu": ("error", {RETRANSMISSION, *ANOTHER_NUMBER, "Duplicate ACK", "TCP window update"}),
}


def captures(name: str) -> list[Path]:
    return sorted((CAPTURES / name).glob("*.pcapng"))


@pytest.mark.parametrize("name", NAMES)
def test_made_anew_they_are_the_same_bytes(name: str, tmp_path: Path) -> None:
    run(story(name), tmp_path)
    made = {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
    there = {path.name: path.read_bytes() for path in (CAPTURES / name).iterdir()}
    assert sorted(made) == sorted(there)
    assert [file for file in made if made[file] != there[file]] == []


@pytest.mark.slow
def test_another_byte_or_file_is_found(tmp_path: Path) -> None:
    """By `tools/golden check`, which makes the gallery over processes, over Dask and by another Python."""
    for name in ("pod-to-service", "absent-address"):
        shutil.copytree(CAPTURES / name, tmp_path / name)
    command = [
        sys.executable,
        str(CAPTURES.parent / "tools" / "gallery_check.py"),
        "-j",
        "2",
        "--captures",
        str(tmp_path),
    ]

    def checked() -> tuple[int, list[str]]:
        done = subprocess.run(
            [*command, "absent-address", "pod-to-service"],
            env={**os.environ, "PYTHONPATH": str(CAPTURES.parent)}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout.splitlines()

    status, lines = checked()
    assert status == 0 and lines[0].startswith("2 stories, ") and lines[0].endswith(", 2 processes: equal")
    whole = tmp_path / "pod-to-service" / "all.pcapng"
    whole.write_bytes(whole.read_bytes()[:-1] + b"x")
    (tmp_path / "pod-to-service" / "more.txt").touch()
    status, lines = checked()
    assert status == 1 and lines[0] == "pod-to-service: all.pcapng, more.txt" and lines[1].endswith("1 stories differ")


def test_nothing_else_lies_there() -> None:
    assert {path.name for path in CAPTURES.iterdir()} == {*NAMES, "README.md", "pictures"}
    assert sum(path.stat().st_size for path in CAPTURES.rglob("*") if path.is_file()) < MAX_BYTES


@pytest.fixture(scope="module")
def problems(tshark: Tshark) -> dict[Path, list[str]]:
    return tshark.problems_of([path for name in NAMES for path in captures(name)])


@pytest.fixture(scope="module")
def analysis(tshark: Tshark) -> dict[Path, dict[str, list[str]]]:
    return tshark.analysis_of([path for name in NAMES for path in whole(name)])


def whole(name: str) -> list[Path]:
    """Without the files of the client alone: its frames are in the others."""
    return [path for path in captures(name) if ".client." not in path.name]


@pytest.mark.committed
@pytest.mark.parametrize("name", NAMES)
def test_wireshark_finds_nothing_wrong(name: str, problems: dict[Path, list[str]]) -> None:
    assert {path.name: problems[path] for path in captures(name) if problems[path]} == {}


@pytest.mark.committed
@pytest.mark.parametrize("name", NAMES)
def test_tcp_analysis_finds_what_the_story_explains(name: str, analysis: dict[Path, dict[str, list[str]]]) -> None:
    part, explained = EXPLAINED.get(name, ("", set[str]()))
    spec = load(story(name)).spec
    # the files of a mistake's steps that are to fail, by how their names begin
    failing = tuple(
        f"{number:02d}-"
        for number, step in enumerate(spec.steps, 1)
        if spec.metadata.mistake is not None and step.expect is not None and step.expect.outcome != "delivered"
    )
    for file, entries in ((path.name, analysis[path]) for path in whole(name)):
        # what died is no conversation: a namespace's drops show pieces of several
        wires = {interface: lines for interface, lines in entries.items() if not interface.endswith("/drop")}
        messages = [line.partition(": ")[2] for lines in wires.values() for line in lines]
        if failing and (file.startswith(failing) or file == "all.pcapng"):
            assert [each for each in messages if not each.startswith((*LOST, *explained))] == [], file
            continue
        assert [each for each in messages if not each.startswith(tuple(explained))] == [], file
        if explained and (part in file or file == "all.pcapng"):
            assert RETRANSMISSION in messages, file
        elif part:
            assert messages == [], file


@pytest.mark.committed
@pytest.mark.parametrize("name", NAMES)
def test_pods_nodes_and_services_have_names(name: str, tshark: Tshark) -> None:
    path = CAPTURES / name / "all.pcapng"
    ends = tshark.read(path, "ip.src_host", "ip.dst_host", where="ip", options=["-N", "dn"])
    unnamed = {host for frame in ends for hosts in frame.values() for host in hosts if re.fullmatch(r"[\d.]+", host)}
    # no host has these
    assert {host for host in unnamed if not host.startswith("127.")} <= ABSENT.get(name, set())


ABSENT = {
    "absent-address": {"10.244.1.99", "10.244.2.99", "10.244.77.1"},
    "calico-pod-to-pod": {"10.244.41.50"},
    # the internet gateway's, for node-1
    "aws-pod-to-internet": {"192.0.2.11"},
    "aws-rp-filter": {"192.0.2.11"},
}


def test_the_index_in_the_wheel_is_the_same() -> None:
    assert SHIPPED.read_text(encoding="utf-8") == INDEX.read_text(encoding="utf-8")


def test_the_index_is_what_the_stories_state() -> None:
    """But for the numbers of frames, which Wireshark gives (below)."""
    page = INDEX.read_text(encoding="utf-8")
    there = {(name, file, where): numbers for name, file, where, numbers in rows(page)}
    assert index(page, metadata(), lambda *row: there.get(row, "missing")) == page
    assert {name for name, *_ in rows(page)} == set(NAMES)


@pytest.mark.committed
@pytest.mark.parametrize("names", [NAMES[at : at + 5] for at in range(0, len(NAMES), 5)], ids=lambda names: names[0])
def test_the_index_names_the_frames_that_are_there(names: list[str], tshark: Tshark) -> None:
    page = rows(INDEX.read_text(encoding="utf-8"))
    there = {row[:3]: row[3] for row in page if row[0] in names}
    about = metadata()
    found = gallery_index.frames_of_all(tshark, {name: about[name] for name in names})
    assert found == there


@pytest.mark.committed
@pytest.mark.parametrize("row", rows(INDEX.read_text(encoding="utf-8"))[::5], ids=lambda row: row[0])
def test_a_filter_finds_in_a_file_alone_what_it_finds_among_all(row: tuple[str, str, str, str], tshark: Tshark) -> None:
    name, file, where, frames = row
    assert gallery_index.frames(tshark, CAPTURES / name / file, where) == frames
