"""The tables of one namespace: which rules are there, the walk over them, and what they counted.

Rules are shared values (`ruleset.py`), compiled once a chain (`lookup.py`); counters and what matches remember
(`memory`) are the namespace's own and sparse. Filter, mangle and raw stand at the hooks; the nat table does not: NAT
calls `nat_chain` for the first packet of a connection. Must not know devices, routing or sockets (ip_tables.c).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache, partial
from typing import Any

from emu import page
from emu.errors import InputError, Undecided
from emu.kernel.netfilter.hooks import (
    HOOK_NAMES,
    LOCAL_OUT,
    PRI_FILTER,
    PRI_MANGLE,
    PRI_RAW,
    PRI_SECURITY,
    Drop,
    HookFn,
    Hooks,
    HookState,
    Reject,
    Verdict,
)  # fmt: skip
from emu.kernel.netfilter.ipset import IpSets
from emu.kernel.netfilter.jumps import check
from emu.kernel.netfilter.layered import differing
from emu.kernel.netfilter.lookup import ACCEPT, ACT, DECIDE, JUMP, RETURN, Entry, Index, Program, path, program
from emu.kernel.netfilter.matches import HotDrop
from emu.kernel.netfilter.ruleset import BUILT_IN, Chain, ChainMap, Rule, RuleSet
from emu.kernel.netfilter.save import parse_restore, save
from emu.kernel.netfilter.targets import CONTINUE
from emu.kernel.netfilter.unknown import REASON as UNDECIDED
from emu.trail import Note, Policy, Recorder
from emu.wire.frame import Frame

__all__ = ["BUILT_IN", "Chain", "Rule", "RuleSet", "Tables"]

MOST_PATHS = 64  # the states and marks for which a walk remembers its rules
PRIORITIES = {"raw": PRI_RAW, "mangle": PRI_MANGLE, "filter": PRI_FILTER, "security": PRI_SECURITY}


NOWHERE: frozenset[tuple[str, int]] = frozenset()
EMPTY = RuleSet({})  # one for all namespaces without rules


def _new_rules(ruleset: RuleSet, before: RuleSet | None) -> Iterator[Rule]:
    """What the rules of chains ask that were not there. Chains that share their forms ask the same."""
    seen: dict[int, Sequence[Rule]] = {}
    for table, chains in ruleset.tables.items():
        for chain in differing(chains, {} if before is None else before.tables.get(table, {})):
            forms = chain.forms
            if id(forms) not in seen:
                seen[id(forms)] = forms
                yield from forms


class Tables:
    """`hooks` is the namespace's. `ruleset` is what is in force, `counters[rule]` is [packets, bytes] (absent: zero).

    `memory` is what matches keep from packet to packet (see `matches.memory`), `ipsets` the sets that rules may look up.
    """

    __slots__ = (
        "_hooks",
        "_nat",
        "_own",
        "_place",
        "_places",
        "_recorder",
        "_registered",
        "_shared",
        "_stale",
        "counters",
        "ipsets",
        "memory",
    )

    def __init__(self, hooks: Hooks, ruleset: RuleSet | None = None) -> None:
        self._hooks = hooks
        self._registered: list[tuple[int, HookFn]] = []
        self._nat: list[HookFn | None] = [None] * 5
        self._places: frozenset[tuple[str, int]] = NOWHERE  # where a base chain is walked
        self._stale = False  # the hooks still have the walks of an earlier rule set
        self.counters: dict[Rule, list[int]] = {}
        self.memory: dict[Any, Any] = {}
        self.ipsets = IpSets()
        self._recorder: Recorder | None = None
        self._own = EMPTY
        self._shared: Shared | None = None  # what it has in force instead, together with others
        self._place = 0  # its place there
        if ruleset is not None:
            self.replace(ruleset)

    @property
    def ruleset(self) -> RuleSet:
        return self._own if self._shared is None else self._shared.ruleset

    @property
    def shared(self) -> Shared | None:
        """The rules that it has in force together with others."""
        return self._shared

    @property
    def recorder(self) -> Recorder | None:
        return self._recorder

    @recorder.setter
    def recorder(self, recorder: Recorder | None) -> None:
        self._recorder = recorder
        self._awake()

    def join(self, shared: Shared, place: int) -> None:
        """Have what others have in force from now on: it is what is in force here."""
        if self._shared is not None:
            self._shared.leave(self._place)
        self._shared, self._place = shared, place
        if not self.asleep:
            self._awake()

    @property
    def asleep(self) -> bool:
        """Whether no packet came since the rules were replaced, none was counted, and no change is recorded: nothing here
        depends on which rules are in force."""
        return self._stale and not self.counters and self._recorder is None

    def _awake(self) -> None:
        if self._shared is not None:
            self._shared.awake.add(self._place)

    def replace(self, ruleset: RuleSet) -> None:
        """Put other rules in force at once. A rule that stays, perhaps at another number, keeps its counters.

        The jumps are not looked at: this is for rules that a text gave, which were checked when it was read, and for
        kube-proxy's, whose chains are at most five deep by the way they are compiled. Others go by `restore`.
        """
        if self._shared is not None:
            self._shared.leave(self._place)
            self._shared = None
        self._own = ruleset
        self.turn(ruleset)

    def turn(self, ruleset: RuleSet) -> None:
        """What other rules in force change here."""
        if self._recorder is not None:
            self._recorder.ruled(ruleset)
        if self.counters:
            self._keep_counters()
        before, self._places = self._places, _places(ruleset)
        same = self._places == before
        if same and self._stale:
            return  # the walks that are made before the next packet are those of the rules in force then
        self._stale = True
        self._hooks.defer(_hooks(before) if same else (), self._wire)
        if not same:
            self._hooks.wake()

    def _keep_counters(self) -> None:
        """A rule that stays keeps what it counted."""
        for rule in list(self.counters):
            now = _same(self.ruleset, rule)
            if now is not rule:
                counter = self.counters.pop(rule)
                if now is not None:
                    self.counters[now] = counter

    def _wire(self) -> None:
        """Put the walks over the base chains where they belong."""
        self._stale = False
        self._awake()
        for hook, fn in self._registered:
            self._hooks.unregister(hook, fn)
        self._registered.clear()
        for table, priority in PRIORITIES.items():
            for hook, fn in self._base_chains(table):
                self._registered.append((hook, fn))
                self._hooks.register(hook, priority, fn)
        self._nat = [None] * 5
        for hook, fn in self._base_chains("nat"):
            self._nat[hook] = fn

    def restore(self, text: str | RuleSet, noflush: bool = False, file: str | None = None) -> None:
        """iptables-restore: tables that the text names are emptied first, unless `noflush`. Rules that come as a value, and
        what a merge makes of them, are checked like a text's. Raises InputError, and then nothing is changed."""
        if isinstance(text, RuleSet):
            given = text
            kept = self.ruleset.merge(given) if noflush else RuleSet({**self.ruleset.tables, **given.tables})
            check(kept, self.ruleset)
        else:
            kept = parse_restore(text, file, onto=self.ruleset, noflush=noflush)
        before = self.ruleset
        self._checkentry(kept, file)
        self.replace(kept)
        self.load(before)

    def _checkentry(self, ruleset: RuleSet, file: str | None) -> None:
        """Ask the parts of all rules in chains that are new here. Raises InputError."""
        for rule in _new_rules(ruleset, self.ruleset):
            try:
                for match in rule.matches:
                    match.checkentry(self)
                if rule.target is not None:
                    rule.target.checkentry(self)
            except InputError as error:
                raise error.at(file=file, line=rule.line or None) from None

    def load(self, before: RuleSet | None = None) -> None:
        """Set the sysctls that rules in force need, as their kernel modules do when a rule is loaded. `before`: rules whose
        chains were loaded then."""
        for rule in _new_rules(self.ruleset, before):
            for match in rule.matches:
                for name, value in match.sysctls.items():
                    self._hooks.states[0].net.sysctl[name] = value

    def save(self, counters: bool = False) -> str:
        """The text of iptables-save (`-c` with `counters`), without its lines of comment."""
        return save(self.ruleset, self.counters if counters else None)

    def __repr__(self) -> str:
        return f"<tables {', '.join(self.ruleset.tables) or 'none'}: {sum(1 for _ in self.ruleset.rules())} rules>"

    def _repr_html_(self) -> str:
        rows = [(rule.table, *self.counters.get(rule, (0, 0)), str(rule)) for rule in self.ruleset.rules()]
        return page.table(f"{len(rows)} rules", ("table", "packets", "bytes", "rule"), rows)

    def nat_chain(self, hook: int) -> HookFn | None:
        """What the first packet of a connection walks at `hook` in the nat table; None if there is nothing to walk."""
        if self._stale:
            self._hooks.wake()
        return self._nat[hook]

    def _base_chains(self, table: str) -> Iterator[tuple[int, HookFn]]:
        for hook, name in enumerate(HOOK_NAMES):
            if (table, hook) not in self._places:
                continue
            chains = self.ruleset.tables[table]
            chain = chains[name]
            walk = walker(table, chain, chains, self.counters)
            yield hook, partial(_mangle_out, walk) if (table, hook) == ("mangle", LOCAL_OUT) else walk


