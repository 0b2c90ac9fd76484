"""Streams of up to 100 kB, frame by frame as a Linux 6.18 sent and received them at the client's device.

`streams/APP-BYTES-WHERE.txt` holds what the kernel did most often in eight runs on an idle CPU, with offloads off.
`node-1-lose-3`: the link of node-1 loses its fourth frame, `node-1-lose-0+1` its first two; `node-2-mtu-1300`: that of
node-2 is narrow. All runs of these were alike, also on a busy CPU.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import emu
from emu.wire.frame import TCP
from emu.wire.summary import read
from emu.wire.tcp import ACK, FIN, PSH, RST, SYN

RECORDED = sorted(Path(__file__).with_name("streams").glob("*.txt"))
PODS = """apiVersion: v1
kind: Pod
metadata: {{name: client}}
spec: {{nodeName: node-1, containers: [{{name: app}}]}}
---
apiVersion: v1
kind: Pod
metadata: {{name: web, labels: {{app: web}}, annotations: {{emu/app: "{app}@7"}}}}
spec: {{nodeName: {node}, containers: [{{name: app, ports: [{{containerPort: 7}}]}}]}}
"""
LETTERS = ((FIN, "F"), (SYN, "S"), (RST, "R"), (PSH, "P"), (ACK, "A"))


def test_all_sizes_are_recorded() -> None:
    assert len(RECORDED) == 32


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_a_stream_is_the_kernels(path: Path, tmp_path: Path) -> None:
    app, size, where = path.stem.split("-", 2)
    node = "node-1" if where == "same-node" else "node-2"
    impaired = re.fullmatch(r"(node-\d)-(lose|mtu)-([\d+]+)", where)
    manifest = tmp_path / "pods.yaml"
    manifest.write_text(PODS.format(app=app, node=node))
    config = emu.ClusterConfig.of(2, sysctls={"net.ipv4.tcp_timestamps": 0})
    cluster = emu.Cluster(config, emu.load([str(manifest)]).objects)
    if impaired is not None:
        for _ in range(2):
            cluster.ping("default/client", "default/web")
        numbers = [int(number) for number in impaired[3].split("+")]
        if impaired[2] == "lose":
            cluster.link(impaired[1], lose=numbers)
        else:
            cluster.link(impaired[1], mtu=numbers[0])
    flow = cluster.tcp("default/client", "default/web:7", b"s" * int(size), timeout_s=9 if impaired else 1.5)
    first: dict[str, int] = {}
    lines = []
    for frame in flow.frames:
        if frame.interface != "default/client/eth0" or (tcp := read(frame.data)).proto != TCP:
            continue
        way = frame.direction
        seq = (tcp.seq - first.setdefault(way, tcp.seq)) & 0xFFFFFFFF
        ack = (tcp.ack - first["in" if way == "out" else "out"]) & 0xFFFFFFFF if tcp.flags & ACK else 0
        flags = "".join(letter for bit, letter in LETTERS if tcp.flags & bit)
        lines.append(f"{way} {flags} seq={seq} ack={ack} win={tcp.window} len={tcp.size}")
    assert lines == path.read_text().splitlines()
