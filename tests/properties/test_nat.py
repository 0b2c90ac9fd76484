"""NAT seen from both ends: a router with DNAT and SNAT between clients and servers, random flows over real sockets."""

from __future__ import annotations

from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from emu.errors import SocketError
from emu.kernel import boot
from emu.kernel.net.netns import Netns
from emu.kernel.transport.tcp_socket import TcpSocket
from emu.lab import Lab
from emu.testing import invariants
from emu.testing.strategies import examples, ports
from emu.wire.addr import ip4_text

SERVICE = "10.96.0.10"
ROUTE = {
    "none": (),
    "masquerade": ("-t nat -A POSTROUTING -o eth+ -d 10.1.0.0/24 -j MASQUERADE",),
    "snat": tuple(
        f"-t nat -A POSTROUTING -s 10.0.0.0/16 -p {proto} -j SNAT --to-source 10.1.0.1:2000-2002"
        for proto in ("udp", "tcp")
    ),
    "random": ("-t nat -A POSTROUTING -o eth+ -d 10.1.0.0/24 -j MASQUERADE --random-fully",),
}


def bench(clients: int, servers: int, source: str, persist: bool) -> tuple[Lab, list[Netns], list[Netns]]:
    """Clients with a /24 each, servers behind one bridge, one Service (any port) that picks among the servers."""
    lab = Lab()
    router = lab.router("router")
    bridge = lab.bridge(router, cidr="10.1.0.1/24")
    asking = [lab.host(f"client-{number}") for number in range(clients)]
    serving = [lab.host(f"server-{number}") for number in range(servers)]
    for number, host in enumerate(asking):
        lab.cable(host, f"10.0.{number}.2/24", router, f"10.0.{number}.1/24", default=True)
    for number, host in enumerate(serving):
        lab.cable(host, f"10.1.0.{number + 10}/24", bridge, "")
        boot.route(host, "default via 10.1.0.1")
        left = servers - number
        chance = f"-m statistic --mode nth --every {left} --packet 0 " if left > 1 else ""
        persistent = " --persistent" if persist else ""
        for proto in ("udp", "tcp"):
            lab.iptables(
                router,
                f"-t nat -A PREROUTING -d {SERVICE} -p {proto} {chance}"
                f"-j DNAT --to-destination 10.1.0.{number + 10}:7{persistent}",
            )
    lab.iptables(router, *ROUTE[source])
    return lab, asking, serving


def accepted(listening: list[TcpSocket]) -> TcpSocket:
    """The one connection that waits at one of these."""
    found = []
    for socket in listening:
        with suppress(SocketError):
            found.append(socket.accept())
    assert len(found) == 1
    return found[0]


FLOW = st.tuples(st.integers(0, 1), ports(), ports(), st.binary(min_size=1, max_size=30))


@given(
    st.integers(1, 3),
    st.sampled_from(sorted(ROUTE)),
    st.booleans(),
    st.lists(FLOW, min_size=1, max_size=8),
    st.integers(1, 3),
)
@examples(120)
def test_datagrams_there_and_back(
    servers: int, source: str, persist: bool, flows: list[tuple[int, int, int, bytes]], times: int
) -> None:
    lab, asking, serving = bench(2, servers, source, persist)
    listening = [host.sockets.udp() for host in serving]
    for socket in listening:
        socket.bind(("0.0.0.0", 7))
    for flow, (who, sport, dport, data) in enumerate(flows, 1):
        talking = asking[who].sockets.udp(flow)
        try:
            talking.bind(("0.0.0.0", sport))
        except SocketError:
            continue
        talking.connect((SERVICE, dport))
        received: set[int] = set()
        for _ in range(times):
            talking.send(data)
            for number, socket in enumerate(listening):
                while socket.inbox:
                    received.add(number)
                    socket.flow = flow
                    socket.sendto(*socket.recvfrom())
            lab.run(0.01)
            if not talking.inbox:
                # three source ports are soon gone; then the router drops, and nothing else does
                assert source == "snat"
                assert lab.namespaces["router"].drops.total()
                break
            assert talking.recv() == data
        assert len(received) <= 1, "a connection keeps its endpoint"
    invariants.hold(lab)


@given(st.integers(1, 3), st.sampled_from(("none", "masquerade", "random")), st.lists(FLOW, min_size=1, max_size=4))
@examples(80)
def test_streams_there_and_back(servers: int, source: str, flows: list[tuple[int, int, int, bytes]]) -> None:
    lab, asking, serving = bench(2, servers, source, False)
    listening = [host.sockets.tcp() for host in serving]
    for socket in listening:
        socket.bind(("0.0.0.0", 7))
        socket.listen()
    for flow, (who, sport, dport, data) in enumerate(flows, 1):
        talking = asking[who].sockets.tcp(flow)
        try:
            talking.bind(("0.0.0.0", sport))
        except SocketError:
            continue
        talking.connect((SERVICE, dport))
        lab.run(0.01)
        assert talking.connected
        talking.send(data)
        lab.run(0.01)
        peer = accepted(listening)
        assert peer.recv() == data
        peer.send(data[::-1])
        lab.run(0.1)
        assert talking.recv() == data[::-1]
        talking.close()
        peer.close()
        lab.run(0.5)
    invariants.hold(lab)


@given(st.integers(1, 3), ports(), st.sampled_from(sorted(ROUTE)))
@examples(40)
def test_an_error_comes_back_in_the_senders_terms(servers: int, dport: int, source: str) -> None:
    """No socket listens: the server's port-unreachable quotes, for the client, the packet that the client sent."""
    lab, asking, _serving = bench(1, servers, source, False)
    talking = asking[0].sockets.udp(1)
    talking.connect((SERVICE, dport))
    talking.send(b"question")
    lab.run(0.1)
    assert [(e.kind, e.code, ip4_text(e.dst), e.dport) for e in talking.errors] == [(3, 3, SERVICE, dport)]
    invariants.hold(lab)