class Shared:
    """The rules that many namespaces have in force together, `of` whose: a change is made once, and then where a packet came
    since the last one. A namespace whose own rules are replaced leaves.
    """

    __slots__ = ("_count", "_members", "_places", "awake", "of", "ruleset")

    def __init__(self, of: object, tables: Iterable[Tables], ruleset: RuleSet) -> None:
        """`ruleset` is in force in each of `tables`, perhaps shared already."""
        self.of, self.ruleset = of, ruleset
        self._places = _places(ruleset)
        self.awake: set[int] = set()  # where the change of rules matters, by place
        self._members: list[Tables | None] = [*tables]
        self._count = len(self._members)
        for place, each in enumerate(self._members):
            assert each is not None and each.ruleset is ruleset
            each.join(self, place)

    @property
    def whole(self) -> bool:
        """Whether none has left."""
        return self._count == len(self._members)

    def leave(self, place: int) -> None:
        self._members[place] = None
        self._count -= 1
        self.awake.discard(place)

    def replace(self, ruleset: RuleSet) -> None:
        """Put other rules in force in all of them."""
        self.ruleset = ruleset
        before, self._places = self._places, _places(ruleset)
        for place in sorted(self.awake) if self._places == before else range(len(self._members)):
            each = self._members[place]
            if each is not None:
                each.turn(ruleset)
                if each.asleep:
                    self.awake.discard(place)


