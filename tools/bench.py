"""How fast the emulator is, beside other ways to process a packet, in one run on one machine.

All lines are measured in turn, in CPU time, in several rounds. The best and the median are shown, and
ratios within a round: these depend less on other work on the machine. Nothing here is a test. The flows: a warm UDP
echo and a warm TCP flow through a Service to a pod on another node, two network interfaces for each hop, ten taps for
each direction. And TCP flows among many pairs of pods on several nodes, whose addresses, MACs, interfaces and rules differ.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import io
import os
import pstats
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median

import dpkt

import bench_kernel
import bench_ns3
from emu import craft
from emu.capture import pcapng
from emu.kube.api.loader import load_text
from emu.kube.cluster import Cluster

ECHOES, TALKS, HOPS = 1000, 40, 300
WALK, BARE = "UDP echo: walk, taps and trails", "UDP echo: walk alone (no capture)"
FILE = "UDP echo: its file, with comments"
NS3, NS3_BARE = "ns-3: UDP echo, its pcap files", "ns-3: UDP echo, no capture"
KERNEL, KERNEL_BARE = "this kernel: UDP echo, tcpdump everywhere", "this kernel: UDP echo, no capture"
OPEN_WALK = "TCP echo on an open connection: walk"
TCP_WALK, TCP_FILE = "TCP flow: walk, taps and trails", "TCP flow: files of many flows, comments"
PAIRS_WALK, PAIRS_FILE = "TCP flows of many pairs of pods: walk", "TCP flows of many pairs: file, comments"
NODES, PODS, SERVICES, FLOWS = 6, 60, 6, 60
MANIFESTS = """
apiVersion: v1
kind: Pod
metadata: {name: client}
spec: {nodeName: node-1, containers: [{name: app}]}
---
apiVersion: v1
kind: Pod
metadata: {name: server, labels: {app: server}}
spec: {nodeName: node-2, containers: [{name: app, ports: [{containerPort: 5454, protocol: UDP}, {containerPort: 8080}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: echo}
spec: {selector: {app: server}, ports: [{port: 54, targetPort: 5454, protocol: UDP, name: app}, {port: 80, targetPort: 8080, name: web}]}
---
apiVersion: v1
kind: Service
metadata: {name: bench}  # to a port that no program listens on: the bench does
spec: {selector: {app: server}, ports: [{port: 53, targetPort: 5353, protocol: UDP, name: udp}, {port: 53, targetPort: 5353, name: tcp}]}
"""
SCENARIO = """
apiVersion: emu/v1
kind: Scenario
metadata: {name: bench}
cluster: {nodes: 2}
steps:
- udp: {from: default/client, to: "svc/echo:54", send: ping}
  expect: {outcome: delivered}
---
"""


class Echo:
    """The warm flow: `run(n)` sends n datagrams there and back."""

    def __init__(self, *, capture: bool) -> None:
        self.cluster = Cluster(2, load_text(MANIFESTS).objects, capture=capture)
        self.server = self.cluster.pod("default/server").net.sockets.udp()
        self.server.bind(("0.0.0.0", 5353))
        service = self.cluster.resolve("svc/bench:53", "UDP")
        self.client = self.cluster.pod("default/client").net.sockets.udp(flow=1)
        self.client.connect((service.addr, service.port))
        self.run(50)

    def run(self, count: int) -> None:
        client, server = self.client, self.server
        for _ in range(count):
            client.send(b"ping")
            data, sender = server.recvfrom()
            server.sendto(data, sender)
            client.recvfrom()

    def frames(self) -> int:
        capture = self.cluster.capture
        return 0 if capture is None else capture.log.index()


class Open:
    """An echo on an open TCP connection: `run(n)` sends n requests, each a segment there and one back, which carry the acknowledgements."""

    def __init__(self) -> None:
        self.cluster = Cluster(2, load_text(MANIFESTS).objects)
        listener = self.cluster.pod("default/server").net.sockets.tcp()
        listener.bind(("0.0.0.0", 5353))
        listener.listen()
        service = self.cluster.resolve("svc/bench:53", "TCP")
        self.client = self.cluster.pod("default/client").net.sockets.tcp(flow=1)
        self.client.connect((service.addr, service.port))
        self.server = listener.accept()
        self.run(50)

    def run(self, count: int) -> None:
        client, server = self.client, self.server
        for _ in range(count):
            client.send(b"ping")
            server.send(server.recv())
            client.recv()

    def frames(self) -> int:
        capture = self.cluster.capture
        return 0 if capture is None else capture.log.index()


class Talk:
    """A warm TCP flow: `run(n)` connects n times, sends one byte, receives it back, closes."""

    def __init__(self, *, capture: bool) -> None:
        self.cluster = Cluster(2, load_text(MANIFESTS).objects, capture=capture)
        self.target = self.cluster.resolve("svc/echo:80", "TCP")
        self.run(3)

    def run(self, count: int) -> None:
        for _ in range(count):
            flow = self.cluster.tcp("default/client", self.target, b"x")
            assert flow.received == b"x"

    def frames(self) -> int:
        capture = self.cluster.capture
        return 0 if capture is None else capture.log.index()


class Pairs:
    """TCP flows among pods on several nodes: each round from and to others, so that addresses, MACs, interfaces and rules differ. ARP is part of it."""

    def __init__(self) -> None:
        pods = [
            f"{{name: pod-{n}, labels: {{app: app-{n % SERVICES}}}}}, spec: {{nodeName: node-{n % NODES + 1}"
            for n in range(PODS)
        ]
        services = [f"{{name: app-{n}}}, spec: {{selector: {{app: app-{n}}}" for n in range(SERVICES)]
        objects = [
            *(f"{{apiVersion: v1, kind: Pod, metadata: {each}, containers: [{{name: app, ports: [{{containerPort: 8080}}]}}]}}}}" for each in pods),
            *(f"{{apiVersion: v1, kind: Service, metadata: {each}, ports: [{{port: 80, targetPort: 8080}}]}}}}" for each in services),
        ]  # fmt: skip
        self.cluster = Cluster(NODES, load_text("\n---\n".join(objects)).objects)
        self.targets = [self.cluster.resolve(f"svc/app-{n}:80", "TCP") for n in range(SERVICES)]
        self.flows = 0

    def run(self, count: int) -> None:
        for n in range(self.flows, self.flows + count):
            flow = self.cluster.tcp(f"default/pod-{n * 7 % PODS}", self.targets[n * 5 % SERVICES], b"x")
            assert flow.received == b"x"
        self.flows += count

    def frames(self) -> int:
        capture = self.cluster.capture
        return 0 if capture is None else capture.log.index()


def seconds(call: Callable[[], object]) -> float:
    """CPU time of this process (user and system): other work on the machine does not count."""
    started = time.process_time()
    call()
    return time.process_time() - started


def scapy_hop(data: bytes) -> bytes:
    """The cost of a hop with Scapy packets: dissect, route (TTL, MACs), build."""
    packet = craft.dissect(data)
    packet.dst, packet.src = "02:42:c0:a8:34:0c", "02:aa:00:00:00:12"
    ip = packet.payload
    ip.ttl -= 1
    del ip.chksum
    return bytes(packet)


def dpkt_hop(data: bytes) -> bytes:
    """The cost of a hop with dpkt."""
    ether = dpkt.ethernet.Ethernet(data)
    ether.dst, ether.src = b"\x02\x42\xc0\xa8\x34\x0c", b"\x02\xaa\x00\x00\x00\x12"
    ether.data.ttl -= 1
    ether.data.sum = 0
    return bytes(ether)


def bytes_hop(data: bytes) -> bytes:
    """The least cost of a hop in Python: MACs, TTL and checksum (RFC 1624) in a bytearray."""
    buf = bytearray(data)
    buf[0:12] = b"\x02\x42\xc0\xa8\x34\x0c\x02\xaa\x00\x00\x00\x12"
    buf[22] -= 1
    total = (buf[24] << 8 | buf[25]) + 0x100
    buf[24:26] = ((total & 0xFFFF) + (total >> 16)).to_bytes(2, "big")
    return bytes(buf)


def repeat(hop: Callable[[bytes], bytes], data: bytes) -> None:
    for _ in range(HOPS):
        hop(data)


def encode(path: Path, packets: list[pcapng.Packet]) -> None:
    with pcapng.create(path) as writer:
        writer.interface("node-1/eth0")
        writer.write_packets(packets)


def warm(rounds: int) -> None:
    echo, bare, talk, pairs = Echo(capture=True), Echo(capture=False), Talk(capture=True), Pairs()
    opened = Open()
    capture, talked, paired = echo.cluster.capture, talk.cluster.capture, pairs.cluster.capture
    assert capture is not None
    assert talked is not None
    assert paired is not None
    before, talk_before = echo.frames(), talk.frames()
    echo.run(1)
    talk.run(1)
    per_echo, per_talk = echo.frames() - before, talk.frames() - talk_before
    sample = capture.frames(flow=1)[-1].data
    rows: dict[str, list[float]] = {}
    gc.collect()
    gc.freeze()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as ending:
        path = Path(folder) / "bench.pcapng"
        kernel = bench_kernel.opened(ending)
        peer, per_peer = bench_ns3.build(Path(folder)), 0
        for _ in range(rounds):
            start, talk_start = echo.frames(), talk.frames()
            took = {
                WALK: seconds(lambda: echo.run(ECHOES)) / (ECHOES * per_echo),
                BARE: seconds(lambda: bare.run(ECHOES)) / (ECHOES * per_echo),
            }
            frames = capture.frames(flow=1, since=start)
            data: list[pcapng.Packet] = [(0, frame.time_ns, frame.data, 1, None) for frame in frames]
            took["  of a file: pcapng without comments"] = seconds(partial(encode, path, data)) / len(data)
            took[FILE] = seconds(partial(capture.write, path, flow=1, since=start)) / len(data)
            open_start = opened.frames()
            walked = seconds(lambda: opened.run(ECHOES // 2))
            took[OPEN_WALK] = walked / (opened.frames() - open_start)
            took[TCP_WALK] = seconds(lambda: talk.run(TALKS)) / (TALKS * per_talk)
            frame_count = talk.frames() - talk_start
            took[TCP_FILE] = seconds(partial(talked.write, path, since=talk_start)) / frame_count
            pairs_start = pairs.frames()
            walked = seconds(lambda: pairs.run(FLOWS))
            frame_count = pairs.frames() - pairs_start
            took[PAIRS_WALK] = walked / frame_count
            took[PAIRS_FILE] = seconds(partial(paired.write, path, since=pairs_start)) / frame_count
            if peer is not None:
                for name, captures in ((NS3, Path(folder) / "ns3"), (NS3_BARE, None)):
                    per, per_peer = bench_ns3.echoes(peer, ECHOES, captures)
                    took[name] = per / per_peer
            if kernel is not None:
                for name, captures in ((KERNEL, Path(folder)), (KERNEL_BARE, None)):
                    took[name] = kernel.echo(ECHOES, captures) / bench_kernel.FRAMES
            took["a Scapy hop (dissect, change, build)"] = seconds(partial(repeat, scapy_hop, sample)) / HOPS
            took["a dpkt hop"] = seconds(partial(repeat, dpkt_hop, sample)) / HOPS
            took["a hop on a bytearray"] = seconds(partial(repeat, bytes_hop, sample)) / HOPS
            for name, value in took.items():
                rows.setdefault(name, []).append(value)
    walk = rows[WALK]
    print(f"CPU time in us, {rounds} rounds; ratios are medians of the same round's values")
    print(f"a warm UDP echo through a Service, across nodes: {per_echo} captured frames")
    print(f"a warm TCP flow on the same way (connect, one byte echoed, close): {per_talk} captured frames")
    print(f"{'per captured frame':42}{'best':>9}{'median':>9}{'ratio to the walk':>20}")
    for name, values in rows.items():
        ratio = median(one / other for one, other in zip(values, walk, strict=True))
        print(f"{name:42}{min(values) * 1e6:9.2f}{median(values) * 1e6:9.2f}{ratio:20.2f}")
    print(f"{'per echo, per flow':42}{'best':>9}{'median':>9}")
    peers = [(f"{name} ({per_peer} frames)", per_peer, (name,)) for name in (NS3, NS3_BARE) if name in rows]
    kernels = [(name, bench_kernel.FRAMES, (name,)) for name in (KERNEL, KERNEL_BARE) if name in rows]
    for name, count, parts in (
        *peers,
        *kernels,
        ("a UDP echo: walk, taps and trails", per_echo, (WALK,)),
        ("a UDP echo, with its file", per_echo, (WALK, FILE)),
        ("a TCP flow: walk, taps and trails", per_talk, (TCP_WALK,)),
        ("a TCP flow, with its file", per_talk, (TCP_WALK, TCP_FILE)),
    ):
        sums = [sum(values) * count * 1e6 for values in zip(*(rows[part] for part in parts), strict=True)]
        print(f"{name:42}{min(sums):9.0f}{median(sums):9.0f}")


def profile(lines: int) -> None:
    echo = Echo(capture=True)
    watcher = cProfile.Profile()
    watcher.enable()
    echo.run(ECHOES)
    watcher.disable()
    out = io.StringIO()
    pstats.Stats(watcher, stream=out).sort_stats("tottime").print_stats("emu", lines)
    print("\nwhere the walk's time goes (under a profiler, which inflates calls):")
    for line in out.getvalue().splitlines():
        if "(" in line and "emu" in line:
            number, total, _per, _cumulative, _per2, place = line.split(None, 5)
            print(f"  {float(total) / ECHOES * 1e6:7.2f} us an echo  {number:>8} calls  {place.rpartition('emu/')[2]}")


def cold(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        scenario = Path(folder) / "bench.yaml"
        scenario.write_text(SCENARIO + MANIFESTS, encoding="utf-8")
        commands = {
            "emu run, cold, to files": [sys.executable, "-m", "emu", "run", str(scenario), "-d", f"{folder}/out"],
            "emu --help": [sys.executable, "-m", "emu", "--help"],
            "emu validate": [sys.executable, "-m", "emu", "validate", str(scenario)],
            "import scapy.all alone": [sys.executable, "-c", "import scapy.all"],
            "an empty Python": [sys.executable, "-c", "pass"],
        }
        rows: dict[str, list[float]] = {}
        # As installed: what was imported before lies there compiled, whatever the caller's settings are.
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": f"{folder}/compiled"}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        for command in commands.values():
            of_child(command, environment)
        for _ in range(rounds):
            for name, command in commands.items():
                rows.setdefault(name, []).append(of_child(command, environment))
    print(f"\n{'cold start, CPU time in s':42}{'best':>9}{'median':>9}{'ratio to scapy.all':>20}")
    scapy = rows["import scapy.all alone"]
    for name, values in rows.items():
        ratio = median(one / other for one, other in zip(values, scapy, strict=True))
        print(f"{name:42}{min(values):9.2f}{median(values):9.2f}{ratio:20.2f}")


def of_child(command: list[str], environment: dict[str, str]) -> float:
    """CPU time of a command, its own children included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--profile", type=int, default=16, metavar="LINES", help="lines of profile to show (0: none)")
    options = parser.parse_args()
    warm(options.rounds)
    if options.profile:
        profile(options.profile)
    cold(max(2, options.rounds // 2))


if __name__ == "__main__":
    main()
