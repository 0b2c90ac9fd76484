"""A UDP flow: one datagram, and its answer if one is expected. Must not know what the data means."""

from __future__ import annotations

import errno

from emu.errors import SocketError
from emu.kube.flow.flow import SETTLE_NS, Flow
from emu.kube.flow.outcome import DELIVERED, failed, rejected, silence
from emu.kube.flow.testbed import UdpClient


def udp(flow: Flow, send: bytes, *, port: int, timeout_ns: int, connected: bool, reply: bool) -> None:
    """Send one datagram, from a connected or unconnected socket; with `reply` wait for its answer."""
    target = flow.target
    sock: UdpClient = flow.client.sockets.udp(flow.number)
    try:
        if port:
            sock.bind(("0.0.0.0", port))
        if connected:
            sock.connect((target.addr, target.port))
            sock.send(send)
        else:
            sock.sendto(send, (target.addr, target.port))
    except SocketError as failure:
        local = rejected(sock.errors, flow.losses)
        flow.outcome = local if local is not None and failure.errno == errno.EPERM else failed(failure)
        sock.close()
        return
    flow.wait(timeout_ns if reply else SETTLE_NS, lambda: bool(sock.inbox or sock.errors))
    if sock.inbox:
        flow.received, _sender = sock.recvfrom()
        flow.outcome = DELIVERED
    else:
        error = rejected(sock.errors, flow.losses)
        if error is not None:
            flow.outcome = error
        elif flow.arrivals and not reply:
            flow.outcome = DELIVERED
        else:
            flow.outcome = silence(flow.losses)
    sock.close()
    flow.settle()
