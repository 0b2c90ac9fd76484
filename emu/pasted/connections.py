"""The connections of `conntrack -L`, with or without `-o extended`, and of /proc/net/nf_conntrack.

IPv6's entries are left out; expectations and statistics are not read. Raises InputError with file and line. Must not know how
a connection is tracked.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

from emu.errors import InputError
from emu.pasted.lines import blocks
from emu.wire.addr import ip4
from emu.wire.proto import PROTOCOLS

Ends = tuple[int, int, int, int, int]  # protocol, source, destination, source port, destination port
ENTRY = re.compile(r"^(?:ipv4\s+2\s+)?(\w[\w-]*)\s+(\d+)(?:\s+(\d+))?(?:\s+([A-Z_0-9]+))?\s+(src=.*)$")
SUMMARY = re.compile(r"^conntrack v\d|flow entries have been shown")
ICMP = PROTOCOLS["icmp"]


class Connection(NamedTuple):
    """One entry. `seconds` until it ends (0: not shown); `state` is TCP's or SCTP's, "" for others. Of ICMP the ports are
    the id and `type << 8 | code`, as `Frame` has them."""

    orig: Ends
    reply: Ends
    seconds: int = 0
    state: str = ""
    replied: bool = True
    assured: bool = False
    mark: int = 0
    zone: int = 0


def connections(text: str, file: str | None = None) -> list[Connection]:
    """The entries of a text. Raises InputError."""
    if text.lstrip().startswith("["):
        return _own(text, file)
    found = []
    for block in blocks(text):
        if block.command and block.command.split()[0] not in ("conntrack", "cat"):
            continue
        for number, raw in block.lines:
            line = raw.strip()
            if SUMMARY.search(line) or line.startswith("ipv6"):
                continue
            entry = ENTRY.match(line)
            if entry is None:
                raise InputError(
                    f"{line[:80]!r} is no connection", file=file, line=number, expected="what `conntrack -L` prints"
                )  # fmt: skip
            if "src=" in line and ":" in entry[5].split()[0]:
                continue
            try:
                found.append(_connection(entry))
            except InputError as error:
                raise error.at(file=file, line=number) from None
    return found


def _own(text: str, file: str | None) -> list[Connection]:
    """What `emu show conntrack -o json` prints."""
    try:
        return [_of_object(each) for each in json.loads(text)]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InputError(
            "not what `emu show conntrack -o json` prints", file=file, expected="or what `conntrack -L` prints"
        ) from None


def _of_object(each: dict[str, Any]) -> Connection:
    proto = int(each["protocol"])
    one, other = (
        (proto, ip4(way["src"]), ip4(way["dst"]), int(way["sport"]), int(way["dport"]))
        for way in (each["original"], each["reply"])
    )
    return Connection(
        one,
        other,
        int(each.get("seconds", 0)),
        each["state"] or "",
        bool(each["seenReply"]),
        bool(each["assured"]),
        int(each["mark"]),
    )


def _connection(entry: re.Match[str]) -> Connection:
    name, number, seconds, state, rest = entry.groups()
    proto = int(number)
    halves: list[dict[str, str]] = [{}]
    for key, value in re.findall(r"([\w-]+)=(\S+)", rest):
        if key == "src" and "src" in halves[-1]:
            halves.append({})
        halves[-1][key] = value
    if len(halves) != 2:
        raise InputError(f"{name} has no second direction", expected="src=, dst= and the ports of both directions")
    extra = halves[1]
    return Connection(
        _ends(proto, halves[0]),
        _ends(proto, halves[1]),
        int(seconds or 0),
        state or "",
        "[UNREPLIED]" not in rest,
        "[ASSURED]" in rest,
        _value("mark", extra.get("mark", "0")),
        _value("zone", extra.get("zone", halves[0].get("zone", "0"))),
    )


def _value(key: str, text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise InputError(f"{key}={text} is no number", expected="a number") from None


def _ends(proto: int, words: dict[str, str]) -> Ends:
    def number(key: str) -> int:
        value = words.get(key, "0")
        if not value.isdigit() or int(value) > 0xFFFF:
            raise InputError(f"{key}={value} is no port", expected="0 to 65535")
        return int(value)

    if "src" not in words or "dst" not in words:
        raise InputError("an address is missing", expected="src= and dst=")
    addrs = ip4(words["src"]), ip4(words["dst"])
    if proto == ICMP:
        return proto, *addrs, number("id"), number("type") << 8 | number("code")
    return proto, *addrs, number("sport"), number("dport")
