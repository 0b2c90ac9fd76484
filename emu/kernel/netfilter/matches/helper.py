"""`-m helper`: packets of a connection that a conntrack helper expected (xt_helper.c).

No helper is modelled (see `targets/ct.py`), so that no connection has a master and none matches. Must not know what
helpers read.
"""

from __future__ import annotations

from dataclasses import dataclass

from emu.errors import InputError
from emu.kernel.netfilter.hooks import HookState
from emu.kernel.netfilter.matches import Match, Options, Where, matches, quote
from emu.wire.frame import Frame


@matches.add("helper")
@dataclass(frozen=True, slots=True)
class Expected(Match):
    """`name` "": any helper."""

    options = {"--helper": 1}
    name: str
    negated: bool

    @classmethod
    def build(cls, given: Options, where: Where) -> Expected:
        if "--helper" not in given:
            raise InputError("-m helper needs a name", expected="--helper NAME")
        option = given["--helper"]
        return cls(option.words[0], option.negated)

    def matches(self, frame: Frame, state: HookState) -> bool:
        conn = frame.ct
        master = None if conn is None else conn.master
        if master is None or not master.helper:
            return self.negated
        # the helper's name must be a beginning of the wanted one: "ftp" is that of "ftp-2121"
        return (not self.name or self.name.startswith(master.helper)) is not self.negated

    def spec(self) -> str:
        return f"{'! ' if self.negated else ''}--helper {quote(self.name)}"