@lru_cache(maxsize=8)  # the nodes of a cluster that agree get one rule set after each other
def _places(ruleset: RuleSet) -> frozenset[tuple[str, int]]:
    """Table and hook of each base chain that decides anything."""
    return _one(
        frozenset(
            (table, hook)
            for table in (*PRIORITIES, "nat")
            for hook, name in enumerate(HOOK_NAMES)
            for chain in (ruleset.chain(table, name),)
            if chain is not None and (chain.lines or chain.policy == "DROP")
        )
    )


@lru_cache(maxsize=64)
def _one(places: frozenset[tuple[str, int]]) -> frozenset[tuple[str, int]]:
    """One object for equal ones."""
    return places


@lru_cache(maxsize=64)
def _hooks(places: frozenset[tuple[str, int]]) -> tuple[int, ...]:
    """The hooks where Tables itself has functions: the nat table's are called by NAT."""
    return tuple(sorted({hook for table, hook in places if table != "nat"}))


def _same(ruleset: RuleSet, rule: Rule) -> Rule | None:
    """The rule in another rule set: itself, or the one made of it when its number changed."""
    chain = ruleset.chain(rule.table, rule.chain)
    return None if chain is None else chain.now(rule)


class _Programs(dict[str, Program | Index]):
    """The chains that one walk jumps to, each compiled at its first call."""

    __slots__ = ("_chains", "compiled")

    def __init__(self, chains: ChainMap, compiled: Callable[[Chain], Program | Index]) -> None:
        super().__init__()
        self._chains, self.compiled = chains, compiled

    def __missing__(self, name: str) -> Program | Index:
        found = self[name] = self.compiled(self._chains[name])
        return found


def walker(
    table: str,
    base: Chain,
    chains: ChainMap,
    counters: dict[Rule, list[int]],
    compiled: Callable[[Chain], Program | Index] = program,
    known: Callable[[Chain, ChainMap, Frame, HookState], tuple[Rule, ...] | None] = path,
) -> HookFn:
    """The walk over one base chain, as a hook function (ipt_do_table).

    Every rule that matches is counted and put on the frame's trail; a policy only when it drops. A rule that asks what
    is not modelled drops with the reason UNDECIDED. What `known` gives is the same for all packets of one state and mark.
    """
    whole = _Walk(table, base, counters, _Programs(chains, compiled)).walk
    return _Remembering(whole, partial(known, base, chains), counters).walk


