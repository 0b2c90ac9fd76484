"""How steps name objects of the cluster: `KIND/NAME` or `KIND/NAMESPACE/NAME`. Must not know which objects exist."""

from __future__ import annotations

from emu.errors import InputError
from emu.kube.api.kinds import kind_named
from emu.kube.api.meta import Key


def object_key(text: str) -> Key:
    """`pod/web-1` or `deployment/NS/web` as a key. Raises InputError."""
    kind, slash, rest = text.partition("/")
    if not slash or not rest:
        raise InputError(f'"{text}" names no object', expected="KIND/NAME or KIND/NAMESPACE/NAME")
    namespace, _, name = rest.rpartition("/")
    word = kind_named(kind)
    return Key(word, "" if word in ("node", "namespace") else namespace or "default", name)
