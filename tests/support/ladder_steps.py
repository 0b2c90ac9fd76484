"""What the recorded cases do: one function a kind of step, beside those of the ladders, and the form of a case.

Knows only `ladder_drive.World`, as the ladders' own steps do.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from socket import inet_aton
from typing import Any, NamedTuple

from emu.twin.normalise import checksum
from ladder_drive import (
    MS,
    SECOND,
    Address,
    Drive,
    Socket,
    Step,
    named,
    tcp,
)
from ladder_setup import Setup


def udp_sizes(drive: Drive, client: str, target: Address, port: int, server: str, size: int) -> None:
    """A datagram of `size` there and one back."""
    socket = drive.udp_client(client, port)
    socket.sendto(b"x" * size, target)
    data, peer = drive.receivers[server].recvfrom(65536)
    drive.note(f"{server} got {len(data)} from {peer[0]}:{peer[1]}")
    drive.receivers[server].sendto(b"y" * size, peer)
    data, peer = socket.recvfrom(65536)
    drive.note(f"{client} got {len(data)} from {peer[0]}:{peer[1]}")
    socket.close()
    drive.settle()


def udp_long(drive: Drive, client: str, target: Address, port: int, server: str) -> None:
    """Two exchanges on one socket, 2.5 s apart: the entry becomes a stream."""
    socket = drive.udp_client(client, port)
    for pause_ns in (2500 * MS, 0):
        socket.sendto(b"ping", target)
        _, peer = drive.receivers[server].recvfrom(65536)
        drive.receivers[server].sendto(b"pong", peer)
        socket.recvfrom(65536)
        drive.world.wait(pause_ns)
    socket.close()
    drive.settle()


def opened(drive: Drive, client: str, target: Address, port: int, server: str) -> tuple[Socket, Socket]:
    socket = drive.world.tcp(client)
    socket.bind(("0.0.0.0", port))
    socket.connect(target, SECOND)
    drive.settle()
    accepted, _ = drive.listeners[server].accept()
    return socket, accepted


def tcp_unread(drive: Drive, client: str, target: Address, port: int, server: str) -> None:
    """The client closes with data unread: RST. The server's next write fails."""
    socket, accepted = opened(drive, client, target, port, server)
    accepted.send(b"hello")
    drive.settle()
    socket.close()
    drive.settle()
    try:
        accepted.send(b"more")
    except OSError as error:
        drive.note(f"{server} send -> {named(error)}")
    accepted.close()
    drive.settle()


def tcp_server_closes(drive: Drive, client: str, target: Address, port: int, server: str) -> None:
    """The server sends some bytes and closes; the client reads to the end and closes."""
    socket, accepted = opened(drive, client, target, port, server)
    accepted.send(b"bye")
    drive.settle()
    accepted.close()
    drive.settle()
    drive.note(f"{client} got {socket.recv(100, 0)!r}, {socket.recv(100, 0)!r}")
    socket.close()
    drive.world.wait(100 * MS)


def tcp_requests(drive: Drive, client: str, target: Address, port: int, server: str) -> None:
    """Three requests on one connection, each with an answer; a fourth without, so that its ACK comes late."""
    socket, accepted = opened(drive, client, target, port, server)
    for _ in range(3):
        socket.send(b"GET")
        drive.settle()
        accepted.recv(100, 0)
        drive.settle()
        accepted.send(b"OK")
        drive.settle()
        socket.recv(100, 0)
        drive.world.wait(100 * MS)
    socket.send(b"GET")
    drive.world.wait(100 * MS)
    accepted.recv(100, 0)
    socket.close()
    drive.world.wait(100 * MS)
    accepted.close()
    drive.settle()


def tcp_large(drive: Drive, client: str, target: Address, port: int, server: str, size: int) -> None:
    """`size` bytes in one write, few enough to fit the send buffer at once."""
    socket, accepted = opened(drive, client, target, port, server)
    socket.send(b"z" * size)
    drive.settle()
    drive.note(f"{server} got {len(accepted.recv(65536, 0))}")
    socket.close()
    drive.settle()
    accepted.recv(10, 0)
    accepted.close()
    drive.settle()


