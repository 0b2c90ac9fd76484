"""A user's own packet, sent unchanged from a namespace. Must not know what is in it."""

from __future__ import annotations

from typing import Any

from emu.errors import SocketError
from emu.kube.flow.flow import Flow
from emu.kube.flow.outcome import DELIVERED, failed, silence


def packet(flow: Flow, what: Any, device: str | None, *, timeout_ns: int) -> None:
    """Send a Scapy packet or the bytes of a frame; delivered if it reached a socket or protocol of any namespace."""
    try:
        flow.client.sockets.send_packet(what, flow.number, device)
    except SocketError as failure:
        flow.outcome = failed(failure)
        return
    flow.wait(timeout_ns, lambda: bool(flow.arrivals or flow.losses))
    flow.settle()
    # of the drops the first: a later one is that of an answer, such as a reset to a socket that is not there
    flow.outcome = DELIVERED if flow.arrivals else silence(flow.losses[:1])
