"""How fast the emulator is, beside what it is compared to, in one run on one machine.

Each line of a round is measured in turn, round after round, and the best of each is shown: machines are
noisy, ratios less so. Nothing here is a test. The flow: a warm UDP echo through a Service to a pod on
another node, two network interfaces a hop, ten taps a direction.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import io
import pstats
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import dpkt

from emu import craft
from emu.capture import pcapng
from emu.kube.api.loader import load_text
from emu.kube.cluster import Cluster

ECHOES = 1000
HOPS = 300
MANIFESTS = """
apiVersion: v1
kind: Pod
metadata: {name: client}
spec: {nodeName: node-1, containers: [{name: app}]}
---
apiVersion: v1
kind: Pod
metadata: {name: server, labels: {app: server}}
spec: {nodeName: node-2, containers: [{name: app, ports: [{containerPort: 5454, protocol: UDP}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: echo}
spec: {selector: {app: server}, ports: [{port: 53, targetPort: 5353, protocol: UDP, name: bench}, {port: 54, targetPort: 5454, protocol: UDP, name: app}]}
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
        service = self.cluster.resolve("svc/echo:53", "UDP")
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


def seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def scapy_hop(data: bytes) -> bytes:
    """What a hop costs that thinks in Scapy packets: dissect, route (TTL, MACs), build."""
    packet = craft.dissect(data)
    packet.dst, packet.src = "02:42:c0:a8:34:0c", "02:aa:00:00:00:12"
    ip = packet.payload
    ip.ttl -= 1
    del ip.chksum
    return bytes(packet)


def dpkt_hop(data: bytes) -> bytes:
    """The same with dpkt."""
    ether = dpkt.ethernet.Ethernet(data)
    ether.dst, ether.src = b"\x02\x42\xc0\xa8\x34\x0c", b"\x02\xaa\x00\x00\x00\x12"
    ether.data.ttl -= 1
    ether.data.sum = 0
    return bytes(ether)


def repeat(hop: Callable[[bytes], bytes], data: bytes) -> None:
    for _ in range(HOPS):
        hop(data)


def encode(path: Path, packets: list[pcapng.Packet]) -> None:
    with pcapng.create(path) as writer:
        writer.interface("node-1/eth0")
        writer.write_packets(packets)


def warm(rounds: int) -> None:
    traced, bare = Echo(capture=True), Echo(capture=False)
    capture = traced.cluster.capture
    assert capture is not None
    before = traced.frames()
    traced.run(1)
    per_echo = traced.frames() - before
    sample = capture.frames(flow=1)[-1].data
    best: dict[str, float] = {}
    gc.collect()
    gc.freeze()
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds):
            start = traced.frames()
            times = {
                "walk, taps and trails": seconds(lambda: traced.run(ECHOES)) / (ECHOES * per_echo),
                "walk alone (no capture)": seconds(lambda: bare.run(ECHOES)) / (ECHOES * per_echo),
            }
            frames = capture.frames(flow=1, since=start)
            data: list[pcapng.Packet] = [(0, frame.time_ns, frame.data, 1, None) for frame in frames]
            plain, full = Path(folder) / "plain.pcapng", Path(folder) / "flow.pcapng"
            times["pcapng encoding"] = seconds(partial(encode, plain, data)) / len(data)
            whole = seconds(partial(capture.write, full, flow=1, since=start)) / len(data)
            times["comments, numbers and selection"] = whole - times["pcapng encoding"]
            times["a Scapy hop (dissect, change, build)"] = seconds(partial(repeat, scapy_hop, sample)) / HOPS
            times["a dpkt hop"] = seconds(partial(repeat, dpkt_hop, sample)) / HOPS
            for name, value in times.items():
                best[name] = min(value, best.get(name, value))
    walk = best["walk, taps and trails"]
    print(f"warm UDP echo through a Service, across nodes: {per_echo} captured frames an echo")
    print(f"{'us per captured frame':42}{'us':>9}{'ratio to the walk':>20}")
    for name, value in best.items():
        print(f"{name:42}{value * 1e6:9.2f}{value / walk:20.2f}")
    share = 1 - best["walk alone (no capture)"] / walk
    print(f"taps and trails are {share:.0%} of the walk; goal: 4 us a frame; reached: {walk * 1e6:.2f} us")


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
            "emu run, cold, to files": [sys.executable, "-m", "emu", "run", str(scenario), "-o", f"{folder}/out"],
            "emu --help": [sys.executable, "-m", "emu", "--help"],
            "import scapy.all alone": [sys.executable, "-c", "import scapy.all"],
            "an empty Python": [sys.executable, "-c", "pass"],
        }
        best: dict[str, float] = {}
        for _ in range(rounds):
            for name, command in commands.items():
                took = seconds(partial(subprocess.run, command, check=True, capture_output=True))
                best[name] = min(took, best.get(name, took))
    print(f"\n{'cold start':42}{'s':>9}{'ratio to scapy.all':>20}")
    for name, value in best.items():
        print(f"{name:42}{value:9.2f}{value / best['import scapy.all alone']:20.2f}")


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
