"""Hosts, cables and bridges made by hand, once with `ip` in the kernel's namespaces and once in emu's `Lab`, from the same lines.

A line is a call: its first word the method of a side, the others its words. What both sides saw at each device is
compared as short lines. Must not use emu's own parsers for that: they are judged.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import emu
from emu.errors import SocketError
from emu.kernel import boot
from emu.kernel.net.netns import Netns
from emu.wire.addr import ip4
from linux import Linux

CLONE_NEWNET, PACKET_OUTGOING, SETTLE_S, STEP_S = 0x40000000, 4, 0.4, 0.15
TRIES = 3
ICMP_ERRORS = (3, 5, 11, 12)
Seen = dict[str, list[str]]
_libc = ctypes.CDLL(None, use_errno=True)


def summary(way: str, frame: bytes) -> str:
    """One frame as a line: its addresses, TTL, flags, and what it is; of an ICMP error what it quotes."""
    cast = "to all" if frame[0] & 1 else "to one"
    if frame[12:14] == b"\x08\x06":
        verb = "asks for" if frame[21] == 1 else "answers"
        return f"{way} {cast} ARP {_text(frame[28:32])} {verb} {_text(frame[38:42])}"
    if frame[12:14] != b"\x08\x00":
        return f"{way} {cast} type {frame[12:14].hex()}"
    packet = frame[14:]
    total, pieces = struct.unpack_from("!HxxH", packet, 2)
    body = packet[(packet[0] & 15) * 4 : total]
    flags = f"{' DF' * (pieces >> 14 & 1)}{' MF' * (pieces >> 13 & 1)}"
    head = f"{way} {cast} {_text(packet[12:16])}>{_text(packet[16:20])} ttl {packet[8]} tos {packet[1]}{flags}"
    if pieces & 0x1FFF:
        return f"{head} piece at {(pieces & 0x1FFF) * 8}, {len(body)}"
    if packet[9] == socket.IPPROTO_ICMP:
        quote = body[8:]
        more = ""
        if body[0] in ICMP_ERRORS:
            more = f" {body[4:8].hex()} about {_text(quote[12:16])}>{_text(quote[16:20])} ttl {quote[8]}"
        return f"{head} ICMP {body[0]}/{body[1]}, {len(body)}{more}"
    ports = "{}>{}".format(*struct.unpack_from("!HH", body)) if len(body) >= 4 else ""
    letters = "".join(name for bit, name in enumerate("FSRPAU") if body[13] >> bit & 1) if packet[9] == 6 else ""
    return f"{head} protocol {packet[9]} {ports} {letters}, {len(body) if packet[9] != 6 else ''}"


def _text(addr: bytes) -> str:
    return socket.inet_ntoa(addr)


def _mac(number: int) -> bytes:
    return b"\x02\0\0\0\0" + bytes([number])


class Side:
    """What both sides have: the numbers of MACs, and frames by `HOST/DEVICE`."""

    def __init__(self) -> None:
        self.macs = 0
        self.seen: Seen = {}

    def next_mac(self) -> bytes:
        self.macs += 1
        return _mac(self.macs)

    def take(self) -> Seen:
        seen, self.seen = self.seen, {}
        return seen


class Kernel(Side):
    """This machine's kernel."""

    def __init__(self, linux: Linux) -> None:
        super().__init__()
        self.linux = linux
        self.names: dict[str, str] = {}
        self.taps: dict[str, socket.socket] = {}

    def run(self, host: str, *words: str) -> None:
        self.linux.run(self.names[host], *words)

    def host(self, host: str) -> None:
        self.names[host] = self.linux.namespace(host)
        for scope in ("all", "default"):
            self.run(host, "sysctl", "-qw", f"net.ipv6.conf.{scope}.disable_ipv6=1")

    def cable(self, one: str, device: str, other: str, far: str) -> None:
        macs = [self.next_mac().hex(":") for _ in range(2)]
        words = (
            f"link add {device} address {macs[0]} type veth peer name {far} address {macs[1]} netns {self.names[other]}"
        )
        self.run(one, "ip", *words.split())
        for host, name in ((one, device), (other, far)):
            self.run(host, "ip", "link", "set", name, "up")

    def bridge(self, host: str, bridge: str, *ports: str) -> None:
        words = f"link add {bridge} address {self.next_mac().hex(':')} type bridge mcast_snooping 0"
        self.run(host, "ip", *words.split())
        self.run(host, "ip", "link", "set", bridge, "up")
        for port in ports:
            self.run(host, "ip", "link", "set", port, "master", bridge)

    def address(self, host: str, device: str, cidr: str) -> None:
        self.run(host, "ip", "addr", "add", cidr, "dev", device)

    def route(self, host: str, *words: str) -> None:
        self.run(host, "ip", "route", "add", *words)

    def rule(self, host: str, *words: str) -> None:
        self.run(host, "ip", "rule", "add", *words)

    def conf(self, host: str, name: str, value: str) -> None:
        self.run(host, "sysctl", "-qw", f"net.ipv4.{name}={value}")

    def iptables(self, host: str, *words: str) -> None:
        self.run(host, "iptables", *words)

    def mtu(self, host: str, device: str, mtu: str) -> None:
        self.run(host, "ip", "link", "set", device, "mtu", mtu)

    @contextmanager
    def inside(self, host: str) -> Iterator[None]:
        home, there = os.open("/proc/self/ns/net", os.O_RDONLY), os.open(f"/run/netns/{self.names[host]}", os.O_RDONLY)
        try:
            assert _libc.setns(there, CLONE_NEWNET) == 0
            yield
        finally:
            assert _libc.setns(home, CLONE_NEWNET) == 0
            os.close(home)
            os.close(there)

    def begin(self) -> None:
        self.linux.await_links(self.names.values())
        for host in self.names:
            with self.inside(host):
                self.taps[host] = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))  # ETH_P_ALL
                self.taps[host].setblocking(False)

    def wait(self, seconds: float | str) -> None:
        time.sleep(float(seconds))
        for host, tap in self.taps.items():
            with suppress(BlockingIOError):
                while True:
                    frame, (device, _, kind, *_) = tap.recvfrom(65536)
                    if device != "lo" or kind != PACKET_OUTGOING:
                        way = "out" if kind == PACKET_OUTGOING else "in"
                        self.seen.setdefault(f"{host}/{device}", []).append(summary(way, frame))

    def ping(self, host: str, to: str, source: str = "0.0.0.0", ttl: str = "64", size: str = "0") -> int:
        echo = struct.pack("!BBHHH", 8, 0, 0, 77, 1) + bytes(int(size) // 2 * 2)
        total = sum(struct.unpack(f"!{len(echo) // 2}H", echo)) % 0xFFFF
        echo = echo[:2] + (0xFFFF - total).to_bytes(2, "big") + echo[4:]
        with self.inside(host), socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw:
            raw.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, int(ttl))
            raw.bind((source, 0))
            return _failed(lambda: raw.sendto(echo, (to, 0)))

    def udp(self, host: str, to: str, port: str, source: str = "0.0.0.0", size: str = "1") -> int:
        with self.inside(host), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
            datagrams.bind((source, 4000))
            return _failed(lambda: datagrams.sendto(b"x" * int(size), (to, int(port))))

    def tcp(self, host: str, to: str, port: str, source: str = "0.0.0.0") -> int:
        with self.inside(host), socket.socket() as stream:
            stream.bind((source, 5000))
            stream.settimeout(STEP_S)
            return _failed(lambda: stream.connect((to, int(port))))

    def frame(self, host: str, device: str, octets: str) -> int:
        with self.inside(host), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
            raw.bind((device, 0))
            raw.send(bytes.fromhex(octets))
        return 0

    def close(self) -> None:
        for tap in self.taps.values():
            tap.close()


