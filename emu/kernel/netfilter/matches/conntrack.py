"""`-m conntrack`: what connection tracking knows of a packet (xt_conntrack.c).

Reads the frame's `ct` (status and the two tuples) and `ctinfo`; must not change either.
"""

from __future__ import annotations

from dataclasses import dataclass

from emu.errors import InputError
from emu.kernel.netfilter.conn import ASSURED, CONFIRMED, DST_NAT, EXPECTED, IP_CT_UNTRACKED, SEEN_REPLY, SRC_NAT, Conn
from emu.kernel.netfilter.conntrack_list import seconds_left
from emu.kernel.netfilter.hooks import HookState
from emu.kernel.netfilter.matches import Given, Match, Options, Test, Where, matches, number, tens
from emu.kernel.netfilter.matches.ip import Address, inet_aton, parse_address, protocol
from emu.kernel.netfilter.matches.ports import port
from emu.wire.addr import ip4_text, mask
from emu.wire.frame import Frame

# xt_conntrack.h, in the order that iptables-save writes them
STATES = {
    "INVALID": 1, "NEW": 1 << 3, "RELATED": 1 << 2, "ESTABLISHED": 1 << 1, "UNTRACKED": 1 << 8,
    "SNAT": 1 << 6, "DNAT": 1 << 7,
}  # fmt: skip
# nf_conntrack_common.h: status bits; NONE stands for no bit
STATUSES = {"EXPECTED": EXPECTED, "SEEN_REPLY": SEEN_REPLY, "ASSURED": ASSURED, "CONFIRMED": CONFIRMED}
MOST_S = 0xFFFFFFFF
# (option, direction of the tuple, place in it: proto, src, dst, sport, dport)
_ADDRESSES = (("--ctorigsrc", 0, 1), ("--ctorigdst", 0, 2), ("--ctreplsrc", 1, 1), ("--ctrepldst", 1, 2))
_PORTS = (("--ctorigsrcport", 0, 3), ("--ctorigdstport", 0, 4), ("--ctreplsrcport", 1, 3), ("--ctrepldstport", 1, 4))


def state_bit(frame: Frame) -> int:
    """The packet's one state bit, without SNAT and DNAT."""
    if frame.ct is not None:
        return 1 << (frame.ctinfo % 3 + 1)
    return 1 << 8 if frame.ctinfo == IP_CT_UNTRACKED else 1


def parse_states(text: str, known: dict[str, int], what: str) -> int:
    """Comma-separated names as bits. Raises InputError."""
    bits = 0
    for word in text.split(","):
        if word.upper() not in known:
            raise InputError(f"unknown {what} {word!r}", expected=", ".join(known))
        bits |= known[word.upper()]
    return bits


def state_test(mask: int, negated: bool) -> Test:
    """`--ctstate`, as a test of a few steps."""
    accepted = tuple((bool(mask >> (info % 3 + 1) & 1)) is not negated for info in range(8))
    untracked, invalid = bool(mask & 1 << 8) is not negated, bool(mask & 1) is not negated
    nat = mask & (STATES["SNAT"] | STATES["DNAT"])

    if not nat:

        def test(frame: Frame, state: HookState) -> bool:
            if frame.ct is not None:
                return accepted[frame.ctinfo]
            return untracked if frame.ctinfo == IP_CT_UNTRACKED else invalid

        return test

    def test_nat(frame: Frame, state: HookState) -> bool:
        bits = state_bit(frame)
        if frame.ct is not None:
            status = frame.ct.status
            bits |= (STATES["SNAT"] if status & SRC_NAT else 0) | (STATES["DNAT"] if status & DST_NAT else 0)
        return bool(mask & bits) is not negated

    return test_nat


@dataclass(frozen=True, slots=True)
class _Field:
    """One condition on a tuple's address or port."""

    option: str
    direction: int
    place: int
    low: int
    high: int
    bits: int
    negated: bool
    given: int = 0  # an address as it was given, with bits behind its mask, which the tool saves

    def holds(self, conn: Conn) -> bool:
        value = conn.tuple_of(self.direction)[self.place] & self.bits
        return (self.low <= value <= self.high) is not self.negated

    def spell(self) -> str:
        if self.place in (1, 2):
            text = ip4_text(self.given)
            if self.bits != 0xFFFFFFFF:
                length = self.bits.bit_count()
                text += f"/{length}" if mask(length) == self.bits else "/" + ip4_text(self.bits)
        else:
            text = str(self.low) if self.low == self.high else f"{self.low}:{self.high}"
        return f"{'! ' if self.negated else ''}{self.option} {text}"


