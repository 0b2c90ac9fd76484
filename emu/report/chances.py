"""Every endpoint that a new connection may get, with its probability, read from the rules themselves.

The nat chain is walked with the packet that would be sent; where a rule draws lots, both ways are followed. Nothing is
drawn or counted. Must not know Services.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from emu.kernel.net.netns import Netns
from emu.kernel.netfilter.hooks import HOOK_NAMES, LOCAL_OUT, PRE_ROUTING
from emu.kernel.netfilter.matches.statistic import ONE, Statistic
from emu.kernel.netfilter.ruleset import Chain, Rule
from emu.kernel.netfilter.targets import Goto, Jump
from emu.kernel.netfilter.targets.nat import Dnat, spell_range
from emu.kernel.netfilter.targets.verdicts import Accept, Return
from emu.report import Report
from emu.wire.frame import Frame

_TABLE = "nat"
_PLACES = 6


class Chance(NamedTuple):
    """An address that the destination may become ("" : it stays), how probably, and the chains on the way there."""

    to: str
    probability: float
    chains: tuple[str, ...]


def chances(net: Netns, frame: Frame, *, local: bool) -> list[Chance]:
    """The possible fates of a new connection's first packet in `net`'s nat table: the most probable first, then in the
    order of the rules. `local`: it is the namespace's own (OUTPUT), else it comes in (PREROUTING)."""
    hook = LOCAL_OUT if local else PRE_ROUTING
    chain = net.ipv4.tables.ruleset.chain(_TABLE, HOOK_NAMES[hook])
    if chain is None:
        return [Chance("", 1.0, ())]
    walk = _Walk(net, frame, net.ipv4.hooks.states[hook])
    found: dict[tuple[str, tuple[str, ...]], float] = {}
    left = 1.0
    for to, probability, chains in walk.chain(chain, 1.0, ()):
        if chains[-1:] == (_THROUGH,):
            continue
        found[to, chains] = found.get((to, chains), 0.0) + probability
        left -= probability
    if left > 1e-9:
        found["", ()] = left
    return [
        Chance(to, round(p, _PLACES), chains) for (to, chains), p in sorted(found.items(), key=lambda each: -each[1])
    ]


_THROUGH = "\0"  # a chain ended without a decision: the caller goes on with this part of the probability


class _Walk:
    """One walk over a table; yields decisions with their probability."""

    def __init__(self, net: Netns, frame: Frame, state: Any) -> None:
        self.chains = net.ipv4.tables.ruleset.tables[_TABLE]
        self.frame, self.state = frame, state

    def chain(self, chain: Chain, probability: float, path: tuple[str, ...]) -> Iterator[Chance]:
        here = (*path, chain.name)
        for rule in chain.rules:
            hit = probability * self.share(rule)
            if hit <= 0:
                continue
            target = rule.target
            if isinstance(target, Jump | Goto):
                through = 0.0
                for chance in self.chain(self.chains[target.chain], hit, here):
                    if chance.chains[-1:] == (_THROUGH,):
                        through += chance.probability
                    else:
                        yield chance
                if isinstance(target, Goto):
                    yield Chance("", through, (_THROUGH,))
                    through = 0.0
                probability += through - hit
            elif isinstance(target, Dnat):
                yield Chance(spell_range(target.range), hit, here)
                probability -= hit
            elif isinstance(target, Accept):
                yield Chance("", hit, here)
                probability -= hit
            elif isinstance(target, Return):
                yield Chance("", hit, (_THROUGH,))
                probability -= hit
            if probability <= 1e-12:
                return
        yield Chance("", probability, (_THROUGH,))

    def share(self, rule: Rule) -> float:
        """How much of what comes to the rule it takes: 0 or 1, or what its lots give."""
        share = 1.0
        for match in rule.matches:
            if isinstance(match, Statistic):
                part = match.value / ONE if match.mode == "random" else 1 / match.value
                share *= 1 - part if match.negated else part
            elif not match.pure:
                return 0.0  # what the match remembers (an earlier packet of this client) is not there for a first one
            elif not all(test(self.frame, self.state) for test in match.tests()):
                return 0.0
        return share


def report(found: list[Chance]) -> Report:
    """A line an endpoint: probability, address, the chains that lead there."""
    data = [{"to": each.to, "probability": each.probability, "chains": list(each.chains)} for each in found]
    lines = [
        f"{each.probability:8.4%}  {each.to or 'as it is: no rule rewrites it':<21}  {' -> '.join(each.chains)}".rstrip()
        for each in found
    ]
    return Report(data, "\n".join(lines))