class Emulated(Side):
    """emu's own bench."""

    def __init__(self) -> None:
        super().__init__()
        self.lab = emu.Lab()
        self.mark = 0

    def net(self, host: str) -> Netns:
        return self.lab.namespaces[host]

    def host(self, host: str) -> None:
        self.lab.host(host)

    def cable(self, one: str, device: str, other: str, far: str) -> None:
        boot.veth(self.net(one), device, self.net(other), far, self.next_mac(), self.next_mac(), 1500)

    def bridge(self, host: str, bridge: str, *ports: str) -> None:
        made = boot.bridge(self.net(host), bridge, self.next_mac())
        for port in ports:
            made.add_port(self.net(host).device(port))

    def address(self, host: str, device: str, cidr: str) -> None:
        boot.address(self.net(host), device, cidr)

    def route(self, host: str, *words: str) -> None:
        boot.route(self.net(host), " ".join(words))

    def rule(self, host: str, *words: str) -> None:
        boot.rule(self.net(host), " ".join(words))

    def conf(self, host: str, name: str, value: str) -> None:
        self.net(host).sysctl[f"net.ipv4.{name}"] = int(value)

    def iptables(self, host: str, *words: str) -> None:
        self.lab.iptables(self.net(host), " ".join(words))

    def mtu(self, host: str, device: str, mtu: str) -> None:
        self.net(host).device(device).set_mtu(int(mtu))

    def begin(self) -> None:
        self.lab.run(SETTLE_S)
        self.mark = len(self.lab.frames())

    def wait(self, seconds: float | str) -> None:
        self.lab.run(float(seconds))
        frames = self.lab.frames()
        for each in frames[self.mark :]:
            if not each.interface.endswith("/drop"):
                self.seen.setdefault(each.interface, []).append(summary(each.direction, bytes(each.data)))
        self.mark = len(frames)

    def ping(self, host: str, to: str, source: str = "0.0.0.0", ttl: str = "64", size: str = "0") -> int:
        ping = self.net(host).sockets.ping(ident=77)
        ping.addr, ping.ttl = ip4(source), int(ttl)
        failed = _failed(lambda: ping.send(to, 1, bytes(int(size))))
        ping.close()
        return failed

    def udp(self, host: str, to: str, port: str, source: str = "0.0.0.0", size: str = "1") -> int:
        datagrams = self.net(host).sockets.udp()
        datagrams.bind((source, 4000))
        failed = _failed(lambda: datagrams.sendto(b"x" * int(size), (to, int(port))))
        datagrams.close()
        return failed

    def tcp(self, host: str, to: str, port: str, source: str = "0.0.0.0") -> int:
        stream = self.net(host).sockets.tcp()
        stream.bind((source, 5000))
        failed = _failed(lambda: stream.connect((to, int(port))))
        self.lab.run(STEP_S)
        failed = failed or stream.error
        stream.close()
        return failed

    def frame(self, host: str, device: str, octets: str) -> int:
        self.net(host).sockets.send_packet(bytes.fromhex(octets), device=device)
        return 0


