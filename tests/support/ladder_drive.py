"""The applications of the seven ladders: one function a kind of step, and the scenarios as tables of steps.

One program owns all sockets, as in the measurement: between two calls nothing else runs, and it waits 2 ms ("settle")
where the ladders' README states it. Each function notes its calls in the ladder's words. Who runs the network is behind
`World`: the emulator (`ladder_emu`) or this machine's kernel (`ladder_kernel`).
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from ladder_setup import Setup

MS, SECOND = 1_000_000, 1_000_000_000
SETTLE_NS = 2 * MS
TCP_PORT, UDP_PORT = 8080, 5353
CLIENT_PORTS = range(40001, 40100)

Address = tuple[str, int]


class Seen(NamedTuple):
    """One frame at one tap (`namespace:device`); `direction` is in, in-other or out."""

    tap: str
    direction: str
    data: bytes


class Socket(Protocol):
    """A socket as Python's. A call that would have to wait waits until `timeout_ns`; then TimeoutError."""

    def bind(self, address: Address) -> None: ...
    def connect(self, address: Address, timeout_ns: int) -> None: ...
    def listen(self, backlog: int) -> None: ...
    def accept(self) -> tuple[Socket, Address]: ...
    def send(self, data: bytes) -> int: ...
    def recv(self, size: int, timeout_ns: int) -> bytes: ...
    def sendto(self, data: bytes, address: Address) -> int: ...
    def recvfrom(self, size: int) -> tuple[bytes, Address]: ...
    def getsockname(self) -> Address: ...
    def close(self) -> None: ...


class World(Protocol):
    """A topology that runs. `seen` collects every frame at every tap, in the order seen."""

    setup: Setup
    seen: list[Seen]

    def wait(self, delay_ns: int) -> None: ...
    def flush(self) -> None:
        """Forget neighbours, learned FDB entries, route exceptions and conntrack, everywhere."""

    def tcp(self, namespace: str) -> Socket: ...
    def udp(self, namespace: str) -> Socket: ...
    def ping(self, namespace: str, target: str, count: int, interval_ns: int) -> list[str]:
        """The tool's lines, from the first answer on; it ends with the last answer or after a second of none."""

    def ping_large(self, namespace: str, target: str, size: int, *, whole: bool) -> str:
        """One echo request with `size` bytes of data, `whole`: `-M do`. The answer's line, or what went wrong."""

    def send_raw(self, namespace: str, packet: bytes) -> None:
        """An IPv4 packet as it is, by a raw socket."""

    def delete_route(self, namespace: str, route: str) -> None: ...
    def table(self, namespace: str, what: str) -> list[str]:
        """What `ip neigh`, `conntrack -L`, `bridge fdb`, `ip route`, `ip route get X` or `iptables-save` prints, without comments."""

    def close(self) -> None: ...


