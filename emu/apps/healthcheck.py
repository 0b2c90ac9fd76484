"""healthcheck: kube-proxy's answer on a health check node port, 200 where a Service has local endpoints, else 503.

A process of the node, not of a pod: no annotation chooses it. Source: pkg/proxy/healthcheck/service_health.go. Must
not know rules or objects: kube-proxy gives it the reports.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from emu.apps import Host
from emu.apps.http import Http
from emu.apps.serve import Connection, TcpServer
from emu.errors import SocketError

Report = tuple[str, str, int]  # namespace and name of the Service, its local ready endpoints


def answer(report: Report) -> bytes:
    """The whole response without a date, so that the same run gives the same bytes."""
    namespace, name, count = report
    body = (
        f'{{\n\t"service": {{\n\t\t"namespace": "{namespace}",\n\t\t"name": "{name}"\n\t}},\n'
        f'\t"localEndpoints": {count},\n\t"serviceProxyHealthy": true\n}}'
    )
    status = "200 OK" if count else "503 Service Unavailable"
    head = (
        f"HTTP/1.0 {status}\r\nContent-Type: application/json\r\nX-Content-Type-Options: nosniff\r\n"
        f"X-Load-Balancing-Endpoint-Weight: {count}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return (head + body).encode()


class _Check(Http):
    """The conversation: every request is answered with the present report."""

    def __init__(self, servers: HealthCheck, port: int) -> None:
        super().__init__("kube-proxy")
        self._servers, self._port = servers, port

    def _reply(self, connection: Connection) -> None:
        connection.send(answer(self._servers.reports[self._port]))
        connection.close()


class HealthCheck:
    """The servers of one node. `errors` has the errno names of ports that are taken."""

    def __init__(self, net: Host) -> None:
        self._net = net
        self._servers: dict[int, Any] = {}
        self.reports: dict[int, Report] = {}
        self.errors: dict[int, str] = {}

    def serve(self, reports: Mapping[int, Report]) -> None:
        """Answer on exactly these ports from now on."""
        if reports == self.reports and not self.errors:
            return
        for port in [port for port in self._servers if port not in reports]:
            self._servers.pop(port).stop()
        self.reports = dict(reports)
        self.errors = {}
        for port in reports:
            if port not in self._servers:
                try:
                    self._servers[port] = TcpServer(self._net, port, partial(_Check, self, port))
                except SocketError as error:
                    self.errors[port] = error.name
