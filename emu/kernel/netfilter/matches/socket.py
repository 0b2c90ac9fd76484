"""`-m socket`: whether a socket of this namespace would take the packet (xt_socket.c, nf_socket_ipv4.c).

A socket that listens on every address does not count, but with `--nowildcard`. No socket here is transparent or has a mark.
What is read from a node's dumps has no sockets: there the packet is undecided. Must not look at what a socket holds.
"""

from __future__ import annotations

from dataclasses import dataclass

from emu.errors import InputError, Undecided
from emu.kernel.netfilter.conn import SRC_NAT_DONE
from emu.kernel.netfilter.hooks import HookState
from emu.kernel.netfilter.matches import Match, Options, Where, from_dumps, matches
from emu.wire.frame import ICMP, IP_OFFSET, TCP, UDP, Frame
from emu.wire.icmp import ERRORS, type_code

_ESTABLISHED_REPLY = 3


@matches.add("socket")
@dataclass(frozen=True, slots=True)
class Socket(Match):
    """`pure` is False: `--restore-skmark` gives the packet the socket's mark, which is 0."""

    options = {"--transparent": 0, "--nowildcard": 0, "--restore-skmark": 0}
    not_negated = frozenset(options)
    pure = False
    undecided = "the sockets of the node are not known"
    transparent: bool
    nowildcard: bool
    restore_skmark: bool

    @classmethod
    def build(cls, given: Options, where: Where) -> Socket:
        if where.chain in ("FORWARD", "OUTPUT", "POSTROUTING"):
            raise InputError(f"-m socket cannot be used in {where.chain}", expected="PREROUTING or INPUT")
        return cls("--transparent" in given, "--nowildcard" in given, "--restore-skmark" in given)

    def late(self) -> bool:
        return not self.restore_skmark  # the matches after it see the mark that it gives

    def matches(self, frame: Frame, state: HookState) -> bool:
        if from_dumps(state):
            raise Undecided(f"-m socket: {self.undecided}")
        if frame.proto == ICMP and (type_code(frame) or (0,))[0] in ERRORS:
            raise Undecided("-m socket: the socket that an ICMP error is for is not looked up")
        if frame.proto not in (TCP, UDP) or frame.frag & IP_OFFSET:
            return False
        dst, dport = frame.dst, frame.dport
        conn = frame.ct
        if conn is not None and frame.ctinfo == _ESTABLISHED_REPLY and conn.status & SRC_NAT_DONE:
            dst, dport = conn.orig[1], conn.orig[3]  # the address that the socket itself has
        found = state.family.find_socket(frame.proto, dst, dport, frame.src, frame.sport)
        if found is None or self.transparent or (not found.addr and not self.nowildcard):
            return False
        if self.restore_skmark:
            frame.mark = 0
        return True

    def spec(self) -> str:
        words = [("--transparent", self.transparent), ("--nowildcard", self.nowildcard)]
        return " ".join(word for word, there in (*words, ("--restore-skmark", self.restore_skmark)) if there)
