"""A ladder's line back into a frame, with Scapy: the way opposite to `ladder_normalise`, to check that one by.

What a line leaves open (initial sequence numbers, IP IDs, echo ids) is drawn here, once per connection end.
Knows nothing of emu.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

_ETHER = re.compile(r"\[(\S+)>(\S+)\] (.*)")
_WHO_HAS = re.compile(r"ARP who-has (\S+) tell (\S+) \((\S+)\)")
_IS_AT = re.compile(r"ARP (\S+) is-at (\S+) -> (\S+) \((\S+)\)")
_IPV4 = re.compile(r"(\S+)>(\S+) ttl(\d+) id=(\S+)( DF)?(?: tos=(\S+))? (.*)")
_TCP = re.compile(r"TCP (\d+)>(\d+) \[(\w+)\] seq=(\S+) ack=(\d+) win=(\d+) len=(\d+)(?: <(.*)>)?")
_UDP = re.compile(r"UDP (\d+)>(\d+) len=(\d+)")
_ECHO = re.compile(r"ICMP echo-(request|reply) (echo\d+) seq=(\d+) data=(\d+)")
_ERROR = re.compile(r"ICMP (net|port)-unreachable quote\((\d+)B\)\{(.*)\}")
_OPTIONS = {"nop": ("NOP", None), "sackOK": ("SAckOK", b"")}


class Composer:
    """`macs` maps roles to MAC text. One a scenario: it remembers what it drew."""

    def __init__(self, macs: Mapping[str, str], seed: int = 0) -> None:
        self.macs = {"bcast": "ff:ff:ff:ff:ff:ff", "zero": "00:00:00:00:00:00", **macs}
        self._random = random.Random(seed)
        self._drawn: dict[tuple[str, ...], int] = {}

    def frame(self, line: str) -> bytes:
        """The bytes of one line's frame. Raises ValueError for a form that no ladder has."""
        source, target, rest = self._split(_ETHER, line)
        ether = Ether(src=self.macs[source], dst=self.macs[target])
        if match := _WHO_HAS.fullmatch(rest):
            tpa, spa, sha = match.groups()
            return bytes(ether / ARP(op=1, hwsrc=self.macs[sha], psrc=spa, hwdst="00:00:00:00:00:00", pdst=tpa))
        if match := _IS_AT.fullmatch(rest):
            spa, sha, tpa, tha = match.groups()
            return bytes(ether / ARP(op=2, hwsrc=self.macs[sha], psrc=spa, hwdst=self.macs[tha], pdst=tpa))
        return bytes(ether / self._ipv4(rest))

    @staticmethod
    def _split(pattern: re.Pattern[str], text: str) -> tuple[str, ...]:
        match = pattern.fullmatch(text)
        if match is None:
            raise ValueError(f"no such form: {text!r}")
        return match.groups()

    def _draw(self, low: int, high: int, *key: str) -> int:
        return self._drawn.setdefault(key, self._random.randint(low, high))

    def _ipv4(self, text: str) -> Packet:
        source, target, ttl, ident, df, tos, rest = self._split(_IPV4, text)
        ip = IP(src=source, dst=target, ttl=int(ttl), flags="DF" if df else 0, tos=int(tos or "0", 16))
        ip_id = 0 if ident == "0" else self._random.randint(1, 65535)
        if match := _TCP.fullmatch(rest):
            sport, dport, flags, seq, ack, window, length, options = match.groups()
            # A connection is known by its client's port, 40001 and up, however NAT changes the rest.
            client, server = ("client", "server") if int(sport) > int(dport) else ("server", "client")
            port = str(max(int(sport), int(dport)))
            if ident.startswith("r+"):
                ip_id = (self._draw(1, 60000, "ip-id", port, client) + int(ident[2:])) & 0xFFFF
            layer: Packet = TCP(
                sport=int(sport),
                dport=int(dport),
                flags=flags,
                window=int(window),
                seq=self._sequence(seq, port, client),
                ack=self._sequence(ack, port, server) if "A" in flags else int(ack),
                options=[self._option(name) for name in options.split(",")] if options else [],
            )
            data = int(length)
        elif match := _UDP.fullmatch(rest):
            layer = UDP(sport=int(match[1]), dport=int(match[2]))
            data = int(match[3])
        elif match := _ECHO.fullmatch(rest):
            echo_id = self._draw(1, 65535, match[2])
            layer = ICMP(type=8 if match[1] == "request" else 0, id=echo_id, seq=int(match[3]))
            data = int(match[4])
        elif match := _ERROR.fullmatch(rest):
            quote = bytes(self._ipv4(match[3]))[: int(match[2])]
            ip.id = ip_id
            return ip / ICMP(type=3, code={"net": 0, "port": 3}[match[1]]) / Raw(quote)
        else:
            raise ValueError(f"no such form: {rest!r}")
        ip.id = ip_id
        return ip / layer / Raw(b"x" * data)

    def _sequence(self, text: str, port: str, end: str) -> int:
        if text == "0!":
            return 0
        if text.startswith("seq"):
            return self._draw(1, (1 << 32) - 1, text)
        return (self._draw(1, (1 << 32) - 1, "isn", port, end) + int(text)) & 0xFFFFFFFF

    @staticmethod
    def _option(name: str) -> tuple[str, object]:
        if name in _OPTIONS:
            return _OPTIONS[name]
        kind, _, value = name.partition("=")
        return {"mss": "MSS", "wscale": "WScale"}[kind], int(value)
