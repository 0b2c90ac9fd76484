"""Capture files as pages: what emu wrote comes back with its words, other captures as far as frames go, and what is missing is stated."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from emu.capture.reader import reading
from emu.cli import main
from emu.report.html import facts
from emu.report.html.course import words
from emu.report.html.document import document
from emu.report.html.filed import MOST, NO_OUTCOMES, NO_TABLES, NOT_OURS, of_file
from emu.report.html.model import Document, Run
from emu.report.html.page import of
from emu.report.html.scene import Scene
from emu.scenario.gallery import story
from emu.scenario.run import run
from page_gallery import page_of

STORIES = (
    "pod-to-service",
    "pod-to-pod-same-node",
    "closed-port",
    "flannel-vxlan",
    "services-gone-for-half-a-minute",
    "hairpin-on",
)
FOREIGN = Path(__file__).parents[2] / "data/replay"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """The files of each flow, as emu writes them today."""
    folder = tmp_path_factory.mktemp("captures")
    return {name: [f.files[0] for f in run(story(name), folder).flows] for name in STORIES}


def words_of(shown: Run, flow: int) -> list[tuple[int, str, str, list[str]]]:
    words = shown.words
    return [
        (each.h, shown.interfaces[each.i].name, words[each.s], [words[at] for at in (*each.x, *each.c)])
        for each in shown.frames
        if each.f == flow
    ]


@pytest.mark.parametrize("name", STORIES)
def test_a_file_of_emu_has_the_words_and_hops_of_its_run(name: str, written: dict[str, list[Path]]) -> None:
    own = page_of(name).runs[0]
    for path, flow in zip(written[name], own.flows, strict=True):
        (shown,) = document([of_file(path)]).runs
        assert words_of(shown, flow["flow"]) == words_of(own, flow["flow"])
        assert shown.names.items() <= own.names.items() and shown.notes == [NO_TABLES, NO_OUTCOMES]
        assert [each["file"] for each in shown.flows] == [path.name]
        mine = [each for each in own.frames if each.f == flow["flow"]]
        assert [(each.w, each.z) for each in shown.frames] == [(each.w, each.z) for each in mine]
        starts = [each.t for each in shown.frames]
        assert [each - starts[0] for each in starts] == [each.t - mine[0].t for each in mine]


@pytest.mark.parametrize("name", ["pod-to-service", "pod-to-pod-same-node", "closed-port"])
def test_the_map_of_a_file_is_that_of_its_run(name: str, written: dict[str, list[Path]]) -> None:
    """Cables, pods' nodes and roles are found in the frames and names."""
    own = page_of(name).runs[0]
    for path, plan in zip(written[name], own.layouts, strict=True):
        (shown,) = document([of_file(path)]).runs
        (found,) = shown.layouts
        assert [each.dev for each in found.columns] == [each.dev for each in plan.columns]
        assert [(each.ns, each.role, each.first, each.last) for each in found.boxes] == [
            (each.ns, each.role, each.first, each.last) for each in plan.boxes
        ]
        assert found.cables == plan.cables


def test_frames_have_their_numbers_in_the_file(tmp_path: Path) -> None:
    """Of one flow alone they are the hops; in a file of all flows they are not."""
    done = run(story("closed-port"), tmp_path)
    assert done.folder is not None
    (one,) = document([of_file(next(done.flows).files[0])]).runs
    (every,) = document([of_file(done.folder / "all.pcapng")]).runs
    assert not any(each.no for each in one.frames)
    with reading(done.folder / "all.pcapng") as file:
        data = {record.number: record.data for record in file}
    scene = of_file(done.folder / "all.pcapng")
    assert [data[each.no or each.h] for each in every.frames] == [each.data for each in scene.frames]
    assert len(every.flows) == len(list(done.flows)) and any(each.no for each in every.frames)


def test_a_hostile_file_name_is_text(tmp_path: Path) -> None:
    path = tmp_path / "<img src=x onerror=alert(1)>.pcap"
    path.write_bytes((FOREIGN / "ping.pcap").read_bytes())
    text = of([of_file(path)])
    assert "<img" not in text and "\\u003cimg src=x" in text and "&lt;img src=x" in text


def kinds(scene: Scene, kind: str) -> list[int]:
    return [each.hop for each in scene.frames if any(dict(entry.value)["k"] == kind for entry in each.trail)]


