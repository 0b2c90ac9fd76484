"""http: answers one request with a line that names the pod, and closes (HTTP/1.0, RFC 1945).

The request's head is read to its empty line; a body is not read. Must not know what a request means.
"""

from __future__ import annotations

import re
from functools import partial

from emu.apps import Host, Running, apps, refuse_protocol
from emu.apps.serve import Connection, TcpServer

MAX_HEAD = 65536
_REQUEST = re.compile(rb"([A-Z]+) (\S+)(?: HTTP/\d\.\d)?\r?\n")
_HEAD_END = re.compile(rb"\r?\n\r?\n")


def response(status: str, body: bytes, *, head_only: bool = False) -> bytes:
    """A whole answer without a date, so that the same run gives the same bytes."""
    head = f"HTTP/1.0 {status}\r\nServer: emu\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + (b"" if head_only else body)


class Http:
    """The conversation: read the request's head, answer, close."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._head = b""

    def received(self, data: bytes, connection: Connection) -> None:
        self._head += data
        if _HEAD_END.search(self._head):
            self._reply(connection)
        elif len(self._head) > MAX_HEAD:
            self._refuse(connection)

    def ended(self, connection: Connection) -> None:
        """The peer ended: an incomplete request is answered with an error, no request with nothing."""
        if self._head:
            self._refuse(connection)
        else:
            connection.close()

    def _reply(self, connection: Connection) -> None:
        request = _REQUEST.match(self._head)
        if request is None:
            self._refuse(connection)
            return
        method, path = request.groups()
        body = f"{self._name} answers {method.decode()} {path.decode(errors='replace')}\n".encode()
        connection.send(response("200 OK", body, head_only=method == b"HEAD"))
        connection.close()

    def _refuse(self, connection: Connection) -> None:
        connection.send(response("400 Bad Request", f"{self._name} cannot read that\n".encode()))
        connection.close()


@apps.add("http")
def http(net: Host, port: int, protocol: str, name: str) -> Running:
    """TCP only."""
    if protocol != "TCP":
        raise refuse_protocol("http", protocol, "TCP")
    return TcpServer(net, port, partial(Http, name))