class Drive:
    """A run of one scenario: the world, the sockets that outlive a step, and the calls noted since the step began."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.calls: list[str] = []
        self.note = self.calls.append
        self.listeners: dict[str, Socket] = {}
        self.receivers: dict[str, Socket] = {}
        self.left_open: list[tuple[Socket, Socket]] = []
        self.numbers = iter(range(7001, 8000))
        for server in ("p2", "p3"):
            if server in world.setup.namespaces:
                self.listeners[server] = listener = world.tcp(server)
                listener.bind(("0.0.0.0", TCP_PORT))
                listener.listen(128)
                self.receivers[server] = receiver = world.udp(server)
                receiver.bind(("0.0.0.0", UDP_PORT))

    def number(self) -> int:
        """An IP ID for a packet made by hand: another one each time."""
        return next(self.numbers)

    def settle(self) -> None:
        self.world.wait(SETTLE_NS)

    def udp_client(self, namespace: str, port: int) -> Socket:
        client = self.world.udp(namespace)
        client.bind(("0.0.0.0", port))
        return client


def named(error: OSError) -> str:
    return errno.errorcode[error.errno] if error.errno else type(error).__name__


def ping(drive: Drive, client: str, target: str, count: int = 1, interval_ns: int = SECOND) -> None:
    """The ordinary tool."""
    flags = "" if interval_ns == SECOND else f"-i {interval_ns / SECOND:g} "
    drive.note(f"{client} ping -n -c {count} -W 1 {flags}{target}")
    for line in drive.world.ping(client, target, count, interval_ns):
        drive.note(f"ping: {line}")
    drive.settle()


def tcp(
    drive: Drive,
    client: str,
    target: Address,
    port: int,
    server: str = "",
    *,
    leave_open: bool = False,
    timeout_ns: int = 5 * SECOND,
) -> None:
    """Request and response; without a `server` only the attempt to connect."""
    drive.note(f"{client} connect({target[0]}:{target[1]}) from :{port}")
    socket = drive.world.tcp(client)
    socket.bind(("0.0.0.0", port))
    try:
        socket.connect(target, timeout_ns)
    except OSError as error:
        drive.note(f"{client} connect -> {'ETIMEDOUT(app)' if isinstance(error, TimeoutError) else named(error)}")
        socket.close()
        drive.settle()
        return
    drive.note(f"{client} connect -> ok, local {socket.getsockname()[0]}")
    drive.settle()
    accepted, peer = drive.listeners[server].accept()
    drive.note(f"{server} accept <- {peer[0]}:{peer[1]}")
    socket.send(b"GET /\n")
    drive.settle()
    accepted.recv(65536, 0)
    accepted.send(b"OK\n")
    drive.settle()
    drive.note(f"{client} got {len(socket.recv(65536, 0))} bytes")
    drive.settle()
    drive.left_open.append((socket, accepted))
    if not leave_open:
        close(drive)


def close(drive: Drive) -> None:
    """The client closes, then the server reads the end and closes."""
    socket, accepted = drive.left_open.pop()
    socket.close()
    drive.settle()
    assert accepted.recv(65536, 0) == b""
    accepted.close()
    drive.settle()


def udp(drive: Drive, client: str, target: Address, port: int, server: str) -> None:
    """Four bytes there and four back, without waiting, by sockets that are not connected."""
    drive.note(f"{client} sendto {target[0]}:{target[1]}")
    socket = drive.udp_client(client, port)
    socket.sendto(b"ping", target)
    receiver = drive.receivers[server]
    data, peer = receiver.recvfrom(65536)
    drive.note(f"{server} recvfrom {peer[0]}:{peer[1]} ({len(data)} bytes)")
    receiver.sendto(b"pong", peer)
    _, peer = socket.recvfrom(65536)
    drive.note(f"{client} recvfrom {peer[0]}:{peer[1]}")
    socket.close()
    drive.settle()


def udp_connected(drive: Drive, client: str, target: Address, port: int, server: str) -> None:
    """As `udp`, by a connected client, which receives nothing: it waits 300 ms."""
    socket = drive.udp_client(client, port)
    socket.connect(target, 0)
    socket.send(b"ping")
    receiver = drive.receivers[server]
    _, peer = receiver.recvfrom(65536)
    receiver.sendto(b"pong", peer)
    try:
        socket.recv(65536, 300 * MS)
    except TimeoutError:
        drive.note(f"{client} recv -> timed out")
    socket.close()
    drive.settle()


def udp_refused(drive: Drive, client: str, target: Address, port: int) -> None:
    """One byte by a connected socket; then, after a settle, the answer to it or to the sending is an error."""
    socket = drive.udp_client(client, port)
    socket.connect(target, 0)
    doing = "udp"
    try:
        socket.send(b"x")
        drive.settle()
        doing = "udp recv"
        socket.recv(65536, 0)
    except OSError as error:
        drive.note(f"{client} {doing} -> [Errno {error.errno}] {error.strerror}")
    socket.close()
    drive.settle()


def udp_unheard(drive: Drive, client: str, target: Address, port: int, size: int) -> None:
    """One datagram by a socket that is not connected, so that no error comes back to it."""
    socket = drive.udp_client(client, port)
    socket.sendto(b"x" * size, target)
    drive.settle()
    socket.close()


def udp_burst(drive: Drive, client: str, target: Address, port: int) -> None:
    """20 datagrams of a byte, 1 ms apart, and one more 1.05 s after the last."""
    socket = drive.udp_client(client, port)
    for _ in range(20):
        socket.sendto(b"x", target)
        drive.world.wait(MS)
    drive.world.wait(1050 * MS)
    socket.sendto(b"x", target)
    drive.settle()
    socket.close()


class Step(NamedTuple):
    """What a step of a ladder does. `cold`: everything is flushed first. `without_default`: namespaces that lose their
    default route first. `pause_ns` is waited afterwards, when the tables are printed already; its frames count.
    """

    title: str
    run: Callable[..., None]
    arguments: dict[str, Any]
    cold: bool = False
    without_default: tuple[str, ...] = ()
    pause_ns: int = 0


P2, P3 = "10.244.1.12", "10.244.2.13"
WEB, DNS = ("10.96.0.10", 80), ("10.96.0.53", 53)


def to(client: str, target: Address | str, port: int = 0, **more: Any) -> dict[str, Any]:
    """The arguments of a step: who, whom, from which port."""
    return {"client": client, "target": target, **({"port": port} if port else {}), **more}


SCENARIOS: dict[str, tuple[Step, ...]] = {
    "s01_same_node": (
        Step("ping, cold ARP", ping, to("p1", P2), cold=True),
        Step("ping x2, warm", ping, to("p1", P2, count=2, interval_ns=200 * MS)),
        Step("tcp, cold ARP", tcp, to("p1", (P2, 8080), 40001, server="p2"), cold=True),
        Step("udp, warm", udp, to("p1", (P2, 5353), 40053, server="p2")),
    ),
    "s02_cross_router": (
        Step("ping, cold ARP", ping, to("p1", P3), cold=True),
        Step("ping, warm", ping, to("p1", P3)),
        Step("tcp, warm", tcp, to("p1", (P3, 8080), 40001, server="p3")),
        Step("tcp, cold ARP", tcp, to("p1", (P3, 8080), 40002, server="p3"), cold=True),
        Step("udp, warm", udp, to("p1", (P3, 5353), 40053, server="p3")),
    ),
    "s03_clusterip_remote": (
        Step("tcp, cold ARP, left open", tcp, to("p1", WEB, 40001, server="p3", leave_open=True), cold=True),
        Step("close", close, {}),
        Step("udp, warm", udp, to("p1", DNS, 40053, server="p3")),
        Step("ping the ClusterIP (no rule for ICMP)", ping, to("p1", "10.96.0.10")),
    ),
    "s04_clusterip_same_node": (
        Step("tcp, cold ARP", tcp, to("p1", WEB, 40001, server="p2"), cold=True),
        Step("tcp again, warm", tcp, to("p1", WEB, 40002, server="p2")),
        Step("udp, warm", udp, to("p1", DNS, 40053, server="p2")),
        Step("cbr0's neighbour made REACHABLE by a ping from the node", ping, to("n1", P2)),
        Step("tcp, node's neighbour entry REACHABLE", tcp, to("p1", WEB, 40003, server="p2")),
    ),
    "s05_clusterip_same_node_nf0": (
        Step("tcp, cold ARP, app timeout 2.5 s", tcp, to("p1", WEB, 40001, timeout_ns=2500 * MS), cold=True),
        Step("udp unconnected client", udp, to("p1", DNS, 40053, server="p2")),
        Step("udp connected client", udp_connected, to("p1", DNS, 40054, server="p2")),
    ),
    "s11_no_endpoints": (
        Step("pod tcp, cold ARP", tcp, to("p1", WEB, 40001), cold=True),
        Step("pod udp, connected socket", udp_refused, to("p1", DNS, 40053)),
        Step("node tcp (OUTPUT)", tcp, to("n1", WEB, 40002)),
        Step("node udp (OUTPUT)", udp_refused, to("n1", DNS, 40054)),
        Step("ext -> NodePort (INPUT)", tcp, to("ext", ("192.168.50.11", 30080), 40003)),
        Step(
            "pod tcp to a ClusterIP nobody owns (default route)",
            tcp,
            to("p1", ("10.96.9.9", 80), 40004, timeout_ns=500 * MS),
        ),
        Step("no default route: pod tcp to the ClusterIP", tcp, to("p1", WEB, 40005), without_default=("n1", "n2")),
        Step("no default route: node tcp to the ClusterIP", tcp, to("n1", WEB, 40006)),
    ),
    "s12_closed_ports": (
        Step("tcp to a closed port, same node, cold", tcp, to("p1", (P2, 81), 40001), cold=True),
        Step("tcp to a closed port, other node", tcp, to("p1", (P3, 81), 40002)),
        Step("tcp to a ClusterIP whose endpoint's port is closed", tcp, to("p1", WEB, 40003)),
        Step("one udp datagram to a closed port, same node", udp_unheard, to("p1", (P2, 54), 40053, size=20)),
        Step(
            "one udp datagram of 1000 bytes to a closed port: how much is quoted",
            udp_unheard,
            to("p1", (P2, 54), 40053, size=1000),
            pause_ns=6500 * MS,
        ),
        Step(
            "20 udp datagrams, 1 ms apart, then one after 1.05 s: rate limit",
            udp_burst,
            to("p1", (P2, 54), 40053),
        ),
    ),
}
