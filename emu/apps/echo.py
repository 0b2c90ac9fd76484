"""echo: sends back what it receives (RFC 862); on TCP until the peer closes, then it closes too.

A datagram that a forged source makes the server's own is not answered: the server would answer itself for ever (CERT CA-1996-01).
Must not know who its clients are.
"""

from __future__ import annotations

from emu.apps import Host, Running, apps, refuse_protocol
from emu.apps.serve import Connection, TcpServer, UdpServer
from emu.wire.addr import ip4


class Echo:
    """The conversation: send every byte back."""

    def received(self, data: bytes, connection: Connection) -> None:
        connection.send(data)

    def ended(self, connection: Connection) -> None:
        connection.close()


class EchoServer(UdpServer):
    """Sends each datagram back, but those from its own address and port. Raises SocketError EADDRINUSE."""

    def __init__(self, net: Host, port: int) -> None:
        super().__init__(net, port, lambda data: data)
        self._sockets = net.sockets

    def received(self, data: bytes, peer: tuple[str, int], flow: int) -> None:
        """A datagram of a flow came. Raises SocketError."""
        if peer[1] == self.socket.port:
            addr = ip4(peer[0])
            if self._sockets.source_for(addr) == addr:  # a host reaches its own address from that address
                return
        super().received(data, peer, flow)


@apps.add("echo")
def echo(net: Host, port: int, protocol: str, name: str) -> Running:
    """TCP and UDP."""
    if protocol == "TCP":
        return TcpServer(net, port, Echo)
    if protocol == "UDP":
        return EchoServer(net, port)
    raise refuse_protocol("echo", protocol, "TCP", "UDP")