def tcp_lost(drive: Drive, client: str, target: Address, port: int, server: str, wait_ns: int) -> None:
    """A request that a rule swallows, again and again: the probe and the retransmissions within `wait_ns`."""
    socket, accepted = opened(drive, client, target, port, server)
    socket.send(b"GET")
    drive.world.wait(wait_ns)
    drive.left_open.append((socket, accepted))


def tcp_after_flush(
    drive: Drive, client: str, target: Address, port: int, server: str, *, server_first: bool, wait_ns: int = 0
) -> None:
    """An open connection whose conntrack entries are lost: who speaks next decides what becomes of it."""
    socket, accepted = opened(drive, client, target, port, server)
    drive.world.flush()
    (accepted if server_first else socket).send(b"again")
    drive.settle()
    try:
        drive.note(f"got {(socket if server_first else accepted).recv(100, 0)!r}")
    except OSError as error:
        drive.note(f"recv -> {named(error)}")
    drive.world.wait(wait_ns)
    drive.left_open.append((socket, accepted))


def tcp_queue(drive: Drive, client: str, target: Address, port: int, server: str) -> None:
    """listen(0) and no accept: the first connection fits, the second's SYN is ignored."""
    listener = drive.world.tcp(server)
    listener.bind(("0.0.0.0", target[1]))
    listener.listen(0)
    sockets = [drive.world.tcp(client), drive.world.tcp(client)]
    for number, socket in enumerate(sockets):
        socket.bind(("0.0.0.0", port + number))
        try:
            socket.connect(target, 1500 * MS)
            drive.note(f"{client} connect -> ok")
        except OSError as error:
            drive.note(f"{client} connect -> {named(error)}")
        drive.settle()
    for socket in (listener, *sockets):
        socket.close()
        drive.settle()


def tcp_server_large(drive: Drive, client: str, target: Address, port: int, server: str, size: int) -> None:
    """The server answers with `size` bytes at once, and the client reads them."""
    socket, accepted = opened(drive, client, target, port, server)
    socket.send(b"GET")
    drive.settle()
    accepted.recv(100, 0)
    accepted.send(b"z" * size)
    drive.settle()
    drive.note(f"{client} got {len(socket.recv(65536, 0))}")
    socket.close()
    drive.settle()
    accepted.close()
    drive.settle()


def udp_too_large(drive: Drive, client: str, target: Address, port: int, sizes: Sequence[int]) -> None:
    """Datagrams by a connected socket, each followed by a look at what came back."""
    socket = drive.udp_client(client, port)
    socket.connect(target, 0)
    for size in sizes:
        try:
            socket.send(b"x" * size)
            drive.note(f"{client} sent {size}")
            drive.settle()
            socket.recv(65536, MS)
        except TimeoutError:
            drive.note(f"{client} hears nothing")
        except OSError as error:
            drive.note(f"{client} {size} -> {named(error)}")
    socket.close()
    drive.settle()


def ping_large(drive: Drive, client: str, target: str, sizes: Sequence[int], *, whole: bool = False) -> None:
    """Echo requests of several sizes, one after the other."""
    for size in sizes:
        drive.note(f"{client} ping {size}: {drive.world.ping_large(client, target, size, whole=whole)}")
        drive.settle()


