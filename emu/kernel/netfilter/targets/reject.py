"""REJECT: drop the packet and let the hook's caller answer (ipt_REJECT.c).

It names the ICMP error or reset; the walk makes the verdict of it (lookup.py). Must not send anything.
"""

from __future__ import annotations

from emu.errors import InputError
from emu.kernel.netfilter.targets import Options, Target, Where, targets
from emu.wire.frame import TCP

WITH = {
    "icmp-net-unreachable": "net-unreach", "icmp-host-unreachable": "host-unreach",
    "icmp-proto-unreachable": "proto-unreach", "icmp-port-unreachable": "port-unreach",
    "icmp-net-prohibited": "net-prohib", "icmp-host-prohibited": "host-prohib", "tcp-reset": "tcp-rst",
    "icmp-admin-prohibited": "admin-prohib",
}  # fmt: skip
_WORDS = {name: name for name in WITH} | {short: name for name, short in WITH.items()}


@targets.add("REJECT")
class Reject(Target):
    """`with_` is the long word, such as icmp-port-unreachable."""

    __slots__ = ("with_",)
    options = {"--reject-with": 1}
    tables = ("filter",)
    chains = ("INPUT", "FORWARD", "OUTPUT")

    def __init__(self, with_: str) -> None:
        self.with_ = with_

    @classmethod
    def build(cls, given: Options, where: Where) -> Reject:
        word = given["--reject-with"].words[0] if "--reject-with" in given else "icmp-port-unreachable"
        named = next((name for name in _WORDS if name.startswith(word.lower())), "")
        if not word or not named:
            raise InputError(f"unknown answer {word!r} of REJECT", expected=", ".join(WITH))
        if _WORDS[named] == "tcp-reset" and (where.proto != TCP or where.proto_negated):
            raise InputError("REJECT --reject-with tcp-reset needs the protocol", expected="-p tcp")
        return cls(_WORDS[named])

    def spec(self) -> str:
        return f"-j REJECT --reject-with {self.with_}"
