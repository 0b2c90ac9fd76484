"""A ping: echo requests at an interval, as the tool `ping` sends them. Must not know the target."""

from __future__ import annotations

from functools import partial

from emu.errors import SocketError
from emu.kube.flow.flow import Flow
from emu.kube.flow.outcome import DELIVERED, failed, rejected, silence
from emu.kube.flow.testbed import PingClient

LONGEST = 65507  # bytes of data: what an IP packet holds besides its header and that of ICMP


def ping(flow: Flow, *, count: int, interval_ns: int, size: int, timeout_ns: int, ttl: int) -> None:
    """Send `count` echo requests of `size` bytes, one each `interval_ns`; delivered if any was answered."""
    clock, target = flow.testbed.clock, flow.target
    sock: PingClient = flow.client.sockets.ping(flow.number)
    sock.ttl = ttl
    data = (bytes(16) + bytes(index & 255 for index in range(16, size)))[:size]
    for seq in range(1, count + 1):
        started_ns = clock.now
        try:
            sock.send(target.addr, seq, data)
        except SocketError as failure:
            flow.outcome = failed(failure)
            sock.close()
            return
        flow.wait(timeout_ns, partial(_answered, sock, seq))
        if seq < count:
            clock.run_until(started_ns + interval_ns)
    flow.rtt_ns = [reply.rtt_ns for reply in sock.replies]
    flow.outcome = DELIVERED if sock.replies else rejected(sock.errors, flow.losses) or silence(flow.losses)
    sock.close()
    flow.settle()


def _answered(sock: PingClient, count: int) -> bool:
    return len(sock.replies) + len(sock.errors) >= count
