"""`-m recent`: lists of addresses seen lately, by name and namespace (xt_recent.c).

A list holds `ip_list_tot` (100) addresses, the one unseen for longest makes room; each remembers up to
`nstamps` times. kube-proxy's session affinity is made of these.
Must not know rules.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from emu.clock import SECOND
from emu.errors import InputError
from emu.kernel.netfilter.hooks import HookState
from emu.kernel.netfilter.matches import Match, Options, Where, matches, memory, number
from emu.kernel.netfilter.matches.ip import inet_aton
from emu.wire.addr import ip4_text
from emu.wire.frame import Frame

IP_LIST_TOT = 100
MAX_STAMPS = 255
ALL_ONES = 0xFFFFFFFF


@dataclass(slots=True)
class Entry:
    """One address: when it was seen (ns, oldest first) and the TTL it had then."""

    ttl: int
    stamps: list[int] = field(default_factory=list)


@dataclass(slots=True)
class RecentList:
    """Entries by address, the one unseen for longest first (the kernel's lru_list). `nstamps`: a power of two."""

    entries: dict[int, Entry] = field(default_factory=dict)
    nstamps: int = 1

    def add(self, addr: int, ttl: int, now_ns: int) -> None:
        if len(self.entries) >= IP_LIST_TOT:
            del self.entries[next(iter(self.entries))]
        self.entries[addr] = Entry(ttl, [now_ns])

    def update(self, addr: int, ttl: int, now_ns: int) -> None:
        entry = self.entries.pop(addr)
        entry.ttl = ttl
        entry.stamps.append(now_ns)
        del entry.stamps[: -self.nstamps]
        self.entries[addr] = entry

    def reap(self, since_ns: int, keep: int) -> None:
        """recent_entry_reap: forget the head of the list, if it was last seen before `since_ns` and is not `keep`."""
        addr = next(iter(self.entries), None)
        if addr is not None and addr != keep and self.entries[addr].stamps[-1] < since_ns:
            del self.entries[addr]


@matches.add("recent")
@dataclass(frozen=True, slots=True)
class Recent(Match):
    """`what` is set, rcheck, update or remove. `seconds` and `hitcount` 0: not given."""

    options = {
        "--set": 0, "--rcheck": 0, "--update": 0, "--remove": 0, "--seconds": 1, "--reap": 0, "--hitcount": 1,
        "--rttl": 0, "--name": 1, "--mask": 1, "--rsource": 0, "--rdest": 0,
    }  # fmt: skip
    not_negated = frozenset(("--seconds", "--reap", "--hitcount", "--rttl", "--name", "--mask", "--rsource", "--rdest"))
    pure = False
    what: str
    negated: bool
    seconds: int
    reap: bool
    hitcount: int
    rttl: bool
    name: str
    mask: int
    rdest: bool

    @classmethod
    def build(cls, given: Options, where: Where) -> Recent:
        asked = [name for name in ("--set", "--rcheck", "--update", "--remove") if name in given]
        if len(asked) != 1:
            raise InputError("-m recent needs one action", expected="--set, --rcheck, --update or --remove")
        what = asked[0]
        asks = what in ("--rcheck", "--update")
        for option in ("--seconds", "--hitcount", "--rttl"):
            if option in given and not asks:
                raise InputError(f"{option} needs --rcheck or --update")
        if "--reap" in given and "--seconds" not in given:
            raise InputError("--reap needs --seconds")
        name = given["--name"].words[0] if "--name" in given else "DEFAULT"
        if not 0 < len(name) < 200:
            raise InputError("bad name of a recent list", expected="1 to 199 characters")
        return cls(
            what[2:],
            given[what].negated,
            number(given["--seconds"].words[0], "number of seconds", 1) if "--seconds" in given else 0,
            "--reap" in given,
            number(given["--hitcount"].words[0], "hit count", 1, MAX_STAMPS) if "--hitcount" in given else 0,
            "--rttl" in given,
            name,
            inet_aton(given["--mask"].words[0]) if "--mask" in given else ALL_ONES,
            "--rdest" in given,
        )

    def matches(self, frame: Frame, state: HookState) -> bool:
        seen: RecentList = memory(state, RecentList, "recent", self.name)
        now = state.net.clock.jiffy_ns
        if self.hitcount > seen.nstamps:
            seen.nstamps = 1 << (self.hitcount - 1).bit_length()
        addr = (frame.dst if self.rdest else frame.src) & self.mask
        # a forwarded packet is judged by the TTL it came with
        ttl = frame.ttl + 1 if frame.outdev is not None and frame.sock is None else frame.ttl
        entry = seen.entries.get(addr)
        if entry is None or (self.rttl and entry.ttl != ttl):
            if self.what == "set":
                seen.add(addr, ttl, now)
                return not self.negated
            return self.negated
        result = not self.negated
        if self.what == "remove":
            del seen.entries[addr]
        elif self.what != "set":
            since = now - self.seconds * SECOND
            hits = sum(1 for stamp in entry.stamps if not self.seconds or stamp >= since)
            result = (hits >= (self.hitcount or 1)) is not self.negated
            if self.reap:
                seen.reap(since, addr if self.what == "update" and result else -1)
        if self.what == "set" or (self.what == "update" and result):
            seen.update(addr, ttl, now)
        return result

    def spec(self) -> str:
        words = [f"{'! ' if self.negated else ''}--{self.what}"]
        if self.seconds:
            words.append(f"--seconds {self.seconds}")
        if self.reap:
            words.append("--reap")
        if self.hitcount:
            words.append(f"--hitcount {self.hitcount}")
        if self.rttl:
            words.append("--rttl")
        words.append(f"--name {self.name} --mask {ip4_text(self.mask)}")
        return " ".join([*words, "--rdest" if self.rdest else "--rsource"])
