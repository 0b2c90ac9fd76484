"""`-m string`: a text in the packet's bytes, counted from its IP header (xt_string.c, skb_find_text).

`--from` and `--to` bound the place of the whole text. Both algorithms find the same. Must not know protocols.
"""

from __future__ import annotations

import string
from dataclasses import dataclass

from emu.errors import InputError
from emu.kernel.netfilter.hooks import HookState
from emu.kernel.netfilter.matches import Match, Options, Where, matches, number
from emu.wire.frame import Frame
from emu.wire.transport import packet_bytes

MAX_LENGTH = 128
_LAST = 0xFFFF
_ALGORITHMS = ("bm", "kmp")
_PRINTABLE = frozenset(map(ord, string.ascii_letters + string.digits + string.punctuation + " "))


@matches.add("string")
@dataclass(frozen=True, slots=True)
class String(Match):
    """`first` and `end` in bytes from the IP header; `icase`: capital and small letters (ASCII) are one."""

    options = {"--string": 1, "--hex-string": 1, "--algo": 1, "--from": 1, "--to": 1, "--icase": 0}
    not_negated = frozenset(("--algo", "--from", "--to", "--icase"))
    text: bytes
    algorithm: str
    negated: bool
    first: int = 0
    end: int = _LAST
    icase: bool = False

    @classmethod
    def build(cls, given: Options, where: Where) -> String:
        asked = [given[name] for name in ("--string", "--hex-string") if name in given]
        if len(asked) != 1:
            raise InputError("-m string needs one text", expected="--string or --hex-string")
        text = asked[0].words[0]
        data = _hexadecimal(text) if asked[0].name == "--hex-string" else text.encode()
        if not 0 < len(data) <= MAX_LENGTH:
            raise InputError(f"{text!r} is not a text to look for", expected=f"1 to {MAX_LENGTH} bytes")
        algorithm = given["--algo"].words[0] if "--algo" in given else ""
        if algorithm not in _ALGORITHMS:
            raise InputError(f"unknown algorithm {algorithm!r}", expected="--algo bm or --algo kmp")
        first = number(given["--from"].words[0], "--from", 0, _LAST) if "--from" in given else 0
        end = number(given["--to"].words[0], "--to", 0, _LAST) if "--to" in given else _LAST
        if first > end:
            raise InputError("--from lies after --to", expected="the lower place first")
        return cls(data, algorithm, asked[0].negated, first, end, "--icase" in given)

    def matches(self, frame: Frame, state: HookState) -> bool:
        data, text = packet_bytes(frame), self.text
        if self.icase:
            data, text = data.lower(), text.lower()
        return (data.find(text, self.first, self.end) >= 0) is not self.negated

    def spec(self) -> str:
        if _PRINTABLE.issuperset(self.text):
            text = "".join("\\" + c if c in '"\\' else c for c in self.text.decode())
            words = [f'--string "{text}"']
        else:
            words = [f'--hex-string "|{self.text.hex()}|"']
        words.append(f"--algo {self.algorithm}")
        words += [f"--from {self.first}"] if self.first else []
        words += [f"--to {self.end}"] if self.end != _LAST else []
        return ("! " if self.negated else "") + " ".join([*words, "--icase"] if self.icase else words)


def _hexadecimal(text: str) -> bytes:
    """`plain|0d 0a|plain`: between bars stand hexadecimal octets; a backslash takes the next character as it is. Raises
    InputError."""
    data = bytearray()
    characters = iter(text)
    for char in characters:
        if char == "\\":
            data += next(characters, "").encode()
        elif char == "|":
            digits = ""
            for digit in characters:
                if digit == "|":
                    break
                digits += digit
            else:
                raise InputError(f"{text!r} has a bar without its end", expected="|HEX|")
            try:
                data += bytes.fromhex(digits)
            except ValueError:
                raise InputError(f"{digits!r} are not hexadecimal octets", expected="two digits each") from None
        else:
            data += char.encode()
    return bytes(data)
