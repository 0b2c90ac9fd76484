"""Frames a second and memory of a replay: a capture of many TCP sessions, made in a temporary folder, through a Service.

    tools/bench replay [FRAMES [MODE]]      1,000,000 frames and the mode stateful, if none are given

A tenth of the frames is replayed first, so that it shows whether memory grows with the capture.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from pathlib import Path

from emu.capture import pcap
from emu.capture.reader import reading
from emu.clock import MS
from emu.kube.api.loader import load_text
from emu.kube.cluster import Cluster
from emu.kube.flow.replay.engine import Replay, Settings
from emu.kube.flow.replay.hosts import roles
from emu.report.replay import Collected
from emu.wire import tcp, templates
from emu.wire.addr import ip4
from emu.wire.tcp import ACK, FIN, PSH, SYN

CLIENT, SERVER = ip4("198.51.100.1"), ip4("198.51.100.2")
TURNS = 10  # requests of a session, each with its answer
PODS = """\
{apiVersion: v1, kind: Pod, metadata: {name: client}, spec: {nodeName: node-1, containers: [{name: a}]}}
---
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec: {nodeName: node-2, containers: [{name: a, ports: [{containerPort: 80}]}]}
---
{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {selector: {app: web}, ports: [{port: 80}]}}
"""


def session(number: int) -> list[bytes]:
    """The frames of one session, each direction acknowledging the other."""
    port, sent = 10_000 + number % 50_000, {True: number * 7 & 0xFFFFFFF, False: number * 11 & 0xFFFFFFF}
    frames: list[bytes] = []

    def add(client: bool, flags: int, data: bytes = b"") -> None:
        ends = (CLIENT, SERVER, port, 80) if client else (SERVER, CLIENT, 80, port)
        made = tcp.build(
            templates.TCP, *ends, seq=sent[client], ack=sent[not client] if flags & ACK else 0, flags=flags,
            window=64240, options=b"", payload=data, ident=0, ttl=64, tos=0, flow=0, trail=None,
        )  # fmt: skip
        sent[client] += len(data) + bool(flags & (SYN | FIN))
        frames.append(bytes(made.buf))

    add(True, SYN)
    add(False, SYN | ACK)
    add(True, ACK)
    for _ in range(TURNS):
        add(True, PSH | ACK, b"GET / HTTP/1.1\r\n\r\n" * 5)
        add(False, ACK)
        add(False, PSH | ACK, b"x" * 900)
        add(True, ACK)
    add(True, FIN | ACK)
    add(False, FIN | ACK)
    add(True, ACK)
    return frames


def make(path: Path, frames: int) -> int:
    """Write at least so many frames; gives how many."""
    count, number = 0, 0
    with pcap.create(path, force=True) as writer:
        while count < frames:
            made = session(number)
            start_ns = number * 20 * MS
            writer.write_packets([(start_ns + index * MS // 10, frame) for index, frame in enumerate(made)])
            count, number = count + len(made), number + 1
    return count


def main(frames: int, mode: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "many.pcap"
        for share in (frames // 10, frames):
            count = make(path, share)
            cluster = Cluster(2, load_text(PODS).objects, capture=False)
            began_mib = peak_mib()
            replay = Replay(
                cluster, roles((), "default/client", "svc/web:80"), Settings(mode=mode, keep=False), Collected()
            )
            before = time.process_time()
            with reading(path) as capture:
                totals = replay.run(capture)
            cpu_s = time.process_time() - before
            print(
                f"{mode}: {count:,} frames, {totals.flows:,} flows, {totals.differences} differences: {cpu_s:.1f} s of CPU, "
                f"{count / cpu_s:,.0f} frames a second; peak {peak_mib()} MiB, {began_mib} MiB before",
                flush=True,
            )


def peak_mib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    words = sys.argv[1:]
    main(int(words[0].replace(",", "")) if words else 1_000_000, words[1] if len(words) > 1 else "stateful")
