"""What people give in Python, held against its range before the clock starts. Each raises InputError with what was expected.

Must not know what the values are for.
"""

from __future__ import annotations

import math

from emu.errors import InputError

LAST_PORT = 65535


def data(value: object, name: str = "send") -> bytes:
    """Bytes to send."""
    if isinstance(value, str):
        raise InputError(f"{name} is text", expected=f"bytes, such as {value[:40].encode()!r}")
    if not isinstance(value, (bytes, bytearray, memoryview)):
        raise InputError(f"{name} is {_kind(value)}", expected="bytes")
    return bytes(value)


def whole(value: object, name: str, least: int, most: int | None = None) -> int:
    """An integer in a range."""
    wanted = f"{least} to {most}" if most is not None else f"{least} or more"
    if not isinstance(value, int) or isinstance(value, bool):
        raise InputError(f"{name} is {_kind(value)}", expected=f"a number, {wanted}")
    if value < least or (most is not None and value > most):
        raise InputError(f"{name} is {value}", expected=wanted)
    return value


def port(value: object, name: str = "port") -> int:
    """A port; 0 leaves the choice to the kernel."""
    return whole(value, name, 0, LAST_PORT)


def seconds(value: object, name: str) -> float:
    """A time, 0 or more."""
    return _real(value, name, None)


def chance(value: object, name: str) -> float:
    """A probability."""
    return _real(value, name, 1)


def _real(value: object, name: str, most: float | None) -> float:
    wanted = f"0 to {most:g}" if most is not None else "0 or more"
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise InputError(f"{name} is {_kind(value)}", expected=f"a number, {wanted}")
    if not math.isfinite(value) or value < 0 or (most is not None and value > most):
        raise InputError(f"{name} is {value:g}", expected=wanted)
    return float(value)


def end(value: object) -> str:
    """A reference to an end of a flow."""
    if not isinstance(value, str):
        raise InputError(f"{_kind(value)} names no end of a flow", expected="text, such as default/web or svc/web:80")
    return value


def _kind(value: object) -> str:
    return "None" if value is None else f"of type {type(value).__name__}"
