"""More steps than the seven ladders have, for the same topologies with a change or two.

What a kernel did in them is in `tests/reference/recorded`, written by `python tests/support/ladder_record.py` (root).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ladder_drive import (
    DNS,
    MS,
    P2,
    P3,
    SECOND,
    WEB,
    Address,
    Drive,
    Socket,
    Step,
    named,
    ping,
    tcp,
    to,
    udp,
    udp_refused,
    udp_unheard,
)
from ladder_setup import Setup

FOLDER = Path(__file__).parents[1] / "reference" / "recorded"


def udp_sizes(drive: Drive, client: str, target: Address, port: int, server: str, size: int) -> None:
    """A datagram of `size` there and one back."""
    socket = drive.udp_client(client, port)
    socket.sendto(b"x" * size, target)
    data, peer = drive.receivers[server].recvfrom(65536)
    drive.tell(f"{server} got {len(data)} from {peer[0]}:{peer[1]}")
    drive.receivers[server].sendto(b"y" * size, peer)
    data, peer = socket.recvfrom(65536)
    drive.tell(f"{client} got {len(data)} from {peer[0]}:{peer[1]}")
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
        drive.tell(f"{server} send -> {named(error)}")
    accepted.close()
    drive.settle()


def tcp_server_closes(drive: Drive, client: str, target: Address, port: int, server: str) -> None:
    """The server says something and closes; the client reads to the end and closes."""
    socket, accepted = opened(drive, client, target, port, server)
    accepted.send(b"bye")
    drive.settle()
    accepted.close()
    drive.settle()
    drive.tell(f"{client} got {socket.recv(100, 0)!r}, {socket.recv(100, 0)!r}")
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
    drive.tell(f"{server} got {len(accepted.recv(65536, 0))}")
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
        drive.tell(f"got {(socket if server_first else accepted).recv(100, 0)!r}")
    except OSError as error:
        drive.tell(f"recv -> {named(error)}")
    drive.world.wait(wait_ns)
    drive.left_open.append((socket, accepted))


def tcp_queue(drive: Drive, client: str, target: Address, port: int, server: str) -> None:
    """listen(0) and nobody accepts: the first connection fits, the second's SYN is ignored."""
    listener = drive.world.tcp(server)
    listener.bind(("0.0.0.0", target[1]))
    listener.listen(0)
    sockets = [drive.world.tcp(client), drive.world.tcp(client)]
    for number, socket in enumerate(sockets):
        socket.bind(("0.0.0.0", port + number))
        try:
            socket.connect(target, 1500 * MS)
            drive.tell(f"{client} connect -> ok")
        except OSError as error:
            drive.tell(f"{client} connect -> {named(error)}")
        drive.settle()
    for socket in (listener, *sockets):
        socket.close()
        drive.settle()


class Case(NamedTuple):
    """Steps on a ladder's setup, with changes: `rules` are put at the end of `(namespace, table)`, `routes` are those
    of a namespace that the kernel does not make itself, `sysctls` and `mtus` are replaced."""

    base: str
    steps: tuple[Step, ...]
    hairpin: bool | None = None
    rules: Mapping[tuple[str, str], str] = {}
    sysctls: Mapping[tuple[str, str], str] = {}
    mtus: Mapping[tuple[str, str], int] = {}
    routes: Mapping[str, list[str]] = {}

    def setup(self) -> Setup:
        setup = Setup(self.base)
        for port, device in setup.devices():
            if self.hairpin is not None and port.namespace == "n1" and "hairpin" in device:
                device["hairpin"] = self.hairpin
            device["mtu"] = self.mtus.get((port.namespace, port.device), device["mtu"])
        for (namespace, table), text in self.rules.items():
            made = setup.namespaces[namespace]
            before, head, rest = made["iptables_save"].partition(f"*{table}\n")
            body, commit, after = rest.partition("COMMIT\n")
            made["iptables_save"] = before + head + body + text + commit + after
        for namespace, routes in self.routes.items():
            setup.namespaces[namespace]["routes"] = routes
        for (namespace, key), value in self.sysctls.items():
            setup.namespaces[namespace]["sysctls"][key] = value
        return setup

    def tables(self) -> list[tuple[str, str]]:
        """What is printed after each step: everybody's neighbours, and conntrack where there are rules."""
        namespaces = self.setup().namespaces
        tracked = [(name, "conntrack") for name, made in namespaces.items() if "iptables_save" in made]
        return [*tracked, *((name, "neigh") for name in namespaces)]


