"""The lines of a pasted text without what a terminal, a chat or a forum puts around them, and the commands before them.

Code fences, quote marks, colours, prompts, HTML entities and typographic quotes go; each line keeps its number. Must not
know what the lines mean.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass, field
from typing import NamedTuple

COMMANDS = (
    *("iptables", "iptables-save", "iptables-nft", "iptables-nft-save", "iptables-legacy", "iptables-legacy-save"),
    *("ip", "ipset", "nft", "conntrack", "ipvsadm", "ip6tables", "ip6tables-save", "route", "netstat", "arp", "cat"),
)
# What runs a command elsewhere: the command is what follows.
_WRAPPERS = re.compile(
    r"(?:sudo(?:\s+-\S+)*|nsenter\s+.*?(?:--\s+|-n\s+)|(?:kubectl|docker|crictl|podman|nerdctl)\s+(?:\S+\s+)*?exec\s+.*?(?:--\s+|(?=\bip))"
    r"|(?:minikube|kubectl)\s+\S+\s+(?:\S+\s+)*?--\s+|ip\s+netns\s+exec\s+\S+|time|chroot\s+\S+)\s*"
)
_PROMPT = re.compile(
    r"^(?:\([^)]*\)\s*)?(?:\[[^\]]*\]|[\w.~/@:-]*(?:@[\w.~/: -]*)?)\s*[#$%>❯➜]+\s+(?=\S)|^\++\s+(?=\S)"
)
# A prompt that names a user and a host: what follows is a command, known or not; nothing may follow.
_SHELL = re.compile(r"^(?:\([^)]*\)\s*)?(?:\[[\w.-]+@[^\]]*\]|[\w.-]+@[\w.-]+:[^#$]*)\s*[#$]\s*(.*)$")
_COLOUR = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07]*\x07")
_QUOTE = re.compile(r"^(?:\s*>\s?)+")
_FENCE = re.compile(r"^\s*(?:```|~~~)[\w-]*\s*$|^\s*</?(?:pre|code|details|summary)[^>]*>\s*$", re.IGNORECASE)
_TYPOGRAPHIC = str.maketrans(
    {"“": '"', "”": '"', "„": '"', "‘": "'", "’": "'", "\xa0": " ", "\u2009": " ", "\ufeff": " ", "\u200b": None}
)


class Line(NamedTuple):
    """A line and its number in the text that was pasted, from 1."""

    number: int
    text: str


@dataclass
class Block:
    """A command's output: `command` is the line that was typed, without prompt and wrappers, "" if none is shown."""

    command: str = ""
    number: int = 0
    lines: list[Line] = field(default_factory=list)


def blocks(text: str) -> list[Block]:
    """The commands of a pasted text with their outputs, in its order; the first may have no command."""
    found = [Block()]
    for line in lines(text):
        command = typed(line.text)
        other = _SHELL.match(line.text.strip())
        if command:
            found.append(Block(command, line.number))
        elif other is not None:
            found.append(Block(other[1], line.number))
        elif line.text.strip():
            found[-1].lines.append(line)
    return [block for block in found if block.command or block.lines]


def lines(text: str) -> list[Line]:
    """The lines without colours, quote marks and fences; a line that ends in a backslash goes on in the next."""
    entities = "&quot;" in text or "&gt;" in text or "&#" in text
    quoted = _is_quoted(text)
    found: list[Line] = []
    open_line: Line | None = None
    for number, raw in enumerate(text.splitlines(), 1):
        line = _COLOUR.sub("", raw).translate(_TYPOGRAPHIC)
        line = html.unescape(line) if entities else line
        line = (_QUOTE.sub("", line) if quoted else line).rstrip()
        if _FENCE.match(line):
            continue
        if open_line is not None:
            line = f"{open_line.text} {line.strip()}"
            number = open_line.number
        if line.endswith("\\"):
            open_line = Line(number, line[:-1].rstrip())
            continue
        open_line = None
        found.append(Line(number, line))
    return [*found, open_line] if open_line is not None else found


def plain(text: str) -> bool:
    """Is every line as a command wrote it: no colours, entities, typographic quotes or carriage returns?"""
    return (
        "\r" not in text
        and not _COLOUR.search(text)
        and text.translate(_TYPOGRAPHIC) == text
        and not re.search(r"&(?:quot|gt|lt|amp|#\d+);", text)
    )


def _is_quoted(text: str) -> bool:
    """Do all lines with text begin with a quote mark? A prompt of `>` does not make a quotation."""
    shown = [line for line in text.splitlines() if line.strip()]
    return bool(shown) and all(line.lstrip().startswith(">") for line in shown)


def typed(line: str) -> str:
    """The command that a line shows, without its prompt and what runs it elsewhere; "" for output."""
    text = line.strip()
    prompt = _PROMPT.match(text)
    for candidate in ([text[prompt.end() :]] if prompt else []) + [text]:
        rest = candidate
        while wrapper := _WRAPPERS.match(rest):
            rest = rest[wrapper.end() :]
        word = rest.split(maxsplit=1)[0].rpartition("/")[2] if rest else ""
        if word in COMMANDS and not (
            candidate is text and word in ("ip", "route", "cat", "arp") and rest == text and ":" in rest
        ):
            return word + rest[len(rest.split(maxsplit=1)[0]) :]
    return ""


def options(command: str) -> dict[str, str]:
    """The options of a command before its first pipe: `-t nat` as {"-t": "nat"}; a lone option has ""."""
    words = command.partition("|")[0].split()
    found: dict[str, str] = {}
    for place, word in enumerate(words):
        if word.startswith("-"):
            name, equals, value = word.partition("=")
            after = words[place + 1] if place + 1 < len(words) else ""
            found[name] = value if equals else ("" if after.startswith("-") else after)
    return found


def filtered(command: str) -> str:
    """The filter behind a pipe (`grep KUBE`, `head -20`) that leaves lines out; ""."""
    for part in command.split("|")[1:]:
        words = part.split()
        if words and words[0].rpartition("/")[2] in (
            "grep",
            "egrep",
            "rg",
            "head",
            "tail",
            "awk",
            "sed",
            "less",
            "more",
        ):
            return part.strip() if words[0] not in ("less", "more") else ""
    return ""
