"""A TCP flow: connect, send, read the whole answer, close; or leave the connection open for a later flow.

Must not know what an answer means.
"""

from __future__ import annotations

import errno

from emu.clock import SECOND
from emu.errors import SocketError
from emu.kube.flow.flow import SETTLE_NS, Flow
from emu.kube.flow.outcome import DELIVERED, Outcome, failed, rejected, silence
from emu.kube.flow.testbed import TcpClient

QUIET_NS = SECOND  # longer than a peer's first retransmission timeout


def tcp(flow: Flow, send: bytes, *, port: int, timeout_ns: int, close: bool, blocking: bool) -> None:
    """Connect, send, read the whole answer (see `_converse`), close. `blocking`: the client waits inside connect()."""
    target = flow.target
    sock: TcpClient = flow.client.sockets.tcp(flow.number)
    sock.blocking = blocking
    try:
        if port:
            sock.bind(("0.0.0.0", port))
        sock.connect((target.addr, target.port))
    except SocketError as failure:
        flow.outcome = failed(failure)
        return
    flow.wait(timeout_ns, lambda: sock.connected or sock.state == "CLOSE")
    if not sock.connected:
        flow.outcome = closed_by(flow, sock)
        if sock.state != "CLOSE":
            sock.abort()
        return
    _talk(flow, sock, send, timeout_ns=timeout_ns, close=close)


def more(flow: Flow, send: bytes, *, timeout_ns: int, close: bool) -> None:
    """Use the connection that `flow.before` left open: the frames of both ends belong to `flow` from now on."""
    before = flow.before
    assert before is not None
    sock, before.socket = before.socket, None
    assert sock is not None
    flow.arrivals.update(before.arrivals)
    for name, key in before.arrivals:
        net = flow.testbed.namespaces.get(name)
        end = net.sockets.tcp_table.connections.get(key) if net is not None else None
        if end is not None and end.flow == before.number:
            end.flow = flow.number
    sock.flow = flow.number
    if sock.state in ("CLOSE", "CLOSE_WAIT"):  # the peer has closed: a send gives an error, or no answer
        if sock.connected and send:
            sock.send(send)
            flow.wait(timeout_ns, lambda: sock.state == "CLOSE")
        flow.outcome = closed_by(flow, sock)
        return
    _talk(flow, sock, send, timeout_ns=timeout_ns, close=close)


def _talk(flow: Flow, sock: TcpClient, send: bytes, *, timeout_ns: int, close: bool) -> None:
    """Over an open connection: send, read the answer, close it or leave it open."""
    clock = flow.testbed.clock
    flow.outcome = DELIVERED
    read_ns = clock.now
    if send:
        flow.settle()
        read_ns = _converse(flow, sock, send, timeout_ns)
    if close:
        clock.run_until(max(clock.now, read_ns + SETTLE_NS))
        sock.close()
        flow.wait(timeout_ns, lambda: sock.state in ("CLOSE", "TIME_WAIT"))
    else:
        flow.socket = sock
    flow.settle()


def _converse(flow: Flow, sock: TcpClient, send: bytes, timeout_ns: int) -> int:
    """Send, and read the whole answer. Gives the time at which its last byte was read.

    The client knows no protocol. The answer is complete when the stream ends; when it equals the data that was sent (an
    echo); or when data that is no echo has come, and then nothing more for `QUIET_NS`. The client waits for
    `timeout_ns` in all.
    """
    try:
        sock.send(send)
    except SocketError as failure:
        flow.outcome = failed(failure)
        return flow.testbed.clock.now
    answer = bytearray()
    clock = flow.testbed.clock
    read_ns, end_ns = clock.now, clock.now + timeout_ns

    def ready() -> bool:
        endpoint = sock.endpoint
        return endpoint is None or bool(endpoint.readable) or endpoint.eof or endpoint.state == "CLOSE"

    while clock.now < end_ns and answer != send:
        limit_ns = end_ns if send.startswith(answer) else min(end_ns, read_ns + QUIET_NS)
        if not flow.wait(limit_ns - clock.now, ready):
            break
        try:
            data = sock.recv()
        except SocketError:
            break
        if not data:
            break
        answer += data
        read_ns = clock.now
    flow.received = bytes(answer)
    if sock.state == "CLOSE" and sock.error:
        flow.outcome = closed_by(flow, sock)
    elif not answer and sock.endpoint is not None and not sock.endpoint.eof:
        flow.outcome = silence(flow.losses)
    return read_ns if len(answer) >= len(send) else clock.now


def closed_by(flow: Flow, sock: TcpClient) -> Outcome:
    """What a connection that is closed, or was never opened, came to."""
    found = rejected(sock.errors, flow.losses)
    if found is not None:
        return found
    if sock.error == errno.ECONNREFUSED:
        flow.at = _where_refused(flow) or flow.at  # the RST arrived at the client, too
        return Outcome("refused", "RST", flow.at)
    if sock.error == errno.ECONNRESET:
        return Outcome("refused", "RST", flow.at)
    return silence(flow.losses)


def _where_refused(flow: Flow) -> str:
    return next((loss.netns for loss in flow.losses if loss.reason == "NO_SOCKET"), "")