@pytest.mark.parametrize("name", ["pod-to-service", "closed-port", "services-gone-for-half-a-minute"])
def test_what_decided_comes_back_from_the_facts(name: str, written: dict[str, list[Path]]) -> None:
    shown = page_of(name).runs[0]
    for path, flow in zip(written[name], shown.flows, strict=True):
        scene = of_file(path)
        for kind in ("nat", "drop", "route", "asked", "answered", "born"):
            expected = [
                each.h
                for each in shown.frames
                if each.f == flow["flow"] and any(f'"k":"{kind}"' in shown.words[at] for at in each.tr)
            ]
            assert kinds(scene, kind) == expected, kind


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("dropped NETFILTER_DROP at node-2/cbr0 by filter FORWARD rule 1: -A FORWARD -j DROP",
         {"k": "drop", "reason": "NETFILTER_DROP", "place": "node-2/cbr0", "by": "filter FORWARD rule 1: -A FORWARD -j DROP"}),
        ("nat KUBE-SERVICES -> KUBE-SEP-X: DNAT dst 10.96.0.10:80 -> 10.244.2.2:8080, ct NEW node-1#5",
         {"k": "nat", "kind": "DNAT", "before": "10.96.0.10:80", "after": "10.244.2.2:8080", "ct": 5}),
        ("nat: un-DNAT src 10.244.2.2:8080 -> 10.96.0.10:80, ct node-1#5",
         {"k": "nat", "kind": "un-DNAT", "before": "10.244.2.2:8080", "after": "10.96.0.10:80", "ct": 5}),
        ("filter KUBE-FORWARD rule 3: ACCEPT",
         {"k": "rule", "table": "filter", "chain": "KUBE-FORWARD", "n": 3, "spec": "ACCEPT", "jump": ""}),
        ("bridge cbr0: flooded to 1 port", {"k": "bridge", "bridge": "cbr0", "port": None, "flooded": 1, "up": False}),
        ("arp 10.0.0.1 is proxied, behind eth0", {"k": "answered", "addr": "10.0.0.1", "dev": "eth0", "proxy": True}),
        ("ct node-1#3 is ESTABLISHED", {"k": "ct", "ct": 3, "state": "ESTABLISHED", "new": False}),
        ("vxlan flannel.1: vni 1, 10.0.0.1 -> 10.0.0.2",
         {"k": "tunnel", "dev": "flannel.1", "out": True, "vni": 1, "src": "10.0.0.1", "dst": "10.0.0.2"}),
        ("ipip tunl0: from 10.0.0.1", {"k": "tunnel", "dev": "tunl0", "out": False, "vni": None, "src": "10.0.0.1"}),
        ("a word of a story", None),
        ("ttl 64 -> 63", None),
    ],
)  # fmt: skip
def test_a_fact_as_a_value(line: str, expected: dict[str, object] | None) -> None:
    assert [dict(each.value) for each in facts.read("", [line])] == ([] if expected is None else [expected])


@pytest.mark.parametrize("name", ["ping.pcap", "http.pcap", "fragments.pcap", "dns_udp.pcap"])
def test_any_capture_as_far_as_frames_go(name: str) -> None:
    with reading(FOREIGN / name) as file:
        records = list(file)
    (shown,) = document([of_file(FOREIGN / name)]).runs
    assert len(shown.frames) == min(len(records), MOST) and NOT_OURS in shown.notes
    assert [each["name"] for each in shown.flows] == [Path(name).stem] and shown.flows[0]["outcome"] == ""
    assert shown.frames[0].t == 0 and shown.words[shown.frames[0].s]
    assert [each.name for each in shown.interfaces] == [f"{name}/frames"]


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], written: dict[str, list[Path]]) -> None:
    out = tmp_path / "page.html"
    files = [*map(str, written["closed-port"][:1]), str(FOREIGN / "ping.pcap")]
    assert main(["report", *files, "--html", str(out)]) == 0
    shown, noted = capsys.readouterr()
    assert "frames of 2 files in" in shown and NO_TABLES in noted and NOT_OURS in noted
    text = out.read_text(encoding="utf-8")
    start = text.index('id="data">') + len('id="data">')
    assert len(msgspec.json.decode(text[start : text.index("</script>", start)], type=Document).runs) == 2
    assert str(tmp_path) not in text and str(FOREIGN) not in text
    shown_words = json.loads(text.partition('id="words">')[2].partition("</script>")[0])
    assert shown_words["modelled"] == shown_words["read_in"] != words()["modelled"]
    before = out.read_bytes()
    assert main(["report", *files, "--html", str(out)]) == 0 and out.read_bytes() == before
    assert main(["report", str(tmp_path / "none.pcapng"), "--html", str(out)]) == 2
    (tmp_path / "empty").write_bytes(b"")
    assert main(["report", str(tmp_path / "empty"), "--html", str(out)]) == 2
    assert out.read_bytes() == before
