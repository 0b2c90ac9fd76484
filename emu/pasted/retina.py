"""What a capture of Retina holds of its node: texts of several commands in one file each, and copies of /proc/net and /proc/sys/net.

The names, and the heads within the files, are those of `CollectMetadata` in pkg/capture/provider/network_capture_unix.go of
github.com/microsoft/retina. Must not know what the texts state.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import NamedTuple

from emu.pasted.lines import typed

SECTIONED = ("ip-resources.txt", "iptables-rules.txt")
SYSCTLS = "proc-sys-net"
PROC_NET = "proc-net"
TREES = (SYSCTLS, PROC_NET)
CONNECTIONS = (PROC_NET, "nf_conntrack")

# a command that failed leaves this, without an end of line before the next head
_FAILED = re.compile(r'^Failed to run "([^"]*)", error: [^)]*\)')
_NOUNS = {"addr": "ip-addr", "neigh": "ip-neigh", "rule": "ip-rule", "route": "ip-route", "link": "ip-link"}


class Section(NamedTuple):
    """The output of one command, as a text of the node's dump called `name`. Its lines have the numbers that they have in the file."""

    name: str
    text: str


def sections(text: str) -> Iterator[Section]:
    """The outputs in a file of `SECTIONED` that are texts of a dump. What a failed command left is left out."""
    lines = text.splitlines()
    start = lines.index("Execute:") + 1 if "Execute:" in lines else 0  # above it, the commands are listed
    command, first, failed = "", start, False
    for number in range(start, len(lines)):
        line = lines[number]
        if _FAILED.match(line):
            failed = True
            line = _FAILED.sub("", line)
        head = typed(line)
        if head:
            if not failed:
                yield from _section(command, lines[first:number], first)
            command, first, failed = head, number + 1, False
    if not failed:
        yield from _section(command, lines[first:], first)


def _section(command: str, lines: list[str], first: int) -> Iterator[Section]:
    name = _name(command)
    if name:
        yield Section(name, "\n" * first + "\n".join(lines) + "\n")


def _name(command: str) -> str:
    """The name that a dump has for a command's output, "" where it has none."""
    words = command.split()
    if not words or "-6" in words:
        return ""
    if re.fullmatch(r"iptables(-nft|-legacy)?-save", words[0]):
        return "iptables-save"
    noun = next((word for word in words[1:] if not word.startswith("-")), "")
    return next((name for word, name in _NOUNS.items() if words[0] == "ip" and noun.startswith(word)), "")


def tree_of(file: str) -> str:
    """The one of `TREES` that a file lies in, "" for none."""
    parts = PurePosixPath(file).parts[:-1]
    return next((tree for tree in TREES if tree in parts), "")


def variable(file: str) -> str:
    """The name that `sysctl -a` has for a file below `SYSCTLS`: with slashes where an interface's name has a dot."""
    parts = PurePosixPath(file).parts
    path = ("net", *parts[parts.index(SYSCTLS) + 1 :])
    return ("/" if any("." in each for each in path) else ".").join(path)
