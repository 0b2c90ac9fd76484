"""Addresses as fields of objects state them (k8s.io/utils/net: ParseIPSloppy).

Objects of old clusters have IPv4 addresses with leading zeros. The API server keeps them; kube-proxy reads each octet as
decimal and writes the address without them. Must not know kinds.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from msgspec import Struct
from msgspec.structs import force_setattr

_ZEROS = re.compile(r"(?:^|\.)0[0-9]", re.ASCII)
_OCTETS = re.compile(r"[0-9]+(?:\.[0-9]+){3}", re.ASCII)


def is_address(text: str) -> bool:
    """Whether `text` is an IPv4 or IPv6 address."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def network_of(text: str) -> IPv4Network | IPv6Network | None:
    """The network that a CIDR names, host bits cleared; None where it is none (net.ParseCIDR, which needs a length)."""
    if "/" not in text or not text.rpartition("/")[2].isdecimal():
        return None
    try:
        return ip_network(plain(text), strict=False)
    except ValueError:
        return None


def plain(text: str) -> str:
    """An IPv4 address (or CIDR) without leading zeros; any other text as it is."""
    if not _ZEROS.search(text):
        return text
    host, slash, length = text.strip().partition("/")
    if not _OCTETS.fullmatch(host):
        return text
    return ".".join(octet.lstrip("0") or "0" for octet in host.split(".")) + slash + length


def read_plain(struct: Struct, *names: str) -> None:
    """Read these fields of a struct that is being made as kube-proxy does: texts, or tuples of texts."""
    for name in names:
        value = getattr(struct, name)
        if value:
            made = plain(value) if isinstance(value, str) else tuple(map(plain, value))
            if made != value:
                force_setattr(struct, name, made)
