"""A ladder's topology on this machine's own kernel: namespaces of our own, real sockets, a packet ring per namespace.

It shows that the harness itself asks and reads what the measurement did. Needs root, iproute2, iptables and conntrack;
makes namespaces with a prefix of its own and deletes them. Knows nothing of emu.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import random
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from emu.twin.normalise import checksum
from ladder_drive import Address, Seen
from ladder_setup import Port, Setup

SOL_PACKET, PACKET_RX_RING, PACKET_VERSION, TPACKET_V2 = 263, 5, 10, 1
BLOCK, BLOCKS, SLOT = 1 << 16, 64, 8192
DIRECTIONS = {0: "in", 1: "in", 2: "in", 3: "in-other", 4: "out"}
SIOCETHTOOL = 0x8946
OFFLOADS = {"txcsum": 0x17, "sg": 0x19, "tso": 0x1F, "gso": 0x24}  # ETHTOOL_S...
TOOLS = ("ip", "bridge", "iptables-restore", "iptables-save", "conntrack")

_libc = ctypes.CDLL(None, use_errno=True)


def missing() -> str:
    """Why this machine cannot do it, or nothing."""
    if os.geteuid() != 0:
        return "not root"
    if lost := [tool for tool in TOOLS if shutil.which(tool) is None]:
        return f"no {', '.join(lost)} here"
    return "" if Path("/proc/sys/net/bridge").exists() else "no br_netfilter here"


def run(*command: str, text: str | None = None) -> str:
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout


class RealSocket:
    """A socket of this machine with the calls of `ladder_drive.Socket`."""

    def __init__(self, real: socket.socket) -> None:
        self.real = real
        self.bind, self.listen, self.send, self.sendto = real.bind, real.listen, real.send, real.sendto
        self.getsockname, self.close = real.getsockname, real.close

    def connect(self, address: Address, timeout_ns: int) -> None:
        self.real.settimeout(timeout_ns / 1e9 or None)
        self.real.connect(address)

    def accept(self) -> tuple[RealSocket, Address]:
        self.real.settimeout(1)
        real, peer = self.real.accept()
        return RealSocket(real), peer

    def recv(self, size: int, timeout_ns: int) -> bytes:
        self.real.settimeout(timeout_ns / 1e9 or 1)
        return self.real.recv(size)

    def recvfrom(self, size: int) -> tuple[bytes, Address]:
        self.real.settimeout(1)
        return self.real.recvfrom(size)


class Ring:
    """Every frame at every tap of the namespace we are in, copied by the kernel when seen (PACKET_RX_RING)."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))  # ETH_P_ALL
        self.socket.setsockopt(SOL_PACKET, PACKET_VERSION, TPACKET_V2)
        slots = BLOCK * BLOCKS // SLOT
        self.socket.setsockopt(SOL_PACKET, PACKET_RX_RING, struct.pack("IIII", BLOCK, BLOCKS, SLOT, slots))
        self.memory = mmap.mmap(self.socket.fileno(), BLOCK * BLOCKS)
        self.slots, self.next = slots, 0
        self.names = dict(socket.if_nameindex())

    def take(self) -> Iterator[tuple[tuple[int, int], Seen]]:
        while True:
            at = self.next * SLOT
            status, _, size, mac, _, seconds, nanoseconds = struct.unpack_from("IIIHHII", self.memory, at)
            if not status & 1:
                return
            ifindex, _, kind = struct.unpack_from("iHB", self.memory, at + 32 + 4)
            name = self.names[ifindex]
            if not (name == "lo" and kind == 4):
                data = self.memory[at + mac : at + mac + size]
                yield (seconds, nanoseconds), Seen(f"{self.namespace}:{name}", DIRECTIONS[kind], data)
            struct.pack_into("I", self.memory, at, 0)
            self.next = (self.next + 1) % self.slots


