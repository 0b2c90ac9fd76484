"""Writes a frame's bytes as a ladder's line: `[p1.eth0>bcast] ARP who-has ...`.

The twin's normaliser in the spelling of the recorded ladders: no side was given the other's draws there, so echo ids,
ephemeral ports and unknown MACs are numbered by first appearance too, and contents are lengths. One `Ladder` a scenario.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping

from emu.twin.normalise import Normaliser, checksum

EPHEMERAL = range(32768, 61000)


class Ladder(Normaliser):
    """`roles` maps MACs to `namespace.device`; `known_ports` are ephemeral ports that the driver chose itself."""

    unreachable = {0: "net", 1: "host", 2: "protocol", 3: "port", 9: "net-prohibited", 10: "host-prohibited"}
    redirects = False
    reads_quotes = False

    def __init__(self, roles: Mapping[bytes, str], known_ports: Iterable[int] = ()) -> None:
        super().__init__(roles)
        self.known_ports = frozenset(known_ports)

    def _role(self, mac: bytes) -> str:
        return self.roles.get(mac) or self._symbol("mac", mac)

    def _port(self, port: int) -> str:
        if port in EPHEMERAL and port not in self.known_ports:
            return self._symbol("port", port)
        return str(port)

    def _wanted(self, tha: bytes) -> str:
        return ""

    def _contents(self, data: bytes) -> str:
        return f"len={len(data)}"

    def _piece(self, proto: int, payload: bytes, first: bool) -> str:
        return self._contents(payload)

    def _quoted(self, data: bytes, size: int) -> str:
        return f"len={size}"

    def _quoted_id(self, ip_id: int, proto: int, total: int) -> str:
        return "q"

    def _summed(self, payload: bytes) -> str:
        return ""

    def _ip_options(self, data: bytes) -> str:
        return ""

    def _echo(self, ident: int, seq: int, data: bytes, size: int, quoted: bool) -> str:
        return f"{self._symbol('echo', ident)} seq={seq} data={size}"

    def _wrong(self, pseudo: bytes, payload: bytes, at: int) -> str:
        partial = payload[at : at + 2] == struct.pack("!H", checksum(pseudo) ^ 0xFFFF)
        return " partial-checksum" if partial else super()._wrong(pseudo, payload, at)

    def _sack(self, value: bytes) -> str:
        return "sack"

    def _other_option(self, kind: int, value: bytes) -> str:
        return str(kind)

    def _other_icmp(self, kind: int, code: int, rest: bytes) -> str:
        return f"type={kind} code={code}"

    def _exceeded(self, code: int) -> str:
        return "ttl"
