"""How scenario files write where a flow comes from and goes to, read before there is a cluster to ask.

`NS/POD`, `pod/NAME`, `node/NAME`, `svc/NAME[.NS]:PORT`, `external[/NAME]`, `localhost`, or an address; a port where
the protocol has one. `http://NAME[:PORT]` and `name:NAME[:PORT]` the client looks up itself. `kube/flow/ends.py` finds what they name, and what a glob takes. Must not know steps or flows.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from emu.errors import InputError
from emu.kube.flow.ends import by_name
from emu.wire.addr import decimal, ip4, ip4_text

_GLOB = re.compile(r"[*?\[]")
_NAME = r"[a-z0-9*?\[\]!]([a-z0-9.*?\[\]!-]*[a-z0-9*?\[\]!])?"
_NAMES = re.compile(_NAME)
_PORT = re.compile(r"[a-z0-9*?\[\]!-]+")
_FORMS = (
    "NS/POD, pod/NAME, node/NAME, svc/NAME[.NS]:PORT, external[/NAME], localhost, an IPv4 address, "
    "http://NAME[:PORT] or name:NAME[:PORT]"
)
_KINDS = {
    "pod": "pod",
    "po": "pod",
    "node": "node",
    "no": "node",
    "svc": "svc",
    "service": "svc",
    "external": "external",
}


class Endpoint(NamedTuple):
    """`kind` is pod, node, svc, external, address or name. `namespace` and `port` are "" where there is none."""

    kind: str
    name: str
    namespace: str = ""
    port: str = ""

    def __str__(self) -> str:
        """As `Cluster` takes it."""
        if self.kind == "pod":
            text = f"{self.namespace}/{self.name}"
        elif self.kind == "svc":
            text = f"svc/{self.name}.{self.namespace}"
        elif self.kind == "address":
            text = self.name
        elif self.kind == "name":
            text = f"name:{self.name}"
        else:
            text = f"{self.kind}/{self.name}" if self.name else self.kind
        return f"{text}:{self.port}" if self.port else text

    @property
    def glob(self) -> bool:
        return bool(_GLOB.search(f"{self.namespace}{self.name}{self.port}"))


def endpoint(text: str, *, port: bool | None = None) -> Endpoint:
    """Read one endpoint. `port`: it must (True) or must not (False) have one. Raises InputError."""
    named = by_name(text)
    if named is not None:
        if port is True and not named.port:
            raise InputError(f'"{text}" has no port', expected=f"{text}:PORT")
        return Endpoint("name", named.host or ip4_text(named.addr), "", str(named.port or ""))
    place, colon, number = text.partition(":")
    if colon and not _PORT.fullmatch(number):
        raise InputError(f'"{text}" has no readable port', expected="a number or a port's name after the colon")
    value = decimal(number)
    if value is not None and not 1 <= value <= 65535:
        raise InputError(f"{number} is not a port", expected="1 to 65535")
    if port is True and not colon:
        raise InputError(f'"{text}" has no port', expected=f"{text}:PORT")
    if port is False and colon:
        raise InputError(f'"{text}" has a port', expected=place)
    found = _place(place, text)._replace(port=number)
    if number and value is None and not _GLOB.search(number) and found.kind not in ("svc", "pod"):
        raise InputError(f'"{text}" has no readable port', expected="a number: only Services and pods name ports")
    _check_glob(found, text)
    return found


def _place(place: str, text: str) -> Endpoint:
    if place == "localhost":
        return Endpoint("address", "127.0.0.1")
    if re.fullmatch(r"[\d.]+", place) and "." in place:
        ip4(place)
        return Endpoint("address", place)
    if place == "external":
        return Endpoint("external", "")
    first, slash, rest = place.partition("/")
    if not slash or not rest:
        raise InputError(f'"{text}" is no endpoint', expected=_FORMS)
    kind = _KINDS.get(first)
    if kind == "pod" or kind is None:
        namespace, name = ("default", rest) if kind else (first, rest)
        if "/" in name and kind:
            namespace, _, name = name.partition("/")
        found = Endpoint("pod", name, namespace)
    elif kind == "svc":
        name, _, namespace = rest.partition(".")
        found = Endpoint("svc", name, namespace or "default")
    else:
        found = Endpoint(kind, rest)
    for word in (found.name, *((found.namespace,) if found.namespace else ())):
        if not _NAMES.fullmatch(word):
            raise InputError(f'"{text}" is no endpoint', expected=_FORMS)
    return found


def _check_glob(found: Endpoint, text: str) -> None:
    check_glob(text)
    if found.kind not in ("pod", "node", "svc") and found.glob:
        raise InputError(f'"{text}": a glob takes pods, nodes or Services', expected="no * or ? here")


def check_glob(text: str) -> None:
    """Refuse a glob that can match nothing: a bracket that does not end. Raises InputError."""
    for start in (i for i, char in enumerate(text) if char == "["):
        if text.find("]", start + 2) < 0:
            raise InputError(f'the glob "{text}" has a [ without its ]', expected="[...] around the characters")