class KernelWorld:
    """A `ladder_drive.World`. `seen` is complete up to the last `wait` or `table`."""

    def __init__(self, setup: Setup) -> None:
        self.setup, self.prefix = setup, f"ladder{os.getpid()}-"
        self.seen: list[Seen] = []
        self.rings: list[Ring] = []
        self.home = os.open("/proc/self/ns/net", os.O_RDONLY)
        # all of an exchange then happens inside one call, on one CPU, in one order
        self.cpus = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(self.cpus)})
        try:
            for namespace in setup.namespaces:
                run("ip", "netns", "add", self.prefix + namespace)
                with self.inside(namespace):
                    for key in ("all", "default"):
                        Path(f"/proc/sys/net/ipv6/conf/{key}/disable_ipv6").write_text("1")
            for port, device in setup.devices():
                self._device(port, device)
            for namespace in setup.namespaces:
                self._settings(namespace)
            time.sleep(0.2)  # links come up in a worker
            self.flush()
            for namespace in setup.namespaces:
                with self.inside(namespace):
                    self.rings.append(Ring(namespace))
        except BaseException:
            self.close()
            raise

    @contextmanager
    def inside(self, namespace: str) -> Iterator[None]:
        there = os.open(f"/run/netns/{self.prefix}{namespace}", os.O_RDONLY)
        try:
            assert _libc.setns(there, 0x40000000) == 0
            yield
        finally:
            os.close(there)
            assert _libc.setns(self.home, 0x40000000) == 0

    def ip(self, namespace: str, *words: str) -> str:
        return run("ip", "-n", self.prefix + namespace, *words)

    def _device(self, port: Port, device: dict[str, object]) -> None:
        namespace, name, kind, mac = port.namespace, port.device, device["kind"], str(device["mac"])
        if kind == "bridge":
            self.ip(namespace, "link", "add", name, "address", mac, "type", "bridge", "mcast_snooping", "0")
        elif kind == "veth":
            far = self.setup.cable(port)
            if not self._exists(port):
                peer = ("peer", "name", far.device, "netns", self.prefix + far.namespace)
                self.ip(namespace, "link", "add", name, "type", "veth", *peer)
            self.ip(namespace, "link", "set", name, "address", mac)
        if kind != "loopback":
            self.ip(namespace, "link", "set", name, "mtu", str(device["mtu"]))
            with self.inside(namespace), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
                for command in () if self.setup.offload else OFFLOADS.values():
                    value = ctypes.create_string_buffer(struct.pack("II", command, 0))
                    request = struct.pack("16sP", name.encode(), ctypes.addressof(value))
                    with suppress(OSError):  # a bridge has not all of them
                        fcntl.ioctl(any_socket, SIOCETHTOOL, request)
            addresses = device.get("addresses", [])
            assert isinstance(addresses, list)
            for address in addresses:
                self.ip(namespace, "addr", "add", address, "dev", name)

    def _exists(self, port: Port) -> bool:
        with self.inside(port.namespace):
            return port.device in [name for _, name in socket.if_nameindex()]

    def _settings(self, namespace: str) -> None:
        made = self.setup.namespaces[namespace]
        with self.inside(namespace):
            for key, value in made["sysctls"].items():
                Path("/proc/sys", *key.split(".")).write_text(value)
        bridges = {device["name"]: device["master"] for device in made["devices"] if "master" in device}
        for name in made.get("ports_in_attach_order", []):
            self.ip(namespace, "link", "set", name, "master", bridges[name])
        for device in made["devices"]:
            self.ip(namespace, "link", "set", device["name"], "up")
            if device.get("hairpin"):
                run("bridge", "-n", self.prefix + namespace, "link", "set", "dev", device["name"], "hairpin", "on")
        for rule in made.get("policy", []):
            self.ip(namespace, "rule", "add", *rule.split())
        for route in self.setup.routes(namespace):
            self.ip(namespace, "route", "add", *route.split())
        if "iptables_save" in made:
            run("ip", "netns", "exec", self.prefix + namespace, "iptables-restore", text=made["iptables_save"])

    def wait(self, delay_ns: int) -> None:
        time.sleep(delay_ns / 1e9)
        self._collect()

    def _collect(self) -> None:
        """Merge the rings by time; within a ring its own order rules, for a frame handed up keeps its old time."""
        marked: list[tuple[tuple[int, int], Seen]] = []
        for ring in self.rings:
            latest = (0, 0)
            for at, seen in ring.take():
                latest = max(latest, at)
                marked.append((latest, seen))
        marked.sort(key=lambda item: item[0])
        self.seen += [seen for _, seen in marked]

    def flush(self) -> None:
        for namespace, made in self.setup.namespaces.items():
            self.ip(namespace, "neigh", "flush", "all")
            self.ip(namespace, "route", "flush", "cache")
            run("ip", "netns", "exec", self.prefix + namespace, "conntrack", "-F")
            for device in made["devices"]:
                if device["kind"] == "bridge":
                    for entry in self.table(namespace, f"fdb {device['name']}"):
                        mac, _, port, *_ = entry.split()
                        run("bridge", "-n", self.prefix + namespace, "fdb", "del", mac, "dev", port, "master")

    def tcp(self, namespace: str) -> RealSocket:
        with self.inside(namespace):
            return RealSocket(socket.socket(socket.AF_INET, socket.SOCK_STREAM))

    def udp(self, namespace: str) -> RealSocket:
        with self.inside(namespace):
            return RealSocket(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))

    def ping(self, namespace: str, target: str, count: int, interval_ns: int) -> list[str]:
        """As the tool does it, over a raw socket: many a machine has no `ping`."""
        ident, replies, got = random.randrange(1, 0x10000), [], 0
        with self.inside(namespace):
            raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        begin = time.monotonic()
        for seq in range(1, count + 1):
            time.sleep(max(0.0, begin + (seq - 1) * interval_ns / 1e9 - time.monotonic()))
            echo = struct.pack("!BBHHH", 8, 0, 0, ident, seq) + bytes(56)
            raw.sendto(echo[:2] + struct.pack("!H", checksum(echo)) + echo[4:], (target, 0))
            raw.settimeout(1.0)
            with suppress(TimeoutError):
                while True:
                    packet, (source, _) = raw.recvfrom(65536)
                    if packet[20:22] == b"\0\0" and packet[24:28] == struct.pack("!HH", ident, seq):
                        break
                replies.append(f"{len(packet) - 20} bytes from {source}: icmp_seq={seq} ttl={packet[8]} time=X")
                got += 1
        raw.close()
        lost = f"{100 - 100 * got // count}% packet loss"
        return [
            *replies,
            f"--- {target} ping statistics ---",
            f"{count} packets transmitted, {got} received, {lost}, time X",
        ]

    def ping_large(self, namespace: str, target: str, size: int, *, whole: bool) -> str:
        ident = random.randrange(1, 0x10000)
        with self.inside(namespace):
            raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        if whole:
            raw.setsockopt(socket.IPPROTO_IP, 10, 2)  # IP_MTU_DISCOVER, IP_PMTUDISC_DO
        echo = struct.pack("!BBHHH", 8, 0, 0, ident, 1) + bytes(size)
        raw.settimeout(0.3)
        try:
            raw.sendto(echo[:2] + struct.pack("!H", checksum(echo)) + echo[4:], (target, 0))
            while True:
                packet, (source, _) = raw.recvfrom(65536)
                if packet[20:22] == b"\0\0" and packet[24:28] == struct.pack("!HH", ident, 1):
                    return f"{len(packet) - 20} bytes from {source}: ttl={packet[8]}"
        except OSError as error:
            return errno.errorcode[error.errno] if error.errno else "nothing"
        finally:
            raw.close()

    def send_raw(self, namespace: str, packet: bytes) -> None:
        with self.inside(namespace), socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
            raw.sendto(packet, (socket.inet_ntoa(packet[16:20]), 0))

    def delete_route(self, namespace: str, route: str) -> None:
        self.ip(namespace, "route", "del", *route.split())

    def table(self, namespace: str, what: str) -> list[str]:
        name = self.prefix + namespace
        if what == "conntrack":
            text = run("ip", "netns", "exec", name, "conntrack", "-L", "-o", "extended")
        elif what == "rules":
            text = run("ip", "netns", "exec", name, "iptables-save")
        elif what.startswith("fdb "):
            text = run("bridge", "-n", name, "fdb", "show", "br", what[4:], "dynamic")
        else:
            text = self.ip(namespace, *what.split())
        return [" ".join(line.split("\t")).strip() for line in text.splitlines() if not line.startswith("#")]

    def close(self) -> None:
        for ring in self.rings:
            ring.socket.close()
        for namespace in self.setup.namespaces:
            subprocess.run(["ip", "netns", "del", self.prefix + namespace], capture_output=True, check=False)
        os.close(self.home)
        os.sched_setaffinity(0, self.cpus)
