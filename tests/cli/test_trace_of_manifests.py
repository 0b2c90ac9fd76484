"""Commands that run a flow in a cluster of manifests: what they print and write is that of a cluster with all frames since its start."""

from __future__ import annotations

from pathlib import Path

import pytest

from emu.cli import main
from emu.kube.cluster import Cluster
from emu.report.trace import trace
from put_off import asleep

SHOP = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 30
  selector: {matchLabels: {app: web}}
  template: {metadata: {labels: {app: web}}, spec: {containers: [{name: c, ports: [{containerPort: 80}]}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {selector: {app: web}, ports: [{port: 80}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: client}, spec: {nodeName: node-2, containers: [{name: c}]}}
"""
STORY = """
apiVersion: emu/v1
kind: Scenario
metadata: {name: story}
cluster: {nodes: 2}
steps:
- ping: {from: default/client, to: node/node-1}
- seen: [{at: default/client/eth0, way: out, frame: {icmp: {type: 8}}}, {at: default/client/eth0, frame: {arp: {psrc: 10.244.2.2, pdst: 10.244.2.2}}}]
---
{apiVersion: v1, kind: Pod, metadata: {name: client}, spec: {nodeName: node-2, containers: [{name: c}]}}
"""


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Cluster]:
    """The clusters that commands make."""
    found: list[Cluster] = []
    init = Cluster.__init__

    def noted(self: Cluster, *args: object, **named: object) -> None:
        init(self, *args, **named)  # type: ignore[arg-type]
        found.append(self)

    monkeypatch.setattr(Cluster, "__init__", noted)
    return found


@pytest.mark.pure("a compiled caller does not look the replaced function up")
@pytest.mark.parametrize("target", ["svc/web:80", "node/node-5", "external:9", "10.244.3.99"])
def test_a_flow_among_many_nodes(
    target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], made: list[Cluster]
) -> None:
    file = tmp_path / "shop.yaml"
    file.write_text(SHOP, encoding="utf-8")
    written = [tmp_path / name for name in ("mine.pcapng", "theirs.pcapng")]
    asked = ["trace", "-S", "default/client", "-D", target, "-f", str(file), "--nodes", "8"]
    assert main([*asked, "-w", str(written[0])]) == 0
    mine = capsys.readouterr().out
    (cluster,) = made
    assert len(asleep(cluster)) >= 6
    whole = Cluster(8, SHOP)
    theirs = trace(whole, "default/client", target)
    whole.write(written[1], flow=theirs.flow)
    assert mine.endswith(f"\n\n{theirs.report.text}\n")
    assert written[0].read_bytes() == written[1].read_bytes()


@pytest.mark.pure("a compiled caller does not look the replaced function up")
def test_a_view_of_one_node(tmp_path: Path, capsys: pytest.CaptureFixture[str], made: list[Cluster]) -> None:
    file = tmp_path / "shop.yaml"
    file.write_text(SHOP, encoding="utf-8")
    assert main(["show", "fdb", "node-2", "-f", str(file), "--nodes", "8"]) == 0
    assert len(asleep(made[0])) == 7 and capsys.readouterr().out.count("dev veth") > 3


@pytest.mark.parametrize(
    "words",
    [
        "trace -S default/client -D node/node-1",
        "why -S default/client -D node/node-1",
        "get pods",
        "show routes node-1",
        "matrix",
    ],
)
def test_a_scenario_that_looks_for_frames_has_them(
    words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also those of the build, whatever the command needs itself."""
    file = tmp_path / "story.yaml"
    file.write_text(STORY, encoding="utf-8")
    assert main([*words.split(), "-f", str(file)]) == 0, capsys.readouterr().err
