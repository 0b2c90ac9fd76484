"""What the app `script` of a pod sends: the talk that its annotation `emu/script` has. Must not know kubelets.

emu/app: script@25
emu/script: |
  - server: "220 mail ready\\r\\n"
  - client: "HELO x\\r\\n"
  - {server: "250 hello\\r\\n", after: 20ms}
"""

from __future__ import annotations

import re

import msgspec

from emu.apps.script import CLIENT, SERVER, Line
from emu.clock import MS, SECOND, US
from emu.errors import InputError
from emu.kube.api.core import Pod

SCRIPT_ANNOTATION = "emu/script"
FORM = 'a list of {client: TEXT} and {server: TEXT, after: 20ms}; "hex" in place of a text'
_AFTER = re.compile(r"(\d{1,7}(?:\.\d{1,3})?)(us|ms|s)")
_UNITS = {"us": US, "ms": MS, "s": SECOND}


class Bytes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bytes in hexadecimal."""

    hex: str


class Written(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A line: one side's bytes, after a pause."""

    client: str | Bytes | None = None
    server: str | Bytes | None = None
    after: str = ""


def talk(pod: Pod) -> tuple[Line, ...]:
    """The pod's talk, () without one. Raises InputError."""
    text = pod.metadata.annotations.get(SCRIPT_ANNOTATION)
    if text is None:
        return ()
    where = f"pod {pod.namespace}/{pod.name} annotation {SCRIPT_ANNOTATION}"
    try:
        return tuple(map(line, msgspec.yaml.decode(text, type=list[Written])))
    except (msgspec.MsgspecError, InputError) as wrong:
        what = wrong.what if isinstance(wrong, InputError) else f"cannot be read: {wrong}"
        raise InputError(what, path=where, expected=FORM) from None


def line(written: Written) -> Line:
    """A line as the app takes it. Raises InputError."""
    given = [(who, value) for who, value in ((CLIENT, written.client), (SERVER, written.server)) if value is not None]
    if len(given) != 1:
        raise InputError("a line belongs to one side", expected=FORM)
    found = _AFTER.fullmatch(written.after) if written.after else None
    if written.after and found is None:
        raise InputError(f"cannot read after: {written.after!r}", expected="a duration, such as 20ms")
    after_ns = int(float(found[1]) * _UNITS[found[2]]) if found is not None else 0
    who, value = given[0]
    if isinstance(value, str):
        return Line(who, value.encode(), after_ns)
    try:
        return Line(who, bytes.fromhex(value.hex), after_ns)
    except ValueError:
        raise InputError(f"{value.hex!r} is no text of hexadecimal digits", expected="such as 16 03 01") from None
