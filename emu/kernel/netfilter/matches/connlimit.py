"""`-m connlimit`: how many connections a group of addresses has (xt_connlimit.c, nf_conncount.c).

Each rule counts for itself in each namespace, connections whose packets came to it. Those that are gone, or are TCP's in
TIME_WAIT or CLOSE, do not count. The kernel looks at a group once a jiffy, so that it counts a connection again whose
second packet comes within the same 4 ms; here it counts once. Must not look into the connection table.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from emu.errors import InputError
from emu.kernel.netfilter.conn import CONFIRMED, DYING, Conn
from emu.kernel.netfilter.hooks import HookState
from emu.kernel.netfilter.matches import Match, Options, Where, matches, memory, number, unsigned
from emu.wire.addr import ip4, mask
from emu.wire.frame import Frame

_CLOSED = ("TIME_WAIT", "CLOSE")
Groups = defaultdict[tuple[int, int], list[Conn]]  # by address and zone


@matches.add("connlimit")
@dataclass(frozen=True, slots=True, eq=False)
class Connlimit(Match):
    """More than `limit` connections, or with `upto` at most that many, of the source's group, or the destination's
    (`by_destination`): the first `length` bits of the address. Compared by identity."""

    options = {
        "--connlimit-upto": 1, "--connlimit-above": 1, "--connlimit-mask": 1, "--connlimit-saddr": 0, "--connlimit-daddr": 0,
    }  # fmt: skip
    not_negated = frozenset(("--connlimit-mask", "--connlimit-saddr", "--connlimit-daddr"))
    pure = False
    limit: int
    upto: bool
    length: int
    by_destination: bool

    @classmethod
    def build(cls, given: Options, where: Where) -> Connlimit:
        limits = [given[option] for option in ("--connlimit-upto", "--connlimit-above") if option in given]
        if len(limits) != 1:
            raise InputError("-m connlimit needs one limit", expected="--connlimit-upto N or --connlimit-above N")
        if "--connlimit-saddr" in given and "--connlimit-daddr" in given:
            raise InputError("-m connlimit groups by one address", expected="--connlimit-saddr or --connlimit-daddr")
        upto = (limits[0].name == "--connlimit-upto") is not limits[0].negated
        length = _length(given["--connlimit-mask"].words[0]) if "--connlimit-mask" in given else 32
        return cls(number(limits[0].words[0], "number of connections"), upto, length, "--connlimit-daddr" in given)

    def matches(self, frame: Frame, state: HookState) -> bool:
        groups: Groups = memory(state, _groups, "connlimit", self)
        own: Conn | None = frame.ct
        now = state.net.clock.now
        group = (
            (frame.dst if self.by_destination else frame.src) & mask(self.length),
            own.zone[0] if own is not None else 0,
        )
        known = [conn for conn in groups[group] if conn is own or _counts(conn, now)]
        groups[group] = known
        if own is None:  # a packet that no connection takes counts, and is forgotten
            return (len(known) + 1 > self.limit) is not self.upto
        if own not in known:
            known.append(own)
        return (len(known) > self.limit) is not self.upto

    def spec(self) -> str:
        side = "--connlimit-daddr" if self.by_destination else "--connlimit-saddr"
        return f"--connlimit-{'upto' if self.upto else 'above'} {self.limit} --connlimit-mask {self.length} {side}"


def _groups() -> Groups:
    return defaultdict(list)


def _counts(conn: Conn, now_ns: int) -> bool:
    if not conn.status & CONFIRMED or conn.status & DYING or conn.expires_ns <= now_ns:
        return False
    return conn.tcp is None or conn.tcp.name not in _CLOSED


def _length(text: str) -> int:
    """A prefix length, or a mask as an address. What is too long is read as 32."""
    if "." in text:
        bits = ip4(text)
        if bits != mask(bits.bit_count()):
            raise InputError(f"{text!r} is not a mask", expected="ones, then zeros")
        return bits.bit_count()
    value = unsigned(text)
    if value is None:
        raise InputError(f"{text!r} is not a prefix length", expected="a number from 0 to 32")
    return min(value, 32)
