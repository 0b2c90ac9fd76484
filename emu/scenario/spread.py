"""Named distributions: the times, counts and sizes of traffic, drawn one by one. Must not know what is drawn.

Draws are made by inversion from one uniform number each, so that one draw never shifts another's.
"""

from __future__ import annotations

from math import exp, log
from typing import Annotated, Protocol

from msgspec import Meta, field

from emu.errors import InputError
from emu.scenario.kinds import Part
from emu.scenario.quantity import duration_ns

Amount = Annotated[
    str | float, Meta(description="a duration (20ms, or seconds) for times, a number for counts and sizes")
]
Positive = Annotated[float, Meta(gt=0, le=100)]


class Chance(Protocol):
    """A random source."""

    def random(self) -> float: ...


class Uniform(Part, frozen=True):
    from_: Amount = field(name="from")
    to: Amount


class Exponential(Part, frozen=True):
    mean: Amount


class Lognormal(Part, frozen=True):
    """Half of the values are below `median`; `sigma` is the standard deviation of the logarithm."""

    median: Amount
    sigma: Positive


class Pareto(Part, frozen=True):
    """No value is below `least`; the smaller `alpha`, the more values are far above it."""

    least: Amount
    alpha: Positive


class Spread(Part, frozen=True):
    """One distribution by its name. No value is above `most`."""

    constant: Amount | None = None
    uniform: Uniform | None = None
    exponential: Exponential | None = None
    lognormal: Lognormal | None = None
    pareto: Pareto | None = None
    most: Amount | None = None

    def check(self, *, timed: bool) -> None:
        """Raises InputError: not exactly one distribution, an amount that is none."""
        given = [name for name in _NAMES if getattr(self, name) is not None]
        if len(given) != 1:
            what = f"a spread with {' and '.join(given)}" if given else "a spread without a distribution"
            raise InputError(what, expected="exactly one of " + ", ".join(_NAMES))
        self._draw(0.5, timed)
        if self.uniform is not None and _amount(self.uniform.to, timed) < _amount(self.uniform.from_, timed):
            raise InputError("uniform ends before it begins", expected="from: LESS, to: MORE")

    def draw(self, chance: Chance, *, timed: bool) -> float:
        """One value: ns if it is `timed`, else a number."""
        return self._draw(chance.random(), timed)

    def _draw(self, share: float, timed: bool) -> float:
        """The value below which `share` of all values are."""
        share = min(max(share, 1e-12), 1 - 1e-12)
        if self.uniform is not None:
            least, most = _amount(self.uniform.from_, timed), _amount(self.uniform.to, timed)
            value = least + (most - least) * share
        elif self.exponential is not None:
            value = -_amount(self.exponential.mean, timed) * log(1 - share)
        elif self.lognormal is not None:
            from statistics import NormalDist

            value = _amount(self.lognormal.median, timed) * exp(self.lognormal.sigma * NormalDist().inv_cdf(share))
        elif self.pareto is not None:
            value = _amount(self.pareto.least, timed) / (1 - share) ** (1 / self.pareto.alpha)
        else:
            value = _amount(self.constant or 0, timed)
        return value if self.most is None else min(value, _amount(self.most, timed))


_NAMES = ("constant", "uniform", "exponential", "lognormal", "pareto")


def _amount(value: str | float, timed: bool) -> float:
    if timed:
        return duration_ns(value)
    if isinstance(value, str) or value < 0:
        raise InputError(f"{value!r} is not a number", expected="a number from 0")
    return value
