"""echo: sends back what it receives (RFC 862); on TCP until the peer closes, then it closes too.

A datagram from the server's own port number is not answered: two echo servers, or one and itself, would never end (CERT CA-1996-01).
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


class EchoServer(UdpServer):
    """Sends each datagram back, unless it may be another server's answer."""

    def received(self, data: bytes, peer: tuple[str, int], flow: int) -> None:
        """A datagram of a flow came. Raises SocketError."""
        if peer[1] != self.socket.port:
            super().received(data, peer, flow)


@apps.add("echo")
def echo(net: Host, port: int, protocol: str, name: str) -> Running:
    """TCP and UDP."""
    if protocol == "TCP":
        return TcpServer(net, port, Echo)
    if protocol == "UDP":
        return EchoServer(net, port, lambda data: data)
    raise refuse_protocol("echo", protocol, "TCP", "UDP")
