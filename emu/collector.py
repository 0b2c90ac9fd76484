"""Python's collector of cycles, kept from what is no garbage: a large state is made, or stays. Must not know what is made."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import count


@contextmanager
def uncollected() -> Iterator[None]:
    """While much is made and nothing is garbage, Python's collector of cycles would look at all of it for nothing."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@cache
def set_modules_aside() -> None:
    """Keep Python's collector of cycles from what the modules hold. Once: a state that ends later is garbage."""
    gc.freeze()


_earlier = count()  # how many large states there were


def set_large_aside() -> None:
    """Keep it from a large state, too. An earlier one may be garbage by now; the first one is none, and hardly anything that
    it was made with."""
    if next(_earlier):
        gc.unfreeze()
        gc.collect()
    gc.freeze()
