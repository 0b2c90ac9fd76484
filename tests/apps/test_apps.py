"""What runs in pods: answers, delays, flows, ends; and that every app on the shelf keeps the shelf's promises."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from emu import craft
from emu.apps import APP_DELAY_NS, apps, start
from emu.clock import MS, SECOND, Clock
from emu.errors import InputError, SocketError
from emu.kernel import boot
from emu.kernel.net.netns import Netns
from emu.kernel.transport.tcp_socket import TcpSocket

SERVER = "10.0.0.2"


@pytest.fixture
def cable() -> tuple[Netns, Netns]:
    """A client and a server on one cable."""
    clock = Clock()
    client, server = boot.namespace(clock, "client"), boot.namespace(clock, "server")
    boot.veth(client, "eth0", server, "eth0", "02:00:00:00:00:01", "02:00:00:00:00:02")
    boot.address(client, "eth0", "10.0.0.1/24")
    boot.address(server, "eth0", f"{SERVER}/24")
    return client, server


def connect(client: Netns, port: int, flow: int = 1) -> TcpSocket:
    socket: TcpSocket = client.sockets.tcp(flow)
    socket.connect((SERVER, port))
    wait(client)
    return socket


def wait(net: Netns, delay_ns: int = 10 * MS) -> None:
    net.clock.run_until(net.clock.now + delay_ns)


def refusal(call: Callable[[], object]) -> int:
    with pytest.raises(SocketError) as caught:
        call()
    assert caught.value.errno is not None
    return caught.value.errno


def test_echo_over_tcp_until_the_client_closes(cable: tuple[Netns, Netns]) -> None:
    client, server = cable
    running = start("echo", server, 7)
    socket = connect(client, 7)
    for text in (b"one", b"two" * 2000):
        socket.send(text)
        wait(client)
        assert socket.recv() == text
    socket.shutdown()
    wait(client)
    assert socket.recv() == b""
    assert server.sockets.tcp_table.connections == {}
    running.stop()
    assert refusal(lambda: connect(client, 7).recv()) == errno.ECONNREFUSED


def test_data_that_came_before_accept_is_answered(cable: tuple[Netns, Netns]) -> None:
    client, server = cable
    start("echo", server, 7)
    socket = client.sockets.tcp()
    socket.connect((SERVER, 7))
    assert socket.connected
    socket.send(b"early")  # the server has not even accepted
    wait(client)
    assert socket.recv() == b"early"


@pytest.mark.parametrize("source", [SERVER, "127.0.0.1"])
def test_an_echo_server_does_not_answer_itself_for_ever(cable: tuple[Netns, Netns], source: str) -> None:
    _, server = cable
    start("echo", server, 7, "UDP")
    server.sockets.send_packet(craft.expression(f"IP(src='{source}', dst='{source}')/UDP(sport=7, dport=7)/'x'"))
    wait(server, SECOND)
    assert server.delivered == 1


def test_an_echo_server_answers_a_client_whose_port_is_its_own(cable: tuple[Netns, Netns]) -> None:
    client, server = cable
    start("echo", server, 7, "UDP")
    socket = client.sockets.udp()
    socket.bind(("0.0.0.0", 7))
    socket.sendto(b"?", (SERVER, 7))
    wait(client)
    assert socket.recv() == b"?"


def test_apps_act_later_than_they_are_woken(cable: tuple[Netns, Netns]) -> None:
    client, server = cable
    start("echo", server, 7, "UDP")
    socket = client.sockets.udp()
    socket.connect((SERVER, 7))
    socket.send(b"?")
    sent_ns = client.clock.now
    assert refusal(socket.recv) == errno.EAGAIN
    client.clock.run_until(sent_ns + APP_DELAY_NS - MS // 100)
    assert refusal(socket.recv) == errno.EAGAIN
    client.clock.run_until(sent_ns + APP_DELAY_NS)
    assert socket.recv() == b"?"


def test_a_udp_answer_belongs_to_the_flow_that_asked(cable: tuple[Netns, Netns]) -> None:
    client, server = cable
    start("echo", server, 7, "UDP")
    seen: list[int] = []
    sockets = [client.sockets.udp(flow) for flow in (3, 4)]
    client.devices["eth0"].tap = lambda frame, direction: seen.append(frame.flow) if direction == 0 else None
    for socket in sockets:
        socket.connect((SERVER, 7))
        socket.send(b"x")
    wait(client)
    assert [socket.recv() for socket in sockets] == [b"x", b"x"]
    assert sorted(flow for flow in seen if flow) == [3, 3, 4]  # with the ARP answer that the first one caused


@pytest.mark.parametrize(
    ("pieces", "answer"),
    [
        ([b"GET / HTTP/1.0\r\n\r\n"], b"HTTP/1.0 200 OK\r\n*default/web-0 answers GET /\n"),
        (
            [b"GET /a?b HT", b"TP/1.1\r\nHost: web\r\n", b"\r\n"],
            b"HTTP/1.0 200 OK\r\n*default/web-0 answers GET /a?b\n",
        ),
        ([b"HEAD /x HTTP/1.0\n\n"], b"HTTP/1.0 200 OK\r\n*Content-Length: 30\r\n\r\n"),
        ([b"what?\r\n\r\n"], b"HTTP/1.0 400 Bad Request\r\n*cannot read that\n"),
        ([b"G" * 35000, b"G" * 35000], b"HTTP/1.0 400 Bad Request\r\n*cannot read that\n"),
    ],
)
def test_http_answers_once_and_closes(cable: tuple[Netns, Netns], pieces: list[bytes], answer: bytes) -> None:
    client, server = cable
    start("http", server, 80, name="default/web-0")
    socket = connect(client, 80)
    for piece in pieces:
        socket.send(piece)
        wait(client)
    got = socket.recv()
    head, _, body = answer.partition(b"*")
    assert got.startswith(head)
    assert got.endswith(body)
    assert socket.recv() == b""


def test_http_states_the_length_of_its_body(cable: tuple[Netns, Netns]) -> None:
    client, server = cable
    start("http", server, 80)
    socket = connect(client, 80)
    socket.send(b"GET / HTTP/1.0\r\n\r\n")
    wait(client)
    head, _, body = socket.recv().partition(b"\r\n\r\n")
    assert body == b"server answers GET /\n"
    assert f"Content-Length: {len(body)}".encode() in head


def test_half_a_request_is_refused_when_the_client_ends(cable: tuple[Netns, Netns]) -> None:
    client, server = cable
    start("http", server, 80)
    half, none = connect(client, 80), connect(client, 80)
    half.send(b"GET / HT")
    for socket in (half, none):
        socket.shutdown()
    wait(client)
    assert half.recv().startswith(b"HTTP/1.0 400 ")
    assert none.recv() == b""


@pytest.mark.parametrize("protocol", ["TCP", "UDP"])
def test_sink_takes_all_and_answers_nothing(cable: tuple[Netns, Netns], protocol: str) -> None:
    client, server = cable
    start("silent", server, 9, protocol)
    socket = client.sockets.udp() if protocol == "UDP" else client.sockets.tcp()
    socket.connect((SERVER, 9))
    wait(client)
    socket.send(b"hello" * 200)
    wait(client, SECOND)
    assert refusal(socket.recv) == errno.EAGAIN
    if protocol == "TCP":
        (accepted,) = server.sockets.tcp_table.connections.values()
        unread = accepted.endpoint.readable
    else:
        unread = server.sockets.udp_table.ports.lookup(0, 9).inbox_bytes
    assert not unread, "the sink reads what it gets"


@pytest.mark.parametrize("app", sorted(apps))
def test_every_app_keeps_the_promises(cable: tuple[Netns, Netns], app: str) -> None:
    client, server = cable
    running = start(app, server, 1000)
    assert refusal(lambda: start(app, server, 1000)) == errno.EADDRINUSE
    open_connection = connect(client, 1000)
    running.stop()
    wait(client)
    assert open_connection.recv() == b"", "stop ends what is open"
    assert refusal(lambda: connect(client, 1000).recv()) == errno.ECONNREFUSED
    start(app, server, 1000).stop()
    with pytest.raises(InputError, match="does not speak SCTP"):
        start(app, server, 1001, "SCTP")


def test_an_unknown_app_is_an_error_with_the_nearest_name(cable: tuple[Netns, Netns]) -> None:
    with pytest.raises(InputError, match="no app is called 'ecko'") as caught:
        start("ecko", cable[1], 7)
    assert "'echo'" in str(caught.value)


def test_two_containers_cannot_have_one_port(cable: tuple[Netns, Netns]) -> None:
    _, server = cable
    start("http", server, 80)
    assert refusal(lambda: start("echo", server, 80)) == errno.EADDRINUSE
    start("echo", server, 80, "UDP")
