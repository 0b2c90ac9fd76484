"""SET: put the packet's addresses into an ipset, or take them out, and continue (xt_set.c).

Must not decide a packet's fate.
"""

from __future__ import annotations

from contextlib import suppress

from emu.errors import InputError, Undecided
from emu.kernel.netfilter import ipset, ipset_text
from emu.kernel.netfilter.hooks import HookState, Memory
from emu.kernel.netfilter.matches import number
from emu.kernel.netfilter.matches.set import demand, flags_of
from emu.kernel.netfilter.targets import CONTINUE, Options, Outcome, Target, Where, targets
from emu.wire.frame import Frame


@targets.add("SET")
class Set(Target):
    """`timeout_s` None: the set's own. `exist`: an element that is there gets the new timeout."""

    __slots__ = ("exist", "flags", "name", "timeout_s", "what")
    options = {"--add-set": 2, "--del-set": 2, "--exist": 0, "--timeout": 1}

    def __init__(self, what: str, name: str, flags: tuple[str, ...], exist: bool, timeout_s: int | None) -> None:
        self.what, self.name, self.flags, self.exist, self.timeout_s = what, name, flags, exist, timeout_s

    @classmethod
    def build(cls, given: Options, where: Where) -> Set:
        asked = [name for name in ("--add-set", "--del-set") if name in given]
        if len(asked) != 1:
            raise InputError("SET needs one action", expected="--add-set or --del-set NAME FLAGS")
        name, flags = given[asked[0]].words
        timeout = number(given["--timeout"].words[0], "timeout") if "--timeout" in given else None
        return cls(asked[0][2:5], name, flags_of(flags), "--exist" in given, timeout)

    def checkentry(self, tables: Memory) -> None:
        demand(self.name, tables)

    def act(self, frame: Frame, state: HookState) -> Outcome:
        sets: ipset.IpSets = state.family.tables.ipsets
        found = sets.get(self.name)
        if found is None:
            raise Undecided(f"there is no set {self.name!r}")
        values = None if found.kind == "list:set" else ipset.values_of(found, frame, self.flags)
        if values is None:
            return CONTINUE
        now, text = state.net.clock.now, ipset.element_text(found, values)
        there = found.find(values, now) is not None
        if self.what == "del":
            ipset_text.remove(found, text)
        elif self.exist or not there:
            timeout = [] if self.timeout_s is None or found.timeout_s is None else ["timeout", str(self.timeout_s)]
            with suppress(InputError):  # a full set, or an address that is no element of its type: the packet goes on
                ipset_text.add(sets, self.name, text, timeout, now, exist=True)
        return CONTINUE

    def spec(self) -> str:
        words = [f"-j SET --{self.what}-set {self.name} {','.join(self.flags)}"]
        if self.exist:
            words.append("--exist")
        if self.timeout_s is not None:
            words.append(f"--timeout {self.timeout_s}")
        return " ".join(words)
