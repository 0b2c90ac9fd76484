"""sink, also called silent: reads all data and never answers; closes when the peer does.

Must not know who its clients are.
"""

from __future__ import annotations

from emu.apps import Host, Running, apps, refuse_protocol
from emu.apps.serve import Connection, TcpServer, UdpServer


class Sink:
    """The conversation: read only."""

    def received(self, data: bytes, connection: Connection) -> None:
        """Send nothing."""

    def ended(self, connection: Connection) -> None:
        connection.close()


@apps.add("sink", "silent")
def sink(net: Host, port: int, protocol: str, name: str) -> Running:
    """TCP and UDP."""
    if protocol == "TCP":
        return TcpServer(net, port, Sink)
    if protocol == "UDP":
        return UdpServer(net, port, lambda data: None)
    raise refuse_protocol("sink", protocol, "TCP", "UDP")
