"""`-m physdev`: the bridge ports of a packet that br_netfilter holds (xt_physdev.c).

Reads `physin` and `physout` of the frame; must not know bridges.
"""

from __future__ import annotations

from dataclasses import dataclass

from emu.errors import InputError
from emu.kernel.netfilter.hooks import HookState
from emu.kernel.netfilter.matches import Given, Match, Options, Where, matches
from emu.kernel.netfilter.matches.ip import name_fits
from emu.wire.frame import Frame

_FLAGS = ("--physdev-is-in", "--physdev-is-out", "--physdev-is-bridged")


@matches.add("physdev")
@dataclass(frozen=True, slots=True)
class Physdev(Match):
    """`is_in`, `is_out`, `is_bridged`: None, or whether it is negated; `indev`, `outdev`: (name, negated) or None."""

    options = {"--physdev-in": 1, "--physdev-out": 1, **dict.fromkeys(_FLAGS, 0)}
    is_in: bool | None
    indev: tuple[str, bool] | None
    is_out: bool | None
    outdev: tuple[str, bool] | None
    is_bridged: bool | None

    @classmethod
    def build(cls, given: Options, where: Where) -> Physdev:
        if not given:
            raise InputError("-m physdev has no option", expected="one of its options")

        def negated(name: str) -> bool | None:
            return given[name].negated if name in given else None

        return cls(
            negated("--physdev-is-in"),
            _name(given.get("--physdev-in")),
            negated("--physdev-is-out"),
            _name(given.get("--physdev-out")),
            negated("--physdev-is-bridged"),
        )

    def matches(self, frame: Frame, state: HookState) -> bool:
        physin, physout = frame.physin, frame.physout
        if physin is None and physout is None:
            # without bridge information only negated conditions hold
            return (
                False not in (self.is_in, self.is_out, self.is_bridged)
                and (self.indev is None or self.indev[1])
                and (self.outdev is None or self.outdev[1])
            )
        if self.is_bridged is not None and (physout is not None) is self.is_bridged:
            return False
        if self.is_in is not None and (physin is not None) is self.is_in:
            return False
        if self.is_out is not None and (physout is not None) is self.is_out:
            return False
        if self.indev is not None and physin is not None and name_fits(self.indev[0], physin.name) is self.indev[1]:
            return False
        if self.outdev is None:
            return True
        return physout is not None and name_fits(self.outdev[0], physout.name) is not self.outdev[1]

    def spec(self) -> str:
        words = []
        for option, value in (
            ("--physdev-is-in", self.is_in),
            ("--physdev-in", self.indev),
            ("--physdev-is-out", self.is_out),
            ("--physdev-out", self.outdev),
            ("--physdev-is-bridged", self.is_bridged),
        ):
            if isinstance(value, tuple):
                words.append(f"{'! ' if value[1] else ''}{option} {value[0]}")
            elif value is not None:
                words.append(f"{'! ' if value else ''}{option}")
        return " ".join(words)


def _name(given: Given | None) -> tuple[str, bool] | None:
    if given is None:
        return None
    if not 0 < len(given.words[0]) < 16:
        raise InputError(f"{given.words[0]!r} is not a device name", expected="1 to 15 characters")
    return given.words[0], given.negated