def _failed(call: object) -> int:
    assert callable(call)
    try:
        call()
    except TimeoutError:
        return 0
    except (OSError, SocketError) as error:
        return error.errno or 0
    return 0


def both(linux: Linux, setup: str, steps: str) -> tuple[list[object], list[object]]:
    """What the kernel and the emulator did: of each step its errno, and the frames at each device. A busy machine may be late
    with a step's frames: what differs runs again there, twice at most."""
    emulated = Emulated()
    ours = _done(emulated, setup, steps)
    for _ in range(TRIES):
        kernel = Kernel(linux)
        try:
            theirs = _done(kernel, setup, steps)
        finally:
            kernel.close()
            linux.close()
        if theirs == ours:
            break
    return theirs, ours


def _done(side: Kernel | Emulated, setup: str, steps: str) -> list[object]:
    _calls(side, setup)
    side.begin()
    return _steps(side, steps)


def _calls(side: Kernel | Emulated, lines: str) -> None:
    for line in lines.strip().splitlines():
        name, *words = line.split()
        getattr(side, name)(*words)


def _steps(side: Kernel | Emulated, lines: str) -> list[object]:
    done: list[object] = []
    for line in lines.strip().splitlines():
        name, *words = line.split()
        options = dict(word.split("=") for word in words if "=" in word)
        failed = getattr(side, name)(*(word for word in words if "=" not in word), **options)
        if name != "wait":
            side.wait(STEP_S)
        done.append((line.strip(), failed, side.take()))
    return done
