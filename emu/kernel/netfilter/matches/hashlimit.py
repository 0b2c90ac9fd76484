"""`-m hashlimit`: a rate for each group of addresses and ports (xt_hashlimit.c, revision 3).

Rules with one name share a table in each namespace, and the limits of the rule that came first. Credits grow with jiffies,
as the kernel counts them. Must not know how a rule is written: see `hashlimit_text.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

from emu.clock import MS, SECOND, TICK_NS
from emu.errors import InputError
from emu.kernel.netfilter.hooks import HookState
from emu.kernel.netfilter.matches import Match, Options, Where, matches, memory, number, quote
from emu.kernel.netfilter.matches.rates import (
    BYTE_EXPIRE_BURST_MS,
    BYTE_EXPIRE_MS,
    SCALE,
    UNITS_S,
    bytes_of,
    parse_burst,
    parse_rate,
    spell_bytes,
    spell_rate,
)
from emu.wire.addr import mask
from emu.wire.frame import Frame

HZ = SECOND // TICK_NS
_DAY_S = 60 * 60 * 24
CREDITS_PER_JIFFY = 1 << ((2**64 - 1) // (HZ * _DAY_S)).bit_length() - 1
CREDITS_PER_JIFFY_BYTES = 1 << ((2**32 - 1) // (HZ * _DAY_S)).bit_length() - 1
_MODES = ("srcip", "srcport", "dstip", "dstport")  # in iptables-save's order
_GC_MS, _MAX_NAME = 1000, 255


class Bucket:
    """One group's credit, counted at `prev`, a jiffy. With `--hashlimit-rate-match`: `current` packets or bytes in this
    window, and whether the last one was over the rate."""

    __slots__ = ("cap", "credit", "current", "expires_ns", "over", "prev")

    def __init__(self, jiffy: int, credit: int, cap: int) -> None:
        self.prev, self.credit, self.cap = jiffy, credit, cap
        self.current = self.expires_ns = 0
        self.over = False


class Table:
    """The groups of all rules of one name; `rule` is the first of them, which saw its first packet at `began_ns`."""

    def __init__(self, rule: Hashlimit, began_ns: int) -> None:
        self.rule, self.began_ns = rule, began_ns
        self.groups: dict[tuple[int, ...], Bucket] = {}


@matches.add("hashlimit")
@dataclass(frozen=True, slots=True)
class Hashlimit(Match):
    """`avg` is what a packet costs, in seconds / SCALE, or with `by_bytes` 16 bytes in 2**-32 of a second's credit; `above`
    matches what is over the limit. A group is forgotten `expire_ms` after its last packet, at the next collection: there is
    one each `gc_ms`, counted from the table's first packet (the kernel's begins when the rule is loaded)."""

    options = {
        "--hashlimit-upto": 1, "--hashlimit-above": 1, "--hashlimit-burst": 1, "--hashlimit-mode": 1, "--hashlimit-name": 1,
        "--hashlimit-srcmask": 1, "--hashlimit-dstmask": 1, "--hashlimit-htable-size": 1, "--hashlimit-htable-max": 1,
        "--hashlimit-htable-expire": 1, "--hashlimit-htable-gcinterval": 1, "--hashlimit-rate-match": 0,
        "--hashlimit-rate-interval": 1,
    }  # fmt: skip
    aliases = {"--hashlimit": "--hashlimit-upto"}
    not_negated = frozenset(options) - {"--hashlimit-upto", "--hashlimit-above"}
    pure = False
    name: str
    above: bool
    avg: int
    burst: int
    by_bytes: bool
    modes: tuple[str, ...]
    source_length: int
    destination_length: int
    size: int
    most: int
    expire_ms: int
    gc_ms: int
    rate_match: bool
    interval_s: int

    @classmethod
    def build(cls, given: Options, where: Where) -> Hashlimit:
        limits = [given[option] for option in ("--hashlimit-upto", "--hashlimit-above") if option in given]
        if len(limits) != 1:
            raise InputError("-m hashlimit needs one limit", expected="--hashlimit-upto RATE or --hashlimit-above RATE")

        def count(option: str, default: int, most: int = 0xFFFFFFFF) -> int:
            full = f"--hashlimit-{option}"
            return number(given[full].words[0], full, 0, most) if full in given else default

        name = given["--hashlimit-name"].words[0] if "--hashlimit-name" in given else ""
        if not name or "/" in name or len(name) > _MAX_NAME or name in (".", ".."):
            raise InputError(f"{name!r} is not a name", expected="--hashlimit-name and a file's name")
        rate = parse_rate(limits[0].words[0])
        burst, expire_ms = 5, rate.period_s * 1000
        text = given["--hashlimit-burst"].words[0] if "--hashlimit-burst" in given else ""
        if rate.by_bytes:
            burst, expire_ms = 0, BYTE_EXPIRE_MS
        if text:
            burst = parse_burst(text)
            if rate.by_bytes:
                least = bytes_of(rate.avg)
                if burst < least:
                    raise InputError(f"a burst of {burst} bytes is less than the rate", expected=f"{least}b or more")
                burst, expire_ms = -(-burst // least), BYTE_EXPIRE_BURST_MS
        if not rate.by_bytes and _credits(rate.avg * burst) % 2**64 < _credits(rate.avg):
            raise InputError("the burst is too large for the rate", expected="a smaller --hashlimit-burst")
        return cls(
            name,
            (limits[0].name == "--hashlimit-above") is not limits[0].negated,
            rate.avg,
            burst,
            rate.by_bytes,
            _modes(given["--hashlimit-mode"].words[0]) if "--hashlimit-mode" in given else (),
            count("srcmask", 32, 32),
            count("dstmask", 32, 32),
            count("htable-size", 0),
            count("htable-max", 0),
            count("htable-expire", expire_ms),
            count("htable-gcinterval", _GC_MS),
            "--hashlimit-rate-match" in given,
            count("rate-interval", 1) if "--hashlimit-rate-match" in given else 1,
        )

    def matches(self, frame: Frame, state: HookState) -> bool:
        table: Table = memory(state, lambda: Table(self, state.net.clock.now), "hashlimit", self.name)
        rule, now = table.rule, state.net.clock.now
        jiffy = now // TICK_NS
        group = rule.group(frame)
        bucket = table.groups.get(group)
        gc_ns = max(rule.gc_ms, 1) * MS
        collected_ns = now - (now - table.began_ns) % gc_ns
        if bucket is None or bucket.expires_ns <= collected_ns:
            credit = rule.full
            bucket = table.groups[group] = Bucket(jiffy, credit, rule.burst if rule.by_bytes else credit)
        else:
            rule.refill(bucket, jiffy)
        bucket.expires_ns = now + rule.expire_ms * MS
        if self.rate_match:
            bucket.current += frame.tot_len if self.by_bytes else 1
            return (not bucket.over and bucket.current <= rule.window) is not self.above
        cost = rule.cost(frame.tot_len, bucket) if self.by_bytes else _credits(rule.avg)
        enough = bucket.credit >= cost
        if enough:
            bucket.credit -= cost
        return enough is not self.above

    def group(self, frame: Frame) -> tuple[int, ...]:
        """hashlimit_init_dst."""
        modes = self.modes
        return (
            frame.src & mask(self.source_length) if "srcip" in modes else 0,
            frame.dst & mask(self.destination_length) if "dstip" in modes else 0,
            frame.sport if "srcport" in modes else 0,
            frame.dport if "dstport" in modes else 0,
        )

    @property
    def full(self) -> int:
        """The credit of a new group."""
        return CREDITS_PER_JIFFY_BYTES * HZ if self.by_bytes else _credits(self.avg * self.burst)

    @property
    def rate(self) -> int:
        """Packets or bytes a second."""
        return bytes_of(self.avg) if self.by_bytes else (SCALE // self.avg if self.avg else 0)

    @property
    def window(self) -> int:
        """How many packets or bytes of one window are within the rate."""
        if self.by_bytes:
            return self.rate * (self.burst or 1)
        return self.burst + self.rate

    def refill(self, bucket: Bucket, jiffy: int) -> None:
        """rateinfo_recalc."""
        passed = jiffy - bucket.prev
        if not passed:
            return
        if self.rate_match:
            span = self.interval_s * HZ
            if passed >= span:
                bucket.over = bucket.current * span > passed * self.rate
                bucket.prev, bucket.current = jiffy, 0
            return
        bucket.prev = jiffy
        if self.by_bytes:
            bucket.credit = min(bucket.credit + CREDITS_PER_JIFFY_BYTES * passed, CREDITS_PER_JIFFY_BYTES * HZ)
        else:
            bucket.credit = min(bucket.credit + CREDITS_PER_JIFFY * passed, bucket.cap)

    def cost(self, size: int, bucket: Bucket) -> int:
        """hashlimit_byte_cost: in chunks of 16 bytes; a burst fills the credit so many times."""
        second = CREDITS_PER_JIFFY_BYTES * HZ
        chunk = self.avg * second >> 32
        cost = min(((size >> 4) + 1) * chunk, second)
        if bucket.credit < cost and bucket.cap:
            bucket.cap -= 1
            bucket.credit = second
        return cost

    def spec(self) -> str:
        words = [f"--hashlimit-{'above' if self.above else 'upto'}"]
        if self.by_bytes:
            words.append(spell_bytes(self.avg))
            if self.burst:
                words.append(f"--hashlimit-burst {spell_bytes(self.avg, self.burst)}")
            quantum_ms = BYTE_EXPIRE_BURST_MS if self.burst else BYTE_EXPIRE_MS
        else:
            text, unit = spell_rate(self.avg)
            quantum_ms = UNITS_S[unit] * 1000
            words += [text, f"--hashlimit-burst {self.burst}"]
        if self.modes:
            words.append(f"--hashlimit-mode {','.join(self.modes)}")
        words.append(f"--hashlimit-name {quote(self.name)}")
        for option, value, default in (
            ("htable-size", self.size, 0),
            ("htable-max", self.most, 0),
            ("htable-gcinterval", self.gc_ms, _GC_MS),
            ("htable-expire", self.expire_ms, quantum_ms),
            ("srcmask", self.source_length, 32),
            ("dstmask", self.destination_length, 32),
        ):
            if value != default:
                words.append(f"--hashlimit-{option} {value}")
        if self.rate_match:
            words.append("--hashlimit-rate-match")
            if self.interval_s != 1:
                words.append(f"--hashlimit-rate-interval {self.interval_s}")
        return " ".join(words)


def _credits(user: int) -> int:
    """user2credits: a time in 1/SCALE s as credits."""
    a_second = HZ * CREDITS_PER_JIFFY
    return user // (SCALE // a_second) if a_second <= SCALE else user * (a_second // SCALE)


def _modes(text: str) -> tuple[str, ...]:
    words = text.split(",")
    for word in words:
        if word not in _MODES:
            raise InputError(f"unknown mode {word!r}", expected=", ".join(_MODES))
    return tuple(word for word in _MODES if word in words)
