"""`-m comment`: words for people; every packet fits.

Captures show them; must not cost the walk anything.
"""

from __future__ import annotations

from dataclasses import dataclass

from emu.errors import InputError
from emu.kernel.netfilter.hooks import HookState
from emu.kernel.netfilter.matches import Match, Options, Test, Where, matches, quote
from emu.wire.frame import Frame


@matches.add("comment")
@dataclass(frozen=True, slots=True)
class Comment(Match):
    options = {"--comment": 1}
    not_negated = frozenset(("--comment",))
    text: str

    @classmethod
    def build(cls, given: Options, where: Where) -> Comment:
        if "--comment" not in given:
            raise InputError("-m comment has no option", expected="--comment TEXT")
        text = given["--comment"].words[0]
        if len(text.encode()) > 255:
            raise InputError("the comment is too long", expected="at most 255 bytes")
        return cls(text)

    def matches(self, frame: Frame, state: HookState) -> bool:
        return True

    def by_state(self) -> bool:
        return True

    def tests(self) -> tuple[Test, ...]:
        return ()

    def spec(self) -> str:
        return f"--comment {quote(self.text)}"
