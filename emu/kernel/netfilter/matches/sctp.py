"""`-m sctp`: ports, and the chunks of a packet by type and flags (xt_sctp.c).

The kernel drops a packet whose chunks cannot be read, whatever the rule asks. Must not know associations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from emu.errors import InputError
from emu.kernel.netfilter.hooks import HookState
from emu.kernel.netfilter.matches import Given, HotDrop, Match, Options, Where, matches, ports
from emu.wire.frame import IP_OFFSET, SCTP, Frame
from emu.wire.sctp import HLEN, chunks
from emu.wire.transport import end

# name: type and its flags, the highest bit first (RFC 9260 and its companions, in the spelling of iptables)
CHUNKS: dict[str, tuple[int, str]] = {
    "DATA": (0, "----IUBE"), "INIT": (1, ""), "INIT_ACK": (2, ""), "SACK": (3, ""), "HEARTBEAT": (4, ""),
    "HEARTBEAT_ACK": (5, ""), "ABORT": (6, "-------T"), "SHUTDOWN": (7, ""), "SHUTDOWN_ACK": (8, ""), "ERROR": (9, ""),
    "COOKIE_ECHO": (10, ""), "COOKIE_ACK": (11, ""), "ECN_ECNE": (12, ""), "ECN_CWR": (13, ""),
    "SHUTDOWN_COMPLETE": (14, "-------T"), "I_DATA": (64, "----IUBE"), "ASCONF_ACK": (128, ""),
    "RE_CONFIG": (130, ""), "PAD": (132, ""), "FORWARD_TSN": (192, ""), "ASCONF": (193, ""), "I_FORWARD_TSN": (194, ""),
}  # fmt: skip
_HOW = ("all", "any", "only")


class Chunks(NamedTuple):
    """`how` is all, any or only; `types` the chunk types asked for, all 256 for ALL; `flags` by type: mask and value."""

    how: str
    types: frozenset[int]
    flags: tuple[tuple[int, int, int], ...]
    negated: bool

    def fits(self, kind: int, flags: int) -> bool:
        return all(flags & bits == value for other, bits, value in self.flags if other == kind)

    def holds(self, frame: Frame) -> bool:
        """match_packet, before the exclamation mark. Raises HotDrop where the chunks cannot be read."""
        left = set(self.types)
        at = frame.l4 + HLEN
        for kind, flags, length, at in chunks(frame):
            if not length:
                raise HotDrop
            at += length + 3 & ~3
            fits = kind in self.types and self.fits(kind, flags)
            if self.how == "any" and fits:
                return True
            if self.how == "only" and not fits:
                return False
            if fits:
                left.discard(kind)
        if at < end(frame) or at == frame.l4 + HLEN:  # what follows is no whole head, or there is no chunk at all
            raise HotDrop
        return not left if self.how == "all" else self.how == "only"

    def spell(self) -> str:
        bang = "! " if self.negated else ""
        if len(self.types) == 256:
            return f"{bang}--chunk-types {self.how} ALL"
        names = [
            _spell(name, self.flags) for name, (kind, _) in sorted(CHUNKS.items(), key=_by_type) if kind in self.types
        ]
        return f"{bang}--chunk-types {self.how} {','.join(names) or 'NONE'}"


def _by_type(chunk: tuple[str, tuple[int, str]]) -> int:
    return chunk[1][0]


def _spell(name: str, flags: tuple[tuple[int, int, int], ...]) -> str:
    """`DATA:iUB`: a flag in capitals must be set, in small letters clear."""
    kind, letters = CHUNKS[name]
    text = ""
    for other, bits, value in flags:
        if other == kind:
            for place, letter in enumerate(letters):
                bit = 0x80 >> place
                text += (letter if value & bit else letter.lower()) if bits & bit else ""
    return f"{name}:{text}" if text else name


def _wanted(given: Given | None) -> Chunks | None:
    """`all|any|only ALL|NONE|CHUNK[:FLAGS],...`. Raises InputError."""
    if given is None:
        return None
    how, text = given.words[0].lower(), given.words[1]
    if how not in _HOW:
        raise InputError(f"{given.words[0]!r} is not a way to match chunks", expected=", ".join(_HOW))
    types: set[int] = set(range(256)) if text.upper() == "ALL" else set()
    flags: dict[int, tuple[int, int]] = {}
    for word in [] if text.upper() in ("ALL", "NONE") else text.split(","):
        name, _colon, letters = word.partition(":")
        if name.upper() not in CHUNKS:
            raise InputError(f"{name!r} is not an SCTP chunk", expected="ALL, NONE or some of " + ",".join(CHUNKS))
        kind, known = CHUNKS[name.upper()]
        types.add(kind)
        for letter in letters:
            bit = 0x80 >> known.find(letter.upper()) if letter.upper() in known and letter != "-" else 0
            if not bit:
                raise InputError(f"{letter!r} is not a flag of the chunk {name}", expected=known.strip("-") or "none")
            bits, value = flags.get(kind, (0, 0))
            flags[kind] = bits | bit, value | bit if letter.isupper() else value
    return Chunks(how, frozenset(types), tuple((kind, *both) for kind, both in flags.items()), given.negated)


@matches.add("sctp")
@dataclass(frozen=True, slots=True)
class Sctp(Match):
    """`chunks` is None where no chunk is asked for."""

    options = {**ports.OPTIONS, "--chunk-types": 2}
    aliases = ports.ALIASES
    sport: ports.Ports | None
    dport: ports.Ports | None
    chunks: Chunks | None = None

    @classmethod
    def build(cls, given: Options, where: Where) -> Sctp:
        ports.demand(SCTP, where)
        sport, dport = (ports.parse(given.get(option), native=False) for option in ("--sport", "--dport"))
        return cls(sport, dport, _wanted(given.get("--chunk-types")))

    def matches(self, frame: Frame, state: HookState) -> bool:
        if frame.frag & IP_OFFSET:
            return False
        if self.sport is not None and not self.sport.holds(frame.sport):
            return False
        if self.dport is not None and not self.dport.holds(frame.dport):
            return False
        return self.chunks is None or self.chunks.holds(frame) is not self.chunks.negated

    def spec(self) -> str:
        words = [p.spell(o) for o, p in (("--sport", self.sport), ("--dport", self.dport)) if p is not None]
        return " ".join([*words, self.chunks.spell()] if self.chunks is not None else words)
