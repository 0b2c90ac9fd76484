"""Two runs side by side: flows that belong together, hops aligned by where they are, and those marked that differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from emu.cli import main
from emu.report.html.compare import align, compare, pairs
from emu.report.html.model import Document
from emu.report.html.page import of
from emu.report.html.scene import Scene, of_run
from emu.scenario.run import run
from emu.scenario.script import load_text
from page_gallery import ran

STORY = Path("emu/scenario/gallery/pod-to-service.yaml")
RULE = '- iptables: {node: node-2, rules: ["-I FORWARD -p tcp --sport 8080 -j DROP"]}\n'
POD = """---
{apiVersion: v1, kind: Pod, metadata: {name: before}, spec: {nodeName: node-1, containers: [{name: a}]}}
"""
FIRST = "- ping: {from: default/before, to: default/web}\n"


def changed(steps: str, objects: str = "") -> Scene:
    text = STORY.read_text(encoding="utf-8").replace("name: pod-to-service", "name: changed", 1)
    text = text.replace("\nsteps:\n", f"\nsteps:\n{steps}", 1) + objects
    return of_run(run(load_text(text, folder=STORY.parent)))


def flow(name: str, source: str = "a", target: str = "b") -> dict[str, Any]:
    return {"name": name, "kind": "tcp", "source": source, "target": target}


def test_a_run_beside_itself_has_no_difference() -> None:
    scene = of_run(ran("pod-to-service"))
    (found,) = compare(scene, scene)
    assert found.pairs == [(at, at, True) for at in range(len(scene.frames))]


def test_the_first_difference_is_the_drop() -> None:
    """Up to there all is the same; then one side has the drop, the other goes on."""
    plain, dropped = of_run(ran("pod-to-service")), changed(RULE)
    (found,) = compare(plain, dropped)
    first = next(place for place, pair in enumerate(found.pairs) if not pair[2])
    assert [pair[:2] for pair in found.pairs[:first]] == [(at, at) for at in range(first)]
    assert first > 20
    lost = next(at for at, each in enumerate(dropped.frames) if each.direction == "drop")
    assert lost == first == found.pairs[first][0] and found.pairs[first][1] == -1, "the other one is forwarded"
    assert next(other for _, other, _ in found.pairs[first:] if other >= 0) == lost
    left = [one for one, _, _ in found.pairs if one >= 0]
    right = [other for _, other, _ in found.pairs if other >= 0]
    assert left == [*range(len(plain.frames))] and right == [*range(len(dropped.frames))], "each hop once, in order"


def test_another_flow_before_changes_no_hop_but_what_it_resolved() -> None:
    """Numbers of connections differ, which is no difference; the flow belongs to the one of its name."""
    plain, other = of_run(ran("pod-to-service")), changed(FIRST, POD)
    (found,) = compare(plain, other)
    assert (found.left_flow, found.right_flow) == (1, 2)
    differing = [pair for pair in found.pairs if not pair[2]]
    assert differing and len(differing) < len(found.pairs) / 2
    for one, same, _ in differing:
        assert one < 0 or same < 0 or plain.frames[one].comment() != other.frames[same].comment()


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ([flow("x"), flow("y")], [flow("y"), flow("x")], [("x", "x"), ("y", "y")]),
        ([flow("x"), flow("x")], [flow("x")], [("x", "x")]),
        ([flow("x")], [flow("other")], [("x", "other")]),
        ([flow("x")], [flow("other", "c")], []),
        ([flow("x"), flow("y", "c")], [flow("z", "c"), flow("x")], [("x", "x"), ("y", "z")]),
        ([], [flow("x")], []),
    ],
)
def test_which_flows_belong_together(
    left: list[dict[str, Any]], right: list[dict[str, Any]], expected: list[tuple[str, str]]
) -> None:
    assert [(one["name"], other["name"]) for one, other in pairs(left, right)] == expected


def test_nothing_beside_something() -> None:
    scene = of_run(ran("closed-port"))
    assert align([], scene.frames[:2]) == [(-1, 0, False), (-1, 1, False)]
    assert align(scene.frames[:1], []) == [(0, -1, False)]


def test_the_page_has_the_comparison(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = of_run(ran("pod-to-service")), changed(RULE)
    text = of([one, two], compared=True)
    start = text.index('id="data">') + len('id="data">')
    shown = msgspec.json.decode(text[start : text.index("</script>", start)], type=Document)
    assert [(each.left, each.right) for each in shown.comparisons] == [(0, 1)]
    assert '"comparisons"' not in of([one, two])
    done = ran("pod-to-service")
    done.html(tmp_path / "beside.html", beside=ran("service-same-node"))
    assert '"comparisons":[{"left":0' in (tmp_path / "beside.html").read_text(encoding="utf-8")
    assert main(["run", str(STORY), "-d", str(tmp_path), "--html", str(tmp_path / "x.html"), "--compare"]) == 2
    assert "emu run A B --html FILE --compare" in capsys.readouterr().err
