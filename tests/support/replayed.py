"""A replay in a small cluster: what a test asks of it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from emu.capture.reader import Capture, reading
from emu.kube.api.loader import load_text
from emu.kube.cluster import Cluster, ClusterConfig
from emu.kube.flow.replay.engine import Replay, Settings, Totals
from emu.kube.flow.replay.hosts import roles
from emu.kube.flow.replay.paired import FlowResult, Paired

DATA = Path(__file__).parents[1] / "data" / "replay"
PODS = """\
{apiVersion: v1, kind: Pod, metadata: {name: client}, spec: {nodeName: node-1, containers: [{name: a}]}}
---
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec: {nodeName: node-2, containers: [{name: a, ports: [{containerPort: 80}, {containerPort: 53, protocol: UDP}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  clusterIP: 10.96.0.100
  selector: {app: web}
  ports: [{name: web, port: 80}, {name: dns, port: 53, protocol: UDP}]
---
apiVersion: v1
kind: Service
metadata: {name: closed}
spec: {selector: {app: web}, ports: [{port: 81, targetPort: 8081}]}
"""


class Seen:
    """A sink that keeps everything."""

    def __init__(self) -> None:
        self.packets: list[Paired] = []
        self.flows: list[FlowResult] = []
        self.totals = Totals()

    def packet(self, found: Paired) -> None:
        self.packets.append(found)

    def flow(self, found: FlowResult) -> None:
        self.flows.append(found)

    @property
    def verdicts(self) -> dict[str, int]:
        return dict(self.totals.counts)


def cluster(*, capture: bool = False, network: str = "bridge") -> Cluster:
    return Cluster(ClusterConfig.of(2, network=network), load_text(PODS).objects, capture=capture)


def replay(
    where: Cluster, what: str | bytes, client: str = "default/client", server: str = "", **settings: Any
) -> Seen:
    """Replay a capture of tests/data/replay, or bytes of one."""
    seen = Seen()
    maps = settings.pop("maps", ())
    run = Replay(where, roles(maps, client, server), Settings(**{"keep": where.capture is not None, **settings}), seen)
    if isinstance(what, bytes):
        seen.totals = run.run(Capture(io.BytesIO(what), "x"))
    else:
        with reading(DATA / f"{what}.pcap") as capture:
            seen.totals = run.run(capture)
    assert sorted(each.number for each in seen.packets) == [*range(1, seen.totals.packets + 1)]  # each packet once
    return seen


def conserved(where: Cluster) -> bool:
    """Has every packet that came into being ended, or does it wait?"""
    tallies = [net.tally() for net in where.namespaces.values()]
    entered, ended, waiting = (sum(column) for column in zip(*tallies, strict=True))
    return bool(entered == ended + waiting)
