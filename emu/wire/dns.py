"""DNS messages as values (RFC 1035, 2782): questions and answers; names are absolute, data is written as in zone files.

Bytes are made and read by Scapy, see `craft.dns_query`, `dns_answer` and `dns_parse`. Must not know zones or sockets.
"""

from __future__ import annotations

from typing import NamedTuple

PORT = 53
UDP_SIZE = 512  # the longest message over UDP without EDNS (RFC 1035 4.2.1)
TYPES = {"A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28, "SRV": 33}
TYPE_NAMES = {number: name for name, number in TYPES.items()}
RCODES = ("NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED")


class Question(NamedTuple):
    """`name` ends with a dot; `kind` is A, SRV ... or TYPE65 for a type that has no name here (RFC 3597)."""

    name: str
    kind: str


class Record(NamedTuple):
    """`data` as in a zone file: `10.96.0.10`, `0 50 80 web.default.svc.cluster.local.`"""

    name: str
    kind: str
    ttl: int
    data: str


class Answer(NamedTuple):
    """A server's answer. `chase` is the target of the last CNAME in `answers`, which other servers must resolve; "" for none."""

    rcode: str = "NOERROR"
    answers: tuple[Record, ...] = ()
    authorities: tuple[Record, ...] = ()
    extras: tuple[Record, ...] = ()
    authoritative: bool = True
    chase: str = ""


class Message(NamedTuple):
    """A query (`response` False) or a response. `question` is None in a message without one."""

    ident: int
    question: Question | None
    response: bool = False
    rcode: str = "NOERROR"
    answers: tuple[Record, ...] = ()
    authorities: tuple[Record, ...] = ()
    extras: tuple[Record, ...] = ()
    authoritative: bool = False
    truncated: bool = False
    recursion_desired: bool = True
    recursion_available: bool = False


def type_number(kind: str) -> int:
    """The number of a type's name (`A`, `TYPE65`)."""
    return TYPES[kind] if kind in TYPES else int(kind.removeprefix("TYPE"))


def type_name(number: int) -> str:
    return TYPE_NAMES.get(number, f"TYPE{number}")


def absolute(name: str) -> str:
    """The name with a dot at its end."""
    return name if name.endswith(".") else f"{name}."
