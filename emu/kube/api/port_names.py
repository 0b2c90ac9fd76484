"""Names of ports (RFC 6335), and the API server's words for those that are none. Must not know who names a port."""

from __future__ import annotations

import re
from collections.abc import Iterator

PORT_NAME = "up to 15 of a-z, 0-9 and '-', with at least one letter"
_CHARACTERS = re.compile(r"[-a-z0-9]+")


def is_port_name(name: str) -> bool:
    return next(port_name_problems(name), None) is None


def port_name_problems(name: str) -> Iterator[str]:
    """IsValidPortName (k8s.io/apimachinery/pkg/util/validation)."""
    if len(name) > 15:
        yield "must be no more than 15 characters"
    if not _CHARACTERS.fullmatch(name):
        yield "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)"
    if not any("a" <= each <= "z" for each in name):
        yield "must contain at least one letter (a-z)"
    if "--" in name:
        yield "must not contain consecutive hyphens"
    if name and "-" in (name[0], name[-1]):
        yield "must not begin or end with a hyphen"