def pieces(
    drive: Drive, client: str, source: str, target: Address, parts: Sequence[tuple[int, int, bool]], wait_ns: int = 0,
    flags: int = 0, proto: int = 17,
) -> None:  # fmt: skip
    """A datagram of 3000 bytes in pieces made by hand: `parts` are (offset, length, more) in the order of sending."""
    ident, dport = drive.number(), target[1]
    sport = ident - 7000 + 40060
    ends = struct.pack("!4s4s", inet_aton(source), inet_aton(target[0]))
    datagram = struct.pack("!HHHH", sport, dport, 3008, 0) + b"f" * 3000
    total = checksum(ends + struct.pack("!BBH", 0, 17, 3008) + datagram)
    datagram = datagram[:6] + struct.pack("!H", total or 0xFFFF) + datagram[8:]
    for offset, length, more in parts:
        word = offset // 8 | more << 13 | flags
        head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + length, ident, word, 64, proto, 0) + ends
        head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
        drive.world.send_raw(client, head + datagram[offset : offset + length])
        drive.settle()
    drive.world.wait(wait_ns)
    for server, receiver in drive.receivers.items():
        try:
            drive.note(f"{server} got {len(receiver.recv(65536, MS))}")
        except TimeoutError:
            continue


def serve(drive: Drive, client: str, target: Address, port: int, server: str, local: int) -> None:
    """As `tcp`, with a listener of the step's own on `server`."""
    listener = drive.world.tcp(server)
    listener.bind(("0.0.0.0", local))
    listener.listen(8)
    drive.listeners[server] = listener
    tcp(drive, client, target, port, server)
    listener.close()
    drive.settle()


class Case(NamedTuple):
    """Steps on a ladder's setup, with changes: `rules` are put at the end of `(namespace, table)`, `routes` are those
    of a namespace that the kernel does not make itself, `policy` its `ip rule`s, `sysctls` and `mtus` are replaced.
    `also` are tables printed beside the usual ones."""

    base: str
    steps: tuple[Step, ...]
    hairpin: bool | None = None
    rules: Mapping[tuple[str, str], str] = {}
    sysctls: Mapping[tuple[str, str], str] = {}
    mtus: Mapping[tuple[str, str], int] = {}
    routes: Mapping[str, list[str]] = {}
    policy: Mapping[str, list[str]] = {}
    also: tuple[tuple[str, str], ...] = ()
    offload: bool = False

    def setup(self) -> Setup:
        setup = Setup(self.base)
        setup.offload = self.offload
        for port, device in setup.devices():
            if self.hairpin is not None and port.namespace == "n1" and "hairpin" in device:
                device["hairpin"] = self.hairpin
            device["mtu"] = self.mtus.get((port.namespace, port.device), device["mtu"])
        for (namespace, table), text in self.rules.items():
            made = setup.namespaces[namespace]
            if f"*{table}\n" not in made.setdefault("iptables_save", ""):
                made["iptables_save"] += f"*{table}\nCOMMIT\n"
            before, head, rest = made["iptables_save"].partition(f"*{table}\n")
            body, commit, after = rest.partition("COMMIT\n")
            made["iptables_save"] = before + head + body + text + commit + after
        for namespace, routes in self.routes.items():
            setup.namespaces[namespace]["routes"] = routes
        for namespace, rules in self.policy.items():
            setup.namespaces[namespace]["policy"] = rules
        for (namespace, key), value in self.sysctls.items():
            setup.namespaces[namespace]["sysctls"][key] = value
        return setup

    def tables(self) -> list[tuple[str, str]]:
        """The tables printed after each step: neighbours of all namespaces, and conntrack where there are rules."""
        namespaces = self.setup().namespaces
        tracked = [(name, "conntrack") for name, made in namespaces.items() if "iptables_save" in made]
        return [*tracked, *((name, "neigh") for name in namespaces), *self.also]


def step(title: str, run: Callable[..., None], arguments: dict[str, Any], **more: Any) -> Step:
    return Step(title, run, arguments, **more)


SAME, REMOTE, NF0 = "s04_clusterip_same_node", "s03_clusterip_remote", "s05_clusterip_same_node_nf0"
ROUTED, CLOSED = "s02_cross_router", "s12_closed_ports"
EXT, N1, N2, CBR0 = "203.0.113.10", "192.168.50.11", "192.168.50.12", "10.244.1.1"
