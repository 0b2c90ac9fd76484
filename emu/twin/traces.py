"""What the kernel itself reports of a namespace: the rules that first packets matched, and each new connection, in order.

nftables traces the first packet of every connection (`meta nftrace`, which nftables' backend of iptables obeys), and conntrack
sends an event for each entry that is confirmed. Neither changes a packet. Must not know what the reports are used for,
and must not use emu's own parsers (linux/netfilter/nf_tables.h, nfnetlink_conntrack.h).
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from emu.twin.space import Space, TwinError

NETLINK_NETFILTER, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, SO_RCVBUFFORCE = 12, 270, 1, 33
GROUP_CONNTRACK_NEW, GROUP_TRACE = 1, 9
MSG_CONNTRACK_NEW, MSG_TRACE = 1 << 8, 10 << 8 | 17
MSG_GENERATION, NLM_F_REQUEST, GENERATION_ID = 10 << 8 | 16, 1, 1
TRACE_TABLE, TRACE_CHAIN, TRACE_RULE_HANDLE, TRACE_TYPE = 1, 2, 3, 4
TYPE_POLICY = 1
BUFFER = 1 << 23  # bytes: the reports of one flow
_ORDER = (("ip", 1), ("ip", 2), ("proto", 2), ("proto", 3))  # source, destination, their ports, as attributes
_ICMP_ID = 4  # CTA_PROTO_ICMP_ID
# Behind conntrack (-200), before the mangle and nat tables
_TRACE = """table ip emu-trace {
  chain incoming { type filter hook prerouting priority -199; ct state new meta nftrace set 1; }
  chain outgoing { type filter hook output priority -199; ct state new meta nftrace set 1; }
}
"""


class Walked(NamedTuple):
    """A packet matched rule `number` (from 1) of a chain; 0: it came to the chain's end."""

    table: str
    chain: str
    number: int


class Opened(NamedTuple):
    """A connection was confirmed: its protocol, and (source, destination, source port, destination port) of its first packet
    and of the answer. ICMP's id stands for both ports."""

    proto: int
    orig: tuple[int, int, int, int]
    reply: tuple[int, int, int, int]


class Traces:
    """`settle` reads the reports; it is called before rules change, as a report names a rule by its handle. `walked` and
    `opened` grow until the reader clears them. Raises TwinError when reports were lost."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self.walked: list[Walked] = []
        self.opened: list[Opened] = []
        self._known: tuple[int, dict[tuple[str, str, int], int]] = 0, {}  # numbers of rules, and of which generation
        space.run("nft", "-f", "-", text=_TRACE)
        with space.inside():
            self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, NETLINK_NETFILTER)
            self._asks = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
        self.socket.bind((0, 0))  # without a number of its own it would count as the sender, the kernel
        self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
        for group in (GROUP_CONNTRACK_NEW, GROUP_TRACE):
            self.socket.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)

    def settle(self) -> None:
        reports: list[tuple[str, str, int]] = []
        for kind, data in self._messages():
            if kind == MSG_TRACE:
                found = dict(_attributes(data))
                (what,) = struct.unpack("!I", found[TRACE_TYPE])
                (handle,) = struct.unpack("!Q", found.get(TRACE_RULE_HANDLE, bytes(8)))
                table, chain = _text(found[TRACE_TABLE]), _text(found[TRACE_CHAIN])
                if what != TYPE_POLICY:  # a base chain's end is reported before its policy
                    reports.append((table, chain, handle))
            elif kind == MSG_CONNTRACK_NEW:
                opened = _opened(data)
                if opened is not None:
                    self.opened.append(opened)
        if reports:
            generation = self._generation()
            if generation != self._known[0]:
                self._known = generation, self._numbers()
            numbers = self._known[1]
            self.walked += [
                Walked(table, chain, numbers.get((table, chain, handle), 0)) for table, chain, handle in reports
            ]

    def _messages(self) -> Iterator[tuple[int, bytes]]:
        while True:
            try:
                data = self.socket.recv(1 << 17)
            except BlockingIOError:
                return
            except OSError as error:
                raise TwinError(f"{self.space.name}: reports of its rules were lost: {error}") from None
            while len(data) >= 20:
                length, kind = struct.unpack_from("=IH", data)
                yield kind, data[20:length]  # behind the headers of netlink and of nfnetlink
                data = data[length + 3 & ~3 :]

    def _generation(self) -> int:
        """How often the rules of the namespace have been changed."""
        self._asks.send(struct.pack("=IHHIIBBH", 20, MSG_GENERATION, NLM_F_REQUEST, 0, 0, 0, 0, 0))
        (number,) = struct.unpack("!I", dict(_attributes(self._asks.recv(1 << 12)[20:]))[GENERATION_ID])
        return int(number)

    def _numbers(self) -> dict[tuple[str, str, int], int]:
        """The place of each rule in its chain, by table, chain and handle."""
        numbers: dict[tuple[str, str, int], int] = {}
        last: dict[tuple[str, str], int] = {}
        for each in json.loads(self.space.run("nft", "-a", "-j", "list", "ruleset", "ip"))["nftables"]:
            rule = each.get("rule")
            if rule is not None:
                chain = rule["table"], rule["chain"]
                last[chain] = last.get(chain, 0) + 1
                numbers[*chain, rule["handle"]] = last[chain]
        return numbers

    def close(self) -> None:
        self.socket.close()
        self._asks.close()


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The attributes of a netlink message: number and value."""
    while len(data) >= 4:
        length, number = struct.unpack_from("=HH", data)
        if length < 4:
            return
        yield number & 0x3FFF, data[4:length]
        data = data[length + 3 & ~3 :]


def _text(data: bytes) -> str:
    return data.rstrip(b"\0").decode()


def _opened(data: bytes) -> Opened | None:
    """The entry, if its protocol has ports or is ICMP."""
    found = dict(_attributes(data))
    with suppress(KeyError):
        (proto,) = dict(_attributes(dict(_attributes(found[1]))[2]))[1]
        return Opened(proto, _ends(found[1]), _ends(found[2]))
    return None


def _ends(data: bytes) -> tuple[int, int, int, int]:
    found = dict(_attributes(data))
    parts = {"ip": dict(_attributes(found[1])), "proto": dict(_attributes(found[2]))}
    if _ICMP_ID in parts["proto"]:
        parts["proto"] |= dict.fromkeys((2, 3), parts["proto"][_ICMP_ID])
    src, dst, sport, dport = (int.from_bytes(parts[part][number]) for part, number in _ORDER)
    return src, dst, sport, dport
