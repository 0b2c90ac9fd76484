"""`-m connbytes`: how much a connection has transferred (xt_connbytes.c).

Reads the counters of a connection, which it has if net.netfilter.nf_conntrack_acct was on when it began; a rule with this
match turns that on. Must not count itself.
"""

from __future__ import annotations

from dataclasses import dataclass

from emu.errors import InputError
from emu.kernel.netfilter.conn import Conn
from emu.kernel.netfilter.hooks import HookState
from emu.kernel.netfilter.matches import Match, Options, Where, matches, number
from emu.wire.frame import Frame

MOST = 2**64 - 1
_MODES = ("packets", "bytes", "avgpkt")
_DIRECTIONS = {"original": (0,), "reply": (1,), "both": (0, 1)}
_NEEDED = ("--connbytes", "--connbytes-dir", "--connbytes-mode")


@matches.add("connbytes")
@dataclass(frozen=True, slots=True)
class Connbytes(Match):
    """From `low` to `high`, both included, or, if `low` is above `high`, less than `high` or more than `low`."""

    options = {"--connbytes": 1, "--connbytes-dir": 1, "--connbytes-mode": 1}
    not_negated = frozenset(("--connbytes-dir", "--connbytes-mode"))
    sysctls = {"net.netfilter.nf_conntrack_acct": 1}
    low: int
    high: int
    mode: str
    direction: str

    @classmethod
    def build(cls, given: Options, where: Where) -> Connbytes:
        for option in _NEEDED:
            if option not in given:
                raise InputError(f"-m connbytes needs {option}", expected=" ".join(_NEEDED))
        mode, direction = given["--connbytes-mode"].words[0], given["--connbytes-dir"].words[0]
        if mode not in _MODES:
            raise InputError(f"unknown mode {mode!r}", expected=", ".join(_MODES))
        if direction not in _DIRECTIONS:
            raise InputError(f"unknown direction {direction!r}", expected=", ".join(_DIRECTIONS))
        first, _, last = given["--connbytes"].words[0].partition(":")
        low = number(first, "count", 0, MOST) if first else 0
        high = number(last, "count", 0, MOST) if last else MOST
        if low > high:
            raise InputError(f"{low} is more than {high}", expected="the lower count first")
        if given["--connbytes"].negated:
            low, high = high, low
        return cls(low, high, mode, direction)

    def matches(self, frame: Frame, state: HookState) -> bool:
        conn: Conn | None = frame.ct
        if conn is None or conn.packets is None or conn.bytes is None:
            return False
        sides = _DIRECTIONS[self.direction]
        packets, size = sum(conn.packets[side] for side in sides), sum(conn.bytes[side] for side in sides)
        if self.mode == "packets":
            what = packets
        elif self.mode == "bytes":
            what = size
        else:
            what = size // packets if packets else 0
        if self.low > self.high:
            return what < self.high or what > self.low
        return self.low <= what <= self.high

    def spec(self) -> str:
        low, high = (self.low, self.high) if self.low <= self.high else (self.high, self.low)
        bang = "! " if self.low > self.high else ""
        text = f"{low}:{high}" if 0 < high < MOST else str(low)
        return f"{bang}--connbytes {text} --connbytes-mode {self.mode} --connbytes-dir {self.direction}"
