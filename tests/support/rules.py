"""For tests of rules: a namespace that knows addresses only, and frames written by hand."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

from emu.clock import Clock, Draws
from emu.kernel.netfilter.conn import IP_CT_UNTRACKED, Conn, Tuple5
from emu.kernel.netfilter.hooks import HOOK_NAMES, Hooks, HookState, Verdict
from emu.kernel.netfilter.save import parse_restore
from emu.kernel.netfilter.table import RuleSet, Tables
from emu.wire import sctp
from emu.wire.addr import ip4
from emu.wire.checksum import checksum
from emu.wire.frame import AF_INET, ICMP, SCTP, TCP, UDP, Frame

HOOKS = {name: number for number, name in enumerate(HOOK_NAMES)}


@dataclass(frozen=True)
class Device:
    name: str
    ifindex: int = 1


class EmptyTable:
    """A connection table in which no tuple is taken."""

    net_name = "node"

    def __init__(self) -> None:
        self.by_source: dict[tuple[int, int, int, int], list[Conn]] = {}

    def taken(self, reply: Tuple5, ignored: Conn) -> bool:
        return False

    def kill(self, conn: Conn) -> None:
        raise AssertionError(f"{conn} is in no table")

    def set_closing(self, conn: Conn) -> None:
        raise AssertionError(f"{conn} is in no table")

    def changed(self, conn: Conn) -> None:
        """It is in no list."""


@dataclass
class FakeNetns:
    """`local`: its own addresses; `shown`: what `select_addr` answers by device name."""

    clock: Clock = field(default_factory=Clock)
    name: str = "test"
    local: frozenset[int] = frozenset()
    sysctl: dict[str, int] = field(default_factory=dict)
    shown: dict[str, int] = field(default_factory=dict)
    number: int = AF_INET
    unroutable: str = ""
    rerouted: int = 0
    copies: list[tuple[int, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.hooks = Hooks(self, self)
        self.tables = Tables(self.hooks)

    def random(self, purpose: str) -> Draws:
        return self.clock.random(f"{purpose}/{self.name}")

    def addr_type(self, addr: int) -> str:
        if addr in self.local or addr >> 24 == 127:
            return "LOCAL"
        if addr >> 28 == 14:
            return "MULTICAST"
        return "BROADCAST" if addr == 0xFFFFFFFF else "UNICAST"

    def select_addr(self, device: Any, towards: int) -> int:
        return self.shown.get(device.name, 0)

    def route(self, dst: int, src: int = 0, mark: int = 0, iif: str = "") -> None:
        return None

    def local_route(self, addr: int) -> None:
        return None

    def find_socket(self, proto: int, dst: int, dport: int, src: int, sport: int) -> None:
        return None

    def duplicate(self, frame: Frame, gateway: int, oif: str, hook: int) -> None:
        self.copies.append((gateway, oif))

    def reroute(self, frame: Frame) -> str:
        self.rerouted += 1
        return self.unroutable

    def state(self, hook: str) -> HookState:
        return self.hooks.states[HOOKS[hook]]

    def run(self, hook: str, frame: Frame) -> Verdict:
        return self.hooks.run(HOOKS[hook], frame)


def packet(
    src: str = "10.0.0.1",
    dst: str = "10.0.0.2",
    proto: int = TCP,
    sport: int = 40000,
    dport: int = 80,
    *,
    flags: int = 2,
    ttl: int = 64,
    frag: int = 0,
    indev: str | None = None,
    outdev: str | None = None,
    mark: int = 0,
    size: int = 0,
) -> Frame:
    """An IPv4 packet; for ICMP `dport` is `type << 8 | code`."""
    if proto == TCP:
        body = struct.pack("!HHIIBBHHH", sport, dport, 1, 0, 0x50, flags, 65535, 0, 0)
    elif proto == ICMP:
        body = struct.pack("!BBHHH", dport >> 8, dport & 255, 0, sport, 1)
    elif proto == UDP:
        body = struct.pack("!HHHH", sport, dport, 8 + size, 0)
    elif proto == SCTP:  # an INIT, which opens an association
        body = struct.pack("!HHIIBBHIIHHI", sport, dport, 0, 0, sctp.INIT, 0, 20, 1, 65535, 1, 1, 1)
        body = body[:8] + sctp.checksum_of(body) + body[12:]
    else:
        body = struct.pack("!HHII", sport, dport, 0, 0)
    body += bytes(size)
    pseudo = struct.pack("!IIBBH", ip4(src), ip4(dst), 0, proto, len(body))
    at = {TCP: 16, UDP: 6, ICMP: 2}.get(proto)
    if at is not None:
        body = _with_checksum(body, at, b"" if proto == ICMP else pseudo)
    head = struct.pack("!BBHHHBBHII", 0x45, 0, 20 + len(body), 1, frag, ttl, proto, 0, ip4(src), ip4(dst))
    head = _with_checksum(head, 10, b"")
    frame = Frame.parse(bytes(12) + b"\x08\x00" + head + body, trail=[])
    frame.mark = mark
    frame.indev = None if indev is None else Device(indev)
    frame.outdev = None if outdev is None else Device(outdev)
    return frame


def ct_state(frame: Frame) -> str:
    """What `-m conntrack --ctstate` calls the frame: NEW, ESTABLISHED, RELATED, INVALID or UNTRACKED."""
    if frame.ct is None:
        return "UNTRACKED" if frame.ctinfo == IP_CT_UNTRACKED else "INVALID"
    return ("ESTABLISHED", "RELATED", "NEW")[frame.ctinfo % 3]


def _with_checksum(data: bytes, at: int, before: bytes) -> bytes:
    return data[:at] + checksum(before + data).to_bytes(2, "big") + data[at + 2 :]


def ruleset(table: str, *lines: str) -> RuleSet:
    """Rules of one table, from its lines between `*TABLE` and COMMIT."""
    return parse_restore("\n".join((f"*{table}", *lines, "COMMIT\n")))