class _Walk:
    """The walk over one base chain. No closure: compiled code would hide what it holds from a copy of the state."""

    __slots__ = ("policy", "end", "start", "programs", "counters")

    def __init__(self, table: str, base: Chain, counters: dict[Rule, list[int]], programs: _Programs) -> None:
        self.policy = Policy(table, base.name, base.policy)
        self.end = Drop("NETFILTER_DROP", self.policy) if base.policy == "DROP" else None
        self.start: Program | Index = programs.compiled(base)
        self.programs, self.counters = programs, counters

    def walk(self, frame: Frame, state: HookState) -> Verdict:
        trail, counters = frame.trail, self.counters
        stack: list[Iterator[Entry]] = []
        node = self.start
        while isinstance(node, Index):
            node = node.find(frame)
        rules = iter(node)
        try:
            while True:
                for tests, op, argument, rule in rules:
                    for test in tests:
                        if not test(frame, state):
                            break
                    else:
                        counter = counters.get(rule)
                        if counter is None:
                            counters[rule] = [1, frame.tot_len]
                        else:
                            counter[0] += 1
                            counter[1] += frame.tot_len
                        if trail is not None:
                            trail.append(rule)
                        if op >= JUMP:
                            # a jump comes back to where it left, a goto to where its own chain was called
                            if op == JUMP:
                                stack.append(rules)
                            node = self.programs[argument]
                            while isinstance(node, Index):
                                node = node.find(frame)
                            rules = iter(node)
                            break
                        if op == ACCEPT:
                            return None
                        if op == ACT:
                            outcome = argument(frame, state)
                            if outcome is CONTINUE:
                                continue
                            verdict: Verdict = _by(rule, outcome) if outcome.__class__ is Drop else outcome
                            return verdict
                        if op == DECIDE:
                            decided: Drop | Reject = argument
                            return decided
                        if op == RETURN:
                            rules = iter(())
                            break
                else:
                    if not stack:
                        break
                    rules = stack.pop()
        except (Undecided, HotDrop) as why:
            return _unanswered(frame, rule, why)
        if self.end is not None and trail is not None:
            trail.append(self.policy)
        return self.end


class _Remembering:
    """The same walk, where `known` gives the rules that all packets of one state and mark meet; else the whole of it."""

    __slots__ = ("whole", "known", "counters", "paths")

    def __init__(
        self,
        whole: HookFn,
        known: Callable[[Frame, HookState], tuple[Rule, ...] | None],
        counters: dict[Rule, list[int]],
    ) -> None:
        self.whole, self.known, self.counters = whole, known, counters
        # by mark and state: the rules, and the counter of each
        self.paths: dict[int, tuple[tuple[Rule, ...], list[list[int]]] | None] = {}

    def walk(self, frame: Frame, state: HookState) -> Verdict:
        if frame.ct is None:
            return self.whole(frame, state)
        seen = frame.mark << 3 | frame.ctinfo if frame.mark else frame.ctinfo
        path = self.paths.get(seen)
        if path is None:
            if seen not in self.paths:
                self._learn(seen, frame, state)
            return self.whole(frame, state)
        rules, counters = path
        size = frame.tot_len
        for counter in counters:
            counter[0] += 1
            counter[1] += size
        trail = frame.trail
        if trail is not None:
            trail.extend(rules)
        return None

    def _learn(self, seen: int, frame: Frame, state: HookState) -> None:
        """Remember for the packets behind this one what they meet, or that it is not known."""
        paths = self.paths
        if len(paths) == MOST_PATHS:
            paths.clear()
        rules: tuple[Rule, ...] | None = self.known(frame, state)
        # this packet counts for them at once; a counter stays the rule's for as long as the walk is in force
        paths[seen] = rules if rules is None else (rules, [self.counters.setdefault(rule, [0, 0]) for rule in rules])


def _by(rule: Rule, drop: Drop) -> Drop:
    """A target's drop, decided by its rule unless the target names what decided."""
    return drop if drop.by is not None else Drop(drop.reason, rule)


def _unanswered(frame: Frame, rule: Rule, why: Undecided | HotDrop) -> Drop:
    """What becomes of a packet when a part of a rule, or a set, is not modelled; or when it is too broken to be asked."""
    if isinstance(why, HotDrop):
        return Drop("NETFILTER_DROP", rule)
    if frame.trail is not None:
        frame.trail.append(Note(str(why)))
    return Drop(UNDECIDED, rule)


def _mangle_out(walk: HookFn, frame: Frame, state: HookState) -> Verdict:
    """ipt_mangle_out: a packet whose mark, addresses or TOS the rules changed is routed anew."""
    mark, src, dst, tos = frame.mark, frame.src, frame.dst, frame.tos
    verdict = walk(frame, state)
    if verdict.__class__ is Drop or verdict.__class__ is Reject:
        return verdict
    if frame.mark != mark or frame.dst != dst or frame.src != src or frame.tos != tos:
        error = state.family.reroute(frame)
        if error:
            return Drop("NETFILTER_DROP", None, error)
    return verdict
