"""A run that streams to disk: the files, the rows of labels and the table of a run that is held in memory."""

from __future__ import annotations

import gc
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

import emu.scenario.run as module
from emu.capture.capture import Capture
from emu.kernel.netfilter.conntrack import Conntrack
from emu.report.table import table
from emu.scenario.gallery import stories, story
from emu.scenario.labels import rows
from emu.scenario.record import Run
from emu.scenario.results import Streamed
from emu.scenario.run import run

CAPTURES = Path(__file__).parents[2] / "captures"
MANY = """\
apiVersion: emu/v1
kind: Scenario
metadata: {name: many}
cluster: {nodes: 2}
steps:
- name: visitors come
  story: a visitor
  traffic:
    flows: 40
    rate: 50
    requests: {uniform: {from: 1, to: 4}}
    think: {constant: 10ms}
    mix:
    - {weight: 3, label: web, tcp: {from: default/client, to: "svc/web:80", send: x}, expect: {outcome: delivered}}
    - {label: closed, tcp: {from: default/client, to: "default/web-0:81"}, expect: {outcome: refused}}
    - {label: absent, udp: {from: "default/*", to: "10.244.2.99:9", timeout: 300ms}}
    - {label: ping, ping: {from: default/client, to: "default/web-*"}, expect: {outcome: delivered}}
- {name: more, scale: {deployment/late: 2}}
- name: all are asked
  tcp: {from: default/client, to: "default/late-*:80", send: x}
  expect: {outcome: delivered}
- seen: [{at: default/client/eth0, way: out, after: visitors come, frame: {icmp: {type: 8}}}]
---
{apiVersion: v1, kind: Pod, metadata: {name: client}, spec: {nodeName: node-1, containers: [{name: a}]}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template: {metadata: {labels: {app: web}}, spec: {containers: [{name: a, ports: [{containerPort: 80}]}]}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: late}
spec:
  replicas: 0
  selector: {matchLabels: {app: late}}
  template: {metadata: {labels: {app: late}}, spec: {containers: [{name: a, ports: [{containerPort: 80}]}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {selector: {app: web}, ports: [{port: 80}]}}
"""


@pytest.fixture
def tight(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nearly nothing is held: pieces of a few frames, and one result."""
    real = Capture.stream

    def stream(self: Capture, folder: str | None = None) -> None:
        real(self, folder, held=0, piece=2)

    monkeypatch.setattr(Capture, "stream", stream)
    monkeypatch.setattr(module, "Streamed", partial(Streamed, held=1))
    return


def spooled(done: Run) -> int:
    assert done.cluster.capture is not None
    assert done.cluster.capture.log.spool is not None
    return len(done.cluster.capture.log.spool)


@pytest.mark.usefixtures("tight")
@pytest.mark.parametrize("name", sorted(stories()))
def test_a_story_has_the_same_files(name: str, tmp_path: Path) -> None:
    done = run(story(name), tmp_path, stream=tmp_path)
    if not done.scenario.spec.invariants:
        assert spooled(done) > 0
    made = {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
    there = {path.name: path.read_bytes() for path in (CAPTURES / name).iterdir()}
    assert sorted(made) == sorted(there)
    assert [file for file in made if made[file] != there[file]] == []


@pytest.mark.usefixtures("tight")
def test_traffic_has_the_same_files_labels_and_table(tmp_path: Path) -> None:
    (tmp_path / "many.yaml").write_text(MANY, encoding="utf-8")
    held, streamed = (
        run(tmp_path / "many.yaml", tmp_path / name, stream=stream)
        for name, stream in (("held", None), ("streamed", tmp_path))
    )
    assert spooled(streamed) > 1000
    assert len(streamed.cluster.flows) < len(held.cluster.flows) == 42
    assert held.failures == streamed.failures == []
    assert list(rows(held, "all")) == list(rows(streamed, "all"))
    assert table(held).text == table(streamed).text
    one, other = table(held).data, table(streamed).data
    assert str(one).replace("held/", "streamed/") == str(other).replace("held/", "streamed/")
    files = sorted(path.name for path in (tmp_path / "held" / "many").iterdir())
    assert len(files) > 70
    assert files == sorted(path.name for path in (tmp_path / "streamed" / "many").iterdir())
    for file in files:
        assert (tmp_path / "held" / "many" / file).read_bytes() == (tmp_path / "streamed" / "many" / file).read_bytes()


STEADY = """\
apiVersion: emu/v1
kind: Scenario
metadata: {name: steady}
cluster: {nodes: 2}
steps:
- traffic: {flows: 400, arrivals: {constant: 2s}, mix: [{tcp: {from: default/client, to: "svc/web:80", send: x}, expect: {outcome: delivered}}]}
---
""" + MANY.partition("---\n")[2]


@pytest.mark.usefixtures("tight")
@pytest.mark.parametrize("results", [True, False])
def test_objects_do_not_grow_with_flows(results: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After 100 flows, when those of the first minutes have left TIME_WAIT, there are as many as after 400."""
    (tmp_path / "steady.yaml").write_text(STEADY, encoding="utf-8")
    monkeypatch.setattr("emu.scenario.results.TOGETHER", 4)
    alive: dict[str, Counter[str]] = {}

    def progress(done: int, of: int, what: str) -> None:
        if what in ("traffic, 100 flows", "traffic, 400 flows"):
            for each in gc.get_objects():
                if isinstance(each, Conntrack):
                    each.sweep()
            gc.collect()
            alive[what] = Counter(str(type(each)) for each in gc.get_objects())

    done = run(tmp_path / "steady.yaml", stream=tmp_path, progress=progress, results=results)
    assert done.checks == done.cluster.flow_count == 400
    assert spooled(done) > 20_000
    first, last = alive.values()
    assert sum((last - first).values()) < 100, (last - first).most_common(5)
