"""The bench's echo on this machine's kernel: the same way in network namespaces, DNAT by iptables, tcpdump on every interface.

Needs root, ip, iptables and tcpdump. What is counted is the CPU time of all its processes, the two ends included: what the kernel does
for a packet is done in the process that sends it. The namespaces have names of their own and are removed.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

NEEDED = ("ip", "iptables", "tcpdump")
FEW = 100  # echoes of a run that costs little but its start
FRAMES = 20  # captured an echo
SERVICE, SERVER = ("10.96.0.10", 53), ("10.244.2.2", 5353)
SERVE = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("0.0.0.0", 5353))
print("ready", flush=True)
while True:
    data, peer = s.recvfrom(100)
    if data == b"stop":
        break
    s.sendto(data, peer)
"""
ASK = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(5)
s.connect(("10.96.0.10", 53))
for _ in range(int(sys.argv[1])):
    s.send(b"ping")
    assert s.recv(100) == b"ping"
s.send(b"stop")
"""


class Kernel:
    """The namespaces client, node1, router, node2, server."""

    def __init__(self) -> None:
        self._prefix = f"emubench{os.getpid()}"
        self.interfaces: list[tuple[str, str]] = []
        self._start: dict[bool, float] = {}

    def make(self) -> None:
        for space in ("client", "node1", "router", "node2", "server"):
            self._run("ip", "netns", "add", self._name(space))
            self.inside(space, "ip", "link", "set", "lo", "up")
        self._cable("client", "eth0", "node1", "veth0")
        self._cable("node1", "eth0", "router", "port1")
        self._cable("node2", "eth0", "router", "port2")
        self._cable("server", "eth0", "node2", "veth0")
        for node, end, gateway, own, far, router in (
            ("node1", "client", "10.244.1.1", "192.168.51.11", "10.244.2.0/24", ("port1", "192.168.51.1")),
            ("node2", "server", "10.244.2.1", "192.168.52.12", "10.244.1.0/24", ("port2", "192.168.52.1")),
        ):
            self.inside(node, "ip", "link", "add", "cbr0", "type", "bridge")
            self.inside(node, "ip", "link", "set", "veth0", "master", "cbr0")
            self.inside(node, "ip", "link", "set", "cbr0", "up")
            self.interfaces.append((node, "cbr0"))
            self.inside(node, "ip", "addr", "add", f"{gateway}/24", "dev", "cbr0")
            self.inside(node, "ip", "addr", "add", f"{own}/24", "dev", "eth0")
            self.inside("router", "ip", "addr", "add", f"{router[1]}/24", "dev", router[0])
            self.inside(node, "ip", "route", "add", far, "via", router[1])
            self.inside("router", "ip", "route", "add", gateway[:-1] + "0/24", "via", own)
            self.inside(end, "ip", "addr", "add", gateway[:-1] + "2/24", "dev", "eth0")
            self.inside(end, "ip", "route", "add", "default", "via", gateway)
        for space in ("node1", "router", "node2"):
            self.inside(space, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        dnat = [
            "-p",
            "udp",
            "-d",
            SERVICE[0],
            "--dport",
            str(SERVICE[1]),
            "-j",
            "DNAT",
            "--to",
            f"{SERVER[0]}:{SERVER[1]}",
        ]
        self.inside("node1", "iptables", "-w", "-t", "nat", "-A", "PREROUTING", *dnat)

    def remove(self) -> None:
        for space in ("client", "node1", "router", "node2", "server"):
            subprocess.run(["ip", "netns", "del", self._name(space)], check=False, capture_output=True)

    def _name(self, space: str) -> str:
        return f"{self._prefix}{space}"

    @staticmethod
    def _run(*words: str) -> None:
        subprocess.run(words, check=True, capture_output=True)

    def _words(self, space: str, *words: str) -> list[str]:
        return ["ip", "netns", "exec", self._name(space), *words]

    def inside(self, space: str, *words: str) -> None:
        self._run(*self._words(space, *words))

    def _cable(self, one: str, device: str, other: str, peer: str) -> None:
        ends = ["netns", self._name(one), "type", "veth", "peer", "name", peer, "netns", self._name(other)]
        self._run("ip", "link", "add", device, *ends)
        for space, name in ((one, device), (other, peer)):
            self.inside(space, "ip", "link", "set", name, "up")
            self.interfaces.append((space, name))

    def echo(self, count: int, folder: Path | None) -> float:
        """CPU seconds an echo, of `count` echoes captured into a folder or not; what the processes' start costs is left out."""
        if (folder is None) not in self._start:
            self._start[folder is None] = self._echoes(FEW, folder)
        return (self._echoes(FEW + count, folder) - self._start[folder is None]) / count

    def _echoes(self, count: int, folder: Path | None) -> float:
        """CPU seconds of all processes of a run."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        shown = self.interfaces if folder is not None else []
        watching = [
            subprocess.Popen(
                self._words(space, "tcpdump", "-i", device, "-n", "-w", f"{folder}/{space}-{device}.pcap", "udp"),
                stderr=subprocess.DEVNULL,
            )
            for space, device in shown
        ]
        if watching:
            time.sleep(1)  # until all of them listen
        server = subprocess.Popen(self._words("server", sys.executable, "-c", SERVE), stdout=subprocess.PIPE)
        assert server.stdout is not None
        server.stdout.readline()
        self._run(*self._words("client", sys.executable, "-c", ASK, str(count)))
        server.wait()
        if watching:
            time.sleep(1)  # until they have written the last frames
        for each in watching:
            each.terminate()
            each.wait()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def opened(ending: ExitStack) -> Kernel | None:
    """The namespaces, until `ending`; None where they cannot be made."""
    if not (hasattr(os, "geteuid") and os.geteuid() == 0 and all(map(shutil.which, NEEDED))):
        return None
    kernel = Kernel()
    ending.callback(kernel.remove)
    try:
        kernel.make()
    except subprocess.CalledProcessError as error:
        print(f"the kernel is left out: {error}")
        return None
    return kernel
