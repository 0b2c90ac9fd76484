"""echo: sends back what it receives (RFC 862); on TCP until the peer closes, then it closes too.

Must not know who its clients are.
"""

from __future__ import annotations

from emu.apps import Host, Running, apps, refuse_protocol
from emu.apps.serve import Connection, TcpServer, UdpServer


class Echo:
    """The conversation: send every byte back."""

    def received(self, data: bytes, connection: Connection) -> None:
        connection.send(data)

    def ended(self, connection: Connection) -> None:
        connection.close()


@apps.add("echo")
def echo(net: Host, port: int, protocol: str, name: str) -> Running:
    """TCP and UDP."""
    if protocol == "TCP":
        return TcpServer(net, port, Echo)
    if protocol == "UDP":
        return UdpServer(net, port, lambda data: data)
    raise refuse_protocol("echo", protocol, "TCP", "UDP")
