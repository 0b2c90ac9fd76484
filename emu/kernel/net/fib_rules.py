"""Policy rules: which table a packet's route comes from (net/ipv4/fib_rules.c, net/core/fib_rules.c).

A rule compares what is known of a packet, and then looks into a table, ends the look-up, or goes to another rule. What
emu does not know (`unknown`) makes a rule undecided where the rest of it holds. Must not know the tables.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from emu.wire.addr import Prefix

ANY = Prefix(0, 0)
LOCAL_TABLE, MAIN_TABLE, DEFAULT_TABLE = 255, 254, 253
TABLE_NAMES = {LOCAL_TABLE: "local", MAIN_TABLE: "main", DEFAULT_TABLE: "default"}
FULL_MASK = 0xFFFFFFFF
LOOKUP, GOTO, NOP = "lookup", "goto", "nop"
# the actions that end a look-up, with the errno of a local sender (fib4_rule_action)
VERDICTS = {"unreachable": "ENETUNREACH", "prohibit": "EACCES", "blackhole": "EINVAL"}
TOS_MASK = 0x1C  # what of a TOS byte routes and rules compare (IPTOS_RT_MASK)
# the names that `ip rule` prints
PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 47: "gre", 50: "esp", 51: "ah", 132: "sctp"}

Range = tuple[int, int]


class Flow(NamedTuple):
    """What rules and routes ask about a packet besides addresses, mark and device. Ports are 0 where it has none; `uid` is
    the owner of the socket, 0 for packets of no socket."""

    tos: int = 0
    proto: int = 0
    sport: int = 0
    dport: int = 0
    uid: int = 0


NO_FLOW = Flow()


@dataclass(frozen=True, slots=True)
class IpRule:
    """One `ip rule`: lower `priority` first. `mark`/`mask` compare the packet's mark; `iif` "" means any, "lo" a local
    packet; `invert` is `not`.

    `oif` is the device that a socket is bound to. `tos` 0, `proto` 0 and a range None mean any. `action` is LOOKUP (in
    `table`), GOTO (the first rule of priority `target`), NOP, or one of VERDICTS. A route whose prefix is not longer than
    `suppress_length` is not taken (-1: each is); nor is one out of a device of group `suppress_group` (-1: each is).
    `unknown` names what emu does not know of the rule, `unknown_in` selectors that it does not know and that hold for no
    packet of a local socket. `l3mdev`: the table is that of the packet's VRF; without one the rule does not hold.
    """

    priority: int
    table: int = 0
    src: Prefix = ANY
    dst: Prefix = ANY
    mark: int = 0
    mask: int = 0
    iif: str = ""
    invert: bool = False
    oif: str = ""
    tos: int = 0
    proto: int = 0
    sports: Range | None = None
    dports: Range | None = None
    uids: Range | None = None
    action: str = LOOKUP
    target: int = 0
    suppress_length: int = -1
    suppress_group: int = -1
    unknown: str = ""
    unknown_in: str = ""
    l3mdev: bool = False

    @property
    def always(self) -> bool:
        """Is it a plain look-up for every packet?"""
        return self is AT_ONCE or self is THEN or self is LAST or self == IpRule(self.priority, self.table)

    @property
    def asks_flow(self) -> bool:
        """Does the rule compare a field of `Flow`?"""
        return bool(self.tos or self.proto or self.sports or self.dports or self.uids)

    def matches(self, dst: int, src: int, mark: int, iif: str, oif: str = "", flow: Flow = NO_FLOW) -> bool | None:
        """Does the rule hold (fib_rule_match)? None: that is not known. `iif` "" is a local packet, `oif` "" no device."""
        held = (
            dst in self.dst
            and src in self.src
            and not (mark ^ self.mark) & self.mask
            and (not self.iif or self.iif == (iif or "lo"))
            and (not self.oif or self.oif == oif)
            and (not self.tos or self.tos == flow.tos & TOS_MASK)
            and (not self.proto or self.proto == flow.proto)
            and _within(flow.sport, self.sports)
            and _within(flow.dport, self.dports)
            and _within(flow.uid, self.uids)
        )
        if held and (self.unknown or (self.unknown_in and iif)):
            return None
        held = held and not self.unknown_in
        return held is not self.invert

    def text(self) -> str:
        """As `ip rule show` prints it."""
        words = [f"{self.priority}:", *(["not"] if self.invert else [])]
        words += ["from", _prefix_text(self.src)]
        if self.dst.length:
            words += ["to", _prefix_text(self.dst)]
        if self.tos:
            words += ["tos", f"{self.tos:#04x}"]
        if self.mark or self.mask:
            mask = "" if self.mask == FULL_MASK else f"/{_hex(self.mask)}"
            words += ["fwmark", _hex(self.mark) + mask]
        if self.iif:
            words += ["iif", self.iif]
        if self.oif:
            words += ["oif", self.oif]
        if self.uids:
            words += ["uidrange", f"{self.uids[0]}-{self.uids[1]}"]
        if self.proto:
            words += ["ipproto", PROTOCOLS.get(self.proto, f"ipproto-{self.proto}")]
        for name, ports in (("sport", self.sports), ("dport", self.dports)):
            if ports:
                words += [name, str(ports[0]) if ports[0] == ports[1] else f"{ports[0]}-{ports[1]}"]
        words += [each for each in (self.unknown_in, self.unknown) if each]
        if self.action == LOOKUP:
            words += ["lookup", "[l3mdev-table]" if self.l3mdev else TABLE_NAMES.get(self.table, str(self.table))]
            if self.suppress_length >= 0:
                words += ["suppress_prefixlength", str(self.suppress_length)]
            if self.suppress_group >= 0:
                group = str(self.suppress_group) if self.suppress_group else "default"
                words += ["suppress_ifgroup", group]
        elif self.action == GOTO:
            words += [GOTO, str(self.target)]
        else:
            words.append(self.action)
        return " ".join(words)


# the rules of a new namespace: one object each for all of them
AT_ONCE, THEN, LAST = DEFAULT_RULES = (
    IpRule(0, LOCAL_TABLE),
    IpRule(32766, MAIN_TABLE),
    IpRule(32767, DEFAULT_TABLE),
)


def _hex(value: int) -> str:
    """As printf's %#x prints it: 0 has no prefix."""
    return f"{value:#x}" if value else "0"


def _within(value: int, bounds: Range | None) -> bool:
    return bounds is None or bounds[0] <= value <= bounds[1]


def _prefix_text(prefix: Prefix) -> str:
    return str(prefix).removesuffix("/32") if prefix.length else "all"
