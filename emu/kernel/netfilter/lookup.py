"""Chains compiled for the walk; long chains are looked up, not scanned.

A compiled rule is `(tests, op, argument, rule)`. A chain of eight and more rules that name exact destinations or ports
becomes an index: it gives the few rules that can match a packet, in their order, so that a walk does not grow with the
number of Services. Every candidate is still matched in full. A walk that only states and marks decide is known
beforehand (`path`). Must not know hooks, counters or namespaces.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final, NamedTuple

from emu.fork import itself
from emu.kernel.netfilter.hooks import Drop, HookState, Reject
from emu.kernel.netfilter.matches import Match, Test
from emu.kernel.netfilter.matches.ip import ALL_ONES, Ip
from emu.kernel.netfilter.matches.sctp import Sctp
from emu.kernel.netfilter.matches.tcp import Tcp
from emu.kernel.netfilter.matches.udp import Udp
from emu.kernel.netfilter.ruleset import MOST_EDITS, Chain, ChainMap, Edit, Rule
from emu.kernel.netfilter.targets import Goto, Jump
from emu.kernel.netfilter.targets.reject import Reject as RejectTarget
from emu.kernel.netfilter.targets.verdicts import Accept, Return
from emu.kernel.netfilter.targets.verdicts import Drop as DropTarget
from emu.wire.frame import IP_OFFSET, Frame
from emu.wire.transport import transport_word

# what a matched rule does; the argument of each in brackets. From JUMP on it goes to another chain.
COUNT: Final = 0
ACCEPT: Final = 1
DECIDE: Final = 2  # [verdict]
RETURN: Final = 3
ACT: Final = 4  # [Target.act]
JUMP: Final = 5  # [chain]
GOTO: Final = 6  # [chain]

WORTH = 8

Entry = tuple[tuple[Test, ...], int, Any, Rule]
Program = tuple[Entry, ...]


class _Keyed(NamedTuple):
    """A rule of a chain, which is compiled when a packet may match it: of a long chain most are never looked at."""

    rule: Rule
    dst: int | None
    port: tuple[int, int] | None

    def key(self, field: str) -> Any:
        return self.dst if field == "dst" else self.port


class _Edited(NamedTuple):
    """An edit of a chain (`Edit`), with its lines as keyed ones."""

    at: int
    until: int
    lines: Sequence[_Keyed]


class Index:
    """Entries by the value of one field of the packet; entries that name no exact value are candidates for every packet.

    That of a chain which was made by edits has the places that were there before, and the edits: what is looked up goes through
    them, and nothing else is looked at.
    """

    __slots__ = ("_added", "_edits", "_entries", "_field", "_fields", "_found", "_named", "_rest")
    __deepcopy__: ClassVar[Any] = itself  # else compiled code makes it an attribute of each object

    def __init__(
        self, field: str, entries: Sequence[_Keyed] | Chain, fields: tuple[str, ...], known: Index | None = None
    ) -> None:
        """`known`: the index that `edited` goes on from."""
        self._field, self._entries, self._fields = field, entries, fields
        self._edits: tuple[_Edited, ...] = ()
        self._added: set[Any] = set()  # the values that lines of edits name
        self._found: dict[Any, Program | Index] = {}
        self._named: dict[Any, list[int]] = {} if known is None else known._named
        self._rest: Program | Index = ()

    @classmethod
    def of(cls, field: str, entries: Sequence[_Keyed], fields: tuple[str, ...]) -> Index:
        index = cls(field, entries, tuple(other for other in fields if other != field))
        index._named[None] = []
        for at, entry in enumerate(entries):
            index._named.setdefault(entry.key(field), []).append(at)
        index._rest = index._built(sorted(index._places(None)))
        return index

    def edited(self, chain: Chain, edits: Sequence[Edit]) -> Index | None:
        """That of the chain after these edits. None: there were too many."""
        if len(self._edits) + len(edits) > MOST_EDITS:
            return None
        index = type(self)(self._field, chain, self._fields, self)
        made = (_Edited(at, until, [*map(_keyed, lines)]) for at, until, lines in edits)
        index._edits = (*self._edits, *made)
        index._added = {line.key(self._field) for edit in index._edits for line in edit.lines}
        index._rest = index._built(sorted(index._places(None)))
        return index

    def _places(self, key: Any) -> list[int]:
        places = self._named.get(key, [])
        for at, until, lines in self._edits:
            further = len(lines) - (until - at)
            places = [place if place < at else place + further for place in places if not at <= place < until]
            places += [place for place, line in enumerate(lines, at) if line.key(self._field) == key]
        return places

    def _built(self, places: Sequence[int]) -> Program | Index:
        entries = self._entries
        if isinstance(entries, Chain):
            return _build([_keyed(entries.rule(at)) for at in places], self._fields)
        return _build([entries[at] for at in places], self._fields)

    def _get(self, key: Any) -> Program | Index:
        found = self._found.get(key)
        if found is None:
            if key not in self._named and key not in self._added:
                return self._rest
            found = self._found[key] = self._built(sorted(self._places(key) + self._places(None)))
        return found

    def find(self, frame: Frame) -> Program | Index:
        raise NotImplementedError


class ByDestination(Index):
    __slots__ = ()

    def find(self, frame: Frame) -> Program | Index:
        return self._get(frame.dst)


class ByPort(Index):
    __slots__ = ()

    def find(self, frame: Frame) -> Program | Index:
        dport = frame.dport if not frame.frag & IP_OFFSET else transport_word(frame, 2)
        return self._get((frame.proto, dport))


_INDEX: dict[str, type[Index]] = {"dst": ByDestination, "port": ByPort}


def program(chain: Chain) -> Program | Index:
    """The chain compiled, once for all namespaces that share it."""
    compiled: Program | Index | None = chain.program
    if compiled is None:
        since, chain.since = chain.since, None
        if since is not None and isinstance(since[0], Index):
            compiled = since[0].edited(chain, since[1])
        if compiled is None:
            compiled = _build([_keyed(rule) for rule in chain.rules], ("dst", "port"))
        chain.program = compiled
    return compiled


def _keyed(rule: Rule) -> _Keyed:
    return _Keyed(rule, _destination(rule), _port(rule))


def scan(chain: Chain) -> Program:
    """The chain compiled without any index: what every look-up must equal."""
    return tuple(_entry(rule) for rule in chain.rules)


def path(base: Chain, chains: ChainMap, frame: Frame, state: HookState) -> tuple[Rule, ...] | None:
    """The rules that match a packet which passes, where no rule asks for more than the state of its connection and its mark:
    each packet of that state with that mark meets the same ones. None: another packet may meet others, or is dropped."""
    met: list[Rule] = []
    accepted = _follow(base, chains, frame, state, met)
    return None if accepted is None or (not accepted and base.policy == "DROP") else tuple(met)


def _follow(chain: Chain, chains: ChainMap, frame: Frame, state: HookState, met: list[Rule]) -> bool | None:
    """Put the rules that match on `met`. True: one accepts; False: the chain comes back; None: `path` has no answer."""
    for rule in chain:
        if not all(match.by_state() for match in rule.matches):
            return None
        if not all(match.matches(frame, state) for match in rule.matches):
            continue
        met.append(rule)
        target = rule.target
        if isinstance(target, Accept):
            return True
        if isinstance(target, Return):
            return False
        if isinstance(target, Jump | Goto):
            accepted = _follow(chains[target.chain], chains, frame, state, met)
            if accepted is not False or isinstance(target, Goto):
                return accepted
        elif target is not None:
            return None
    return False


def _build(entries: Sequence[_Keyed], fields: tuple[str, ...]) -> Program | Index:
    if len(entries) >= WORTH and fields:
        named = {field: sum(entry.key(field) is not None for entry in entries) for field in fields}
        field = max(fields, key=lambda each: named[each])
        if named[field] >= WORTH // 2:
            return _INDEX[field].of(field, entries, fields)
    return tuple(_entry(entry.rule) for entry in entries)


def _entry(rule: Rule) -> Entry:
    tests = tuple(test for match in _in_order(rule) for test in match.tests())
    match rule.target:
        case None:
            return tests, COUNT, None, rule
        case Accept():
            return tests, ACCEPT, None, rule
        case DropTarget():
            return tests, DECIDE, Drop("NETFILTER_DROP", rule), rule
        case RejectTarget(with_=with_):
            return tests, DECIDE, Reject(with_, rule), rule
        case Return():
            return tests, RETURN, None, rule
        case Jump(chain=chain):
            return tests, JUMP, chain, rule
        case Goto(chain=chain):
            return tests, GOTO, chain, rule
        case target:
            return tests, ACT, target.act, rule


def _in_order(rule: Rule) -> tuple[Match, ...]:
    """The matches in the order of evaluation: what is not modelled after all that can refuse the packet without a side effect."""
    if not any(match.late() for match in rule.matches):
        return rule.matches
    return (*(m for m in rule.matches if m.pure), *(m for m in rule.matches if not m.pure))


def _destination(rule: Rule) -> int | None:
    """The one destination that the rule can match, if it names one."""
    first = rule.matches[0] if rule.matches else None
    if isinstance(first, Ip) and first.dst is not None and first.dst.mask == ALL_ONES and not first.dst.negated:
        return first.dst.addr
    return None


def _port(rule: Rule) -> tuple[int, int] | None:
    """The one (protocol, destination port) that the rule can match, if it names one before anything that draws or
    remembers is asked: a rule that is not a candidate must not miss a draw."""
    first = rule.matches[0] if rule.matches else None
    if not isinstance(first, Ip) or not first.proto or first.proto_negated:
        return None
    for match in rule.matches:
        if isinstance(match, Tcp | Udp | Sctp):
            ports = match.dport
            if ports is not None and ports.low == ports.high and not ports.negated:
                return first.proto, ports.low
        if not match.pure:
            return None
    return None
