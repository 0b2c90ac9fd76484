"""`-m addrtype`: what kind of address the source or destination is here (xt_addrtype.c).

Reads address types from the namespace; must not know routing tables beyond that (the limits to one device look up whose
address it is).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from emu.errors import InputError
from emu.kernel.netfilter.hooks import HookState
from emu.kernel.netfilter.matches import Given, Match, Options, Test, Where, matches
from emu.wire.addr import LIMITED_BROADCAST
from emu.wire.frame import Frame

TYPES = (
    "UNSPEC", "UNICAST", "LOCAL", "BROADCAST", "ANYCAST", "MULTICAST", "BLACKHOLE", "UNREACHABLE", "PROHIBIT",
    "THROW", "NAT", "XRESOLVE",
)  # fmt: skip


def _types(given: Given | None) -> tuple[frozenset[str], bool] | None:
    if given is None:
        return None
    words = [word.upper() for word in given.words[0].split(",")]
    for word in words:
        if word not in TYPES:
            raise InputError(f"unknown address type {word!r}", expected=", ".join(TYPES))
    return frozenset(words), given.negated


@matches.add("addrtype")
@dataclass(frozen=True, slots=True)
class Addrtype(Match):
    """`src`, `dst`: (types, negated) or None; `limit`: "" or the option that narrows the question to one device."""

    options = {"--src-type": 1, "--dst-type": 1, "--limit-iface-in": 0, "--limit-iface-out": 0}
    not_negated = frozenset(("--limit-iface-in", "--limit-iface-out"))
    src: tuple[frozenset[str], bool] | None
    dst: tuple[frozenset[str], bool] | None
    limit: str

    @classmethod
    def build(cls, given: Options, where: Where) -> Addrtype:
        src, dst = _types(given.get("--src-type")), _types(given.get("--dst-type"))
        if src is None and dst is None:
            raise InputError("-m addrtype has no option", expected="--src-type or --dst-type")
        limits = [name for name in ("--limit-iface-in", "--limit-iface-out") if name in given]
        if len(limits) > 1:
            raise InputError("both limits in -m addrtype", expected="--limit-iface-in or --limit-iface-out")
        limit = limits[0] if limits else ""
        wrong = ("OUTPUT", "POSTROUTING") if limit.endswith("in") else ("PREROUTING", "INPUT")
        if limit and where.chain in wrong:
            raise InputError(f"{limit} cannot be used in {where.chain}")
        return cls(src, dst, limit)

    def matches(self, frame: Frame, state: HookState) -> bool:
        addr_type = _limited(self.limit, frame, state) if self.limit else state.family.addr_type
        if self.src is not None and (addr_type(frame.src) in self.src[0]) is self.src[1]:
            return False
        return self.dst is None or (addr_type(frame.dst) in self.dst[0]) is not self.dst[1]

    def tests(self) -> tuple[Test, ...]:
        if self.src is None and self.dst == (frozenset(("LOCAL",)), False) and not self.limit:
            return (lambda frame, state: state.family.addr_type(frame.dst) == "LOCAL",)
        return (self.matches,)

    def spec(self) -> str:
        words = []
        for option, wanted in (("--src-type", self.src), ("--dst-type", self.dst)):
            if wanted is not None:
                names = ",".join(name for name in TYPES if name in wanted[0])
                words.append(f"{'! ' if wanted[1] else ''}{option} {names}")
        return " ".join([*words, self.limit]).strip()


def _limited(limit: str, frame: Frame, state: HookState) -> Callable[[int], str]:
    """inet_dev_addr_type: a look-up in the local table only, whose result counts only for the one device."""
    device = frame.indev if limit == "--limit-iface-in" else frame.outdev
    family = state.family

    def addr_type(addr: int) -> str:
        kind = family.addr_type(addr)
        if kind not in ("LOCAL", "BROADCAST") or addr in (0, LIMITED_BROADCAST):
            return kind if kind in ("BROADCAST", "MULTICAST") else "UNICAST"
        route = family.local_route(addr)
        return kind if route is not None and route.device is device else "UNICAST"

    return addr_type