@matches.add("conntrack")
@dataclass(frozen=True, slots=True)
class Conntrack(Match):
    """Every given condition must hold; only `--ctstate` can hold without a connection.

    `states`, `status`, `proto`: (value, negated) or None. `expire`: (from, to, negated) in seconds, or None. `direction`: "", "ORIGINAL" or "REPLY".
    """

    options = {name: 1 for name, *_ in _ADDRESSES + _PORTS} | {
        "--ctstate": 1, "--ctstatus": 1, "--ctproto": 1, "--ctdir": 1, "--ctexpire": 1,
    }  # fmt: skip
    not_negated = frozenset(("--ctdir",))
    states: tuple[int, bool] | None
    proto: tuple[int, bool] | None
    addresses: tuple[_Field, ...]
    ports: tuple[_Field, ...]
    status: tuple[int, bool] | None
    direction: str
    expire: tuple[int, int, bool] | None = None

    @classmethod
    def build(cls, given: Options, where: Where) -> Conntrack:
        if not given:
            raise InputError("-m conntrack has no option", expected="--ctstate or another of its options")
        proto = given.get("--ctproto")
        direction = given["--ctdir"].words[0].upper() if "--ctdir" in given else ""
        if direction not in ("", "ORIGINAL", "REPLY"):
            raise InputError(f"unknown direction {direction!r}", expected="ORIGINAL or REPLY")
        return cls(
            _bits(given.get("--ctstate"), STATES, "state"),
            None if proto is None else _protocol(proto),
            tuple(_address(given[o], d, at) for o, d, at in _ADDRESSES if o in given),
            tuple(_port(given[o], d, at) for o, d, at in _PORTS if o in given),
            _bits(given.get("--ctstatus"), {"NONE": 0, **STATUSES}, "status"),
            direction,
            _seconds(given.get("--ctexpire")),
        )

    def by_state(self) -> bool:
        states = self.states is not None and not self.states[0] & (STATES["SNAT"] | STATES["DNAT"])
        return states and not self._more

    def tests(self) -> tuple[Test, ...]:
        first = () if self.states is None else (state_test(*self.states),)
        return (*first, self._rest) if self._more else first

    @property
    def _more(self) -> bool:
        """Is another condition given than `--ctstate`?"""
        return bool(self.proto or self.addresses or self.ports or self.status or self.expire or self.direction)

    def matches(self, frame: Frame, state: HookState) -> bool:
        return all(test(frame, state) for test in self.tests())

    def _rest(self, frame: Frame, state: HookState) -> bool:
        conn = frame.ct
        if conn is None:
            # the kernel checks nothing more once --ctstate held, and nothing else can hold
            return self.states is not None
        if self.direction and (self.direction == "REPLY") != (frame.ctdir == 1):
            return False
        if self.proto is not None and (conn.proto == self.proto[0]) is self.proto[1]:
            return False
        if self.status is not None:
            wanted, negated = self.status
            found = bool(conn.status & wanted) if wanted else not conn.status & 15
            if found is negated:
                return False
        if self.expire is not None:
            low, high, negated = self.expire
            if (low <= _left_s(conn, state.net.clock.now) <= high) is negated:
                return False
        return all(field.holds(conn) for field in self.addresses + self.ports)

    def spec(self) -> str:
        words = []
        if self.states is not None:
            words.append(_spell_bits("--ctstate", self.states, STATES))
        if self.proto is not None:
            words.append(f"{'! ' if self.proto[1] else ''}--ctproto {self.proto[0]}")
        words += [field.spell() for field in self.addresses + self.ports]
        if self.status is not None:
            words.append(_spell_bits("--ctstatus", self.status, STATUSES))
        if self.expire is not None:
            low, high, negated = self.expire
            words.append(f"{'! ' if negated else ''}--ctexpire {low if low == high else f'{low}:{high}'}")
        if self.direction:
            words.append(f"--ctdir {self.direction}")
        return " ".join(words)


def _bits(given: Given | None, known: dict[str, int], what: str) -> tuple[int, bool] | None:
    return None if given is None else (parse_states(given.words[0], known, what), given.negated)


def _protocol(given: Given) -> tuple[int, bool]:
    value = protocol(given.words[0])
    if not value:
        raise InputError("--ctproto 0 is not a protocol", expected="a number from 1 to 255, or a name")
    return value, given.negated


def _seconds(given: Given | None) -> tuple[int, int, bool] | None:
    """`N`, `N:M`, `:M` or `N:`."""
    if given is None:
        return None
    first, colon, last = given.words[0].partition(":")
    low = number(first, "number of seconds") if first or not colon else 0
    high = (number(last, "number of seconds", low) if last else MOST_S) if colon else low
    return low, high, given.negated


def _left_s(conn: Conn, now_ns: int) -> int:
    """The seconds until the entry ends; 0 for one that is not confirmed."""
    return seconds_left(conn, now_ns) if conn.status & CONFIRMED else 0


def _spell_bits(option: str, bits: tuple[int, bool], known: dict[str, int]) -> str:
    names = ",".join(name for name, bit in known.items() if bits[0] & bit) or "NONE"
    return f"{'! ' if bits[1] else ''}{option} {names}"


def _address(given: Given, direction: int, place: int) -> _Field:
    address: Address = parse_address(given.words[0], read=inet_aton)
    whole = inet_aton(given.words[0].partition("/")[0])
    return _Field(given.name, direction, place, address.addr, address.addr, address.mask, given.negated, whole)


def _port(given: Given, direction: int, place: int) -> _Field:
    first, colon, last = given.words[0].partition(":")
    low = port(first, tens) if first or not colon else 0
    high = (port(last, tens) if last else 0xFFFF) if colon else low
    number(str(high), "port", low, 0xFFFF)
    return _Field(given.name, direction, place, low, high, 0xFFFF, given.negated)
