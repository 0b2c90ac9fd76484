"""CT and NOTRACK: what connection tracking is to do with a packet that it has not seen (xt_CT.c).

`--notrack` leaves it alone; a zone keeps its tuples apart from those of other zones; a helper is noted with the
connections that begin. Helpers are not modelled: no connection is expected. Events have no effect on packets. It stands
in raw, before conntrack. Must not know the connection table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from emu.errors import InputError
from emu.kernel.netfilter.conn import IP_CT_NEW, IP_CT_UNTRACKED, Template
from emu.kernel.netfilter.hooks import HookState
from emu.kernel.netfilter.matches import Given, number, quote
from emu.kernel.netfilter.targets import CONTINUE, Options, Outcome, Target, Where, targets
from emu.wire.frame import TCP, UDP, Frame

MARK = -1  # `--zone mark`: the zone is the packet's mark
# in the order that iptables-save writes them
_EVENTS = ("new", "related", "destroy", "reply", "assured", "protoinfo", "helper", "mark", "natseqinfo", "secmark")
_EXPECTATION_EVENTS = ("new",)
_ZONES: Mapping[str, set[int]] = {"--zone": set(), "--zone-orig": {0}, "--zone-reply": {1}}
# the kernel's helpers and the protocols of the connections that they read (net/netfilter/nf_conntrack_*.c)
HELPERS = {
    "amanda": (UDP,), "ftp": (TCP,), "irc": (TCP,), "netbios-ns": (UDP,), "pptp": (TCP,), "Q.931": (TCP,), "RAS": (UDP,),
    "sane": (TCP,), "sip": (TCP, UDP), "snmp": (UDP,), "tftp": (UDP,),
}  # fmt: skip


class _Tracking(Target):
    """`template` None: the packet is not tracked."""

    __slots__ = ("template",)
    tables = ("raw",)

    def __init__(self, template: Template | None = None) -> None:
        self.template = template

    def act(self, frame: Frame, state: HookState) -> Outcome:
        if frame.ct is None and frame.ctinfo != IP_CT_UNTRACKED:
            frame.ct = self.template
            frame.ctinfo = IP_CT_UNTRACKED if self.template is None else IP_CT_NEW
        return CONTINUE


@targets.add("CT")
class Ct(_Tracking):
    """`zone` for the original and the reply direction: an id, or MARK. `events` and `expected` are words, in order."""

    __slots__ = ("events", "expected", "helper", "notrack", "zone")
    options = {
        "--notrack": 0, "--helper": 1, "--ctevents": 1, "--expevents": 1, "--zone": 1, "--zone-orig": 1, "--zone-reply": 1,
    }  # fmt: skip

    def __init__(
        self, zone: tuple[int, int], helper: str, events: Sequence[str], expected: Sequence[str], notrack: bool
    ) -> None:
        self.zone, self.helper, self.notrack = zone, helper, notrack
        self.events, self.expected = tuple(events), tuple(expected)
        ids = max(zone[0], 0), max(zone[1], 0)
        super().__init__(None if notrack else Template(ids, (zone[0] == MARK, zone[1] == MARK), helper))

    @classmethod
    def build(cls, given: Options, where: Where) -> Ct:
        helper = given["--helper"].words[0] if "--helper" in given else ""
        if "--helper" in given and (where.proto_negated or where.proto not in HELPERS.get(helper, ())):
            takes = ", ".join(name for name, protocols in HELPERS.items() if where.proto in protocols)
            raise InputError(f"there is no helper {helper!r} for this protocol", expected=takes or "-p tcp or udp")
        return cls(
            _zone(given),
            helper,
            _events(given.get("--ctevents"), _EVENTS),
            _events(given.get("--expevents"), _EXPECTATION_EVENTS),
            "--notrack" in given,
        )

    def spec(self) -> str:
        words = ["-j CT"]
        if self.notrack:
            words.append("--notrack")
        if self.helper:
            words.append(f"--helper {quote(self.helper)}")
        if self.events:
            words.append(f"--ctevents {','.join(self.events)}")
        if self.expected:
            words.append(f"--expevents {','.join(self.expected)}")
        first, second = ("mark" if each == MARK else str(each) for each in self.zone)
        if self.zone[0] and self.zone[0] == self.zone[1]:
            words.append(f"--zone {first}")
        elif self.zone[0]:
            words.append(f"--zone-orig {first}")
        elif self.zone[1]:
            words.append(f"--zone-reply {second}")
        return " ".join(words)


def _zone(given: Options) -> tuple[int, int]:
    """The last of the options gives the id; without a direction it is for both. Raises InputError."""
    wanted = 0
    directions = set[int]()
    for option in given.values():
        if option.name in _ZONES:
            text = option.words[0]
            wanted = MARK if text == "mark" else number(text, "zone", 0, 65535)
            directions |= _ZONES[option.name]
    directions = directions or {0, 1}
    return wanted if 0 in directions else 0, wanted if 1 in directions else 0


def _events(given: Given | None, known: Sequence[str]) -> list[str]:
    if given is None:
        return []
    words = given.words[0].split(",")
    for word in words:
        if word not in known:
            raise InputError(f"unknown event {word!r}", expected=", ".join(known))
    return [word for word in known if word in words]


@targets.add("NOTRACK")
class Notrack(_Tracking):
    __slots__ = ()

    @classmethod
    def build(cls, given: Options, where: Where) -> Notrack:
        return cls()

    def spec(self) -> str:
        return "-j NOTRACK"