def step(title: str, run: Callable[..., None], arguments: dict[str, Any], **more: Any) -> Step:
    return Step(title, run, arguments, **more)


SAME, REMOTE, NF0 = "s04_clusterip_same_node", "s03_clusterip_remote", "s05_clusterip_same_node_nf0"
ROUTED, CLOSED = "s02_cross_router", "s12_closed_ports"
EXT, N1, N2, CBR0 = "203.0.113.10", "192.168.50.11", "192.168.50.12", "10.244.1.1"

CASES: dict[str, Case] = {
    "hairpin_off": Case(
        SAME,
        (
            step("a pod's own Service, tcp", tcp, to("p2", WEB, 40001, timeout_ns=1500 * MS), cold=True),
            step("a pod's own Service, udp", udp_unheard, to("p2", DNS, 40053, size=4)),
        ),
        hairpin=False,
    ),
    "hairpin_on": Case(
        SAME,
        (
            step("a pod's own Service, tcp", tcp, to("p2", WEB, 40001, server="p2"), cold=True),
            step("a pod's own Service, udp", udp, to("p2", DNS, 40053, server="p2")),
            step("another pod's Service", tcp, to("p1", WEB, 40002, server="p2")),
        ),
        hairpin=True,
    ),
    "hairpin_nf0": Case(
        NF0, (step("a pod's own Service, tcp", tcp, to("p2", WEB, 40001, server="p2"), cold=True),), hairpin=False
    ),
    "node_and_local_pod": Case(
        SAME,
        (
            step("node to pod", tcp, to("n1", (P2, 8080), 40001, server="p2"), cold=True),
            step("node to Service, tcp", tcp, to("n1", WEB, 40002, server="p2")),
            step("node to Service, udp", udp, to("n1", DNS, 40053, server="p2")),
            step("pod to its node", ping, to("p1", N1)),
            step("pod to its bridge", ping, to("p1", CBR0)),
            step("pod to a closed port of its node", tcp, to("p1", (N1, 81), 40003)),
            step("node to a closed port of its own", tcp, to("n1", (N1, 81), 40004)),
            step("node to itself", ping, to("n1", "127.0.0.1")),
            step("pod to itself", ping, to("p1", "10.244.1.11")),
        ),
    ),
    "node_and_remote_pod": Case(
        REMOTE,
        (
            step("node to pod", tcp, to("n1", (P3, 8080), 40001, server="p3"), cold=True),
            step("node to Service, tcp", tcp, to("n1", WEB, 40002, server="p3")),
            step("node to Service, udp", udp, to("n1", DNS, 40053, server="p3")),
            step("pod to the other node", ping, to("p1", N2)),
            step("pod to the other node's bridge", ping, to("p1", "10.244.2.1")),
            step("pod to a closed port of the other node", tcp, to("p1", (N2, 81), 40003)),
            step("the endpoint's node to Service", tcp, to("n2", WEB, 40004, server="p3")),
        ),
    ),
    "egress": Case(
        REMOTE,
        (
            step("ping outside", ping, to("p1", EXT), cold=True),
            step("closed tcp port outside", tcp, to("p1", (EXT, 81), 40001)),
            step("closed udp port outside", udp_refused, to("p1", (EXT, 54), 40053)),
            step("ping outside from the other node", ping, to("p3", EXT)),
            step("outside to a pod: no route", ping, to("ext", "10.244.1.11")),
            step("node pings outside", ping, to("n1", EXT)),
        ),
    ),
    "absent": Case(
        REMOTE,
        (
            step("ping an absent neighbour", ping, to("p1", "10.244.1.77"), cold=True, pause_ns=4 * SECOND),
            step("tcp to an absent neighbour", tcp, to("p1", ("10.244.1.78", 80), 40001, timeout_ns=6 * SECOND)),
            step("ping an absent pod of the other node", ping, to("p1", "10.244.2.77"), pause_ns=4 * SECOND),
            step(
                "udp to an absent neighbour",
                udp_unheard,
                to("p1", ("10.244.1.79", 80), 40053, size=3),
                pause_ns=4 * SECOND,
            ),
        ),
    ),
    "fragments_same_node": Case(
        SAME,
        (
            step("pod", udp_sizes, to("p1", (P2, 5353), 40053, server="p2", size=3000), cold=True),
            step("Service", udp_sizes, to("p1", DNS, 40054, server="p2", size=3000)),
            step("closed port", udp_unheard, to("p1", (P2, 54), 40055, size=3000)),
            step("the largest that fits", udp_sizes, to("p1", (P2, 5353), 40056, server="p2", size=1472)),
            step("a byte too large", udp_sizes, to("p1", (P2, 5353), 40057, server="p2", size=1473)),
        ),
    ),
    "fragments_remote": Case(
        REMOTE,
        (
            step("pod", udp_sizes, to("p1", (P3, 5353), 40053, server="p3", size=3000), cold=True),
            step("Service", udp_sizes, to("p1", DNS, 40054, server="p3", size=3000)),
            step("closed port", udp_unheard, to("p1", (P3, 54), 40055, size=3000)),
        ),
    ),
    "narrow_underlay": Case(
        REMOTE,
        (
            step(
                "fragments for the narrow link",
                udp_sizes,
                to("p1", (P3, 5353), 40053, server="p3", size=3000),
                cold=True,
            ),
            step("too large and not to be cut", udp_unheard, to("p1", (P3, 5353), 40054, size=1460), pause_ns=100 * MS),
            step("the same Service, too large", udp_unheard, to("p1", DNS, 40055, size=1460)),
        ),
        mtus={("n1", "eth0"): 1450, ("sw", "n1"): 1450, ("n2", "eth0"): 1450, ("sw", "n2"): 1450},
    ),
    "tcp_forms": Case(
        SAME,
        (
            step("closed with data unread", tcp_unread, to("p1", WEB, 40001, server="p2"), cold=True),
            step("the server closes first", tcp_server_closes, to("p1", WEB, 40002, server="p2")),
            step("several requests", tcp_requests, to("p1", WEB, 40003, server="p2")),
            step("four segments", tcp_large, to("p1", (P2, 8080), 40004, server="p2", size=5000)),
        ),
    ),
    "tcp_lost": Case(
        SAME,
        (
            step(
                "every segment with PSH is lost",
                tcp_lost,
                to("p1", WEB, 40001, server="p2", wait_ns=4500 * MS),
                cold=True,
            ),
        ),
        rules={("n1", "filter"): "-I FORWARD -p tcp -m tcp --dport 8080 --tcp-flags PSH PSH -j DROP\n"},
    ),
    "probes": Case(
        SAME,
        (
            step("tcp", tcp, to("p1", WEB, 40001, server="p2"), cold=True, pause_ns=7 * SECOND),
            step("ping the bridge", ping, to("p1", CBR0), pause_ns=7 * SECOND),
            step("udp", udp, to("p1", DNS, 40053, server="p2"), pause_ns=7 * SECOND),
        ),
    ),
    "udp_stream": Case(
        REMOTE, (step("two exchanges, 2.5 s apart", udp_long, to("p1", DNS, 40053, server="p3"), cold=True),)
    ),
    "reject": Case(
        SAME,
        (
            step("tcp-reset, bridged", tcp, to("p1", (P2, 8081), 40001), cold=True),
            step("admin-prohibited, bridged", tcp, to("p1", (P2, 8082), 40002)),
            step("host-prohibited, bridged", udp_refused, to("p1", (P2, 8083), 40053)),
            step("dropped, bridged", tcp, to("p1", (P2, 8084), 40003, timeout_ns=1500 * MS)),
            step("tcp-reset, routed", tcp, to("p1", (EXT, 8081), 40004)),
            step("tcp-reset, to the node", tcp, to("p1", (N1, 8085), 40005)),
            step("tcp-reset, from the node", tcp, to("n1", (P2, 8086), 40006)),
            step("admin-prohibited, routed", tcp, to("p1", (EXT, 8082), 40007)),
        ),
        rules={
            ("n1", "filter"): (
                "-A FORWARD -p tcp -m tcp --dport 8081 -j REJECT --reject-with tcp-reset\n"
                "-A FORWARD -p tcp -m tcp --dport 8082 -j REJECT --reject-with icmp-admin-prohibited\n"
                "-A FORWARD -p udp -m udp --dport 8083 -j REJECT --reject-with icmp-host-prohibited\n"
                "-A FORWARD -p tcp -m tcp --dport 8084 -j DROP\n"
                "-A INPUT -p tcp -m tcp --dport 8085 -j REJECT --reject-with tcp-reset\n"
                "-A OUTPUT -p tcp -m tcp --dport 8086 -j REJECT --reject-with tcp-reset\n"
            )
        },
    ),
    "node_port": Case(
        REMOTE,
        (
            step("from outside", tcp, to("ext", (N1, 30081), 40001, server="p3"), cold=True),
            step("from a pod", tcp, to("p1", (N1, 30081), 40002, server="p3")),
            step("from the node", tcp, to("n1", (N1, 30081), 40003, server="p3")),
            step("from the node, by 127.0.0.1", tcp, to("n1", ("127.0.0.1", 30081), 40004, timeout_ns=500 * MS)),
            step("unused", tcp, to("ext", (N1, 30099), 40005)),
        ),
        rules={
            ("n1", "nat"): (
                "-A KUBE-NODEPORTS -p tcp -m tcp --dport 30081 -j KUBE-MARK-MASQ\n"
                "-A KUBE-NODEPORTS -p tcp -m tcp --dport 30081 -j KUBE-SEP-533SWYF3GWM7QGTS\n"
            )
        },
    ),
    "timestamps": Case(
        REMOTE,
        (step("tcp with timestamps", tcp, to("p1", WEB, 40001, server="p3"), cold=True),),
        sysctls={("p1", "net.ipv4.tcp_timestamps"): "1", ("p3", "net.ipv4.tcp_timestamps"): "1"},
    ),
    "redirect": Case(
        REMOTE,
        (
            step("ping by way of the gateway", ping, to("p1", P3, count=3, interval_ns=200 * MS), cold=True),
            step("tcp by way of the gateway", tcp, to("p1", (P3, 8080), 40001, server="p3")),
            step("a Service by way of the gateway", tcp, to("p1", WEB, 40002, server="p3")),
        ),
        routes={
            "n1": ["default via 192.168.50.1 dev eth0"],
            "n2": ["default via 192.168.50.1 dev eth0"],
            "gw": ["10.244.1.0/24 via 192.168.50.11 dev eth0", "10.244.2.0/24 via 192.168.50.12 dev eth0"],
        },
    ),
    "syn_lost": Case(
        SAME,
        (step("SYNs for 13 s", tcp, to("p1", (P2, 8084), 40001, timeout_ns=13 * SECOND), cold=True),),
        rules={("n1", "filter"): "-A FORWARD -p tcp -m tcp --dport 8084 -j DROP\n"},
    ),
    "accept_queue": Case(SAME, (step("listen(0)", tcp_queue, to("p1", (P2, 8090), 40001, server="p2"), cold=True),)),
    "entries_lost": Case(
        REMOTE,
        (
            step(
                "the client speaks", tcp_after_flush, to("p1", WEB, 40001, server="p3", server_first=False), cold=True
            ),
            step(
                "the server speaks",
                tcp_after_flush,
                to("p1", WEB, 40002, server="p3", server_first=True, wait_ns=500 * MS),
                cold=True,
            ),
        ),
    ),
    "no_route": Case(
        ROUTED,
        (
            step("to a network nobody has", ping, to("p1", "10.244.7.7"), cold=True),
            step("tcp to a network nobody has", tcp, to("p1", ("10.244.7.7", 80), 40001, timeout_ns=1500 * MS)),
            step("to the router itself", ping, to("p1", "192.168.51.1")),
            step("to the router's far address", ping, to("p1", "192.168.52.1")),
            step("closed port of the router", tcp, to("p1", ("192.168.52.1", 81), 40002)),
            step("node to node", ping, to("n1", "192.168.52.12")),
        ),
    ),
}
