"""The outcome of a flow: a closed set of words, each with its detail, and the rewritings by NAT.

It is read from the reports of sockets and namespaces, never guessed from rules. Must not know how flows are run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from emu.errors import SocketError
from emu.kernel.transport.inet import IcmpError
from emu.trail import Dropped
from emu.wire.addr import ip4_text
from emu.wire.icmp import ERROR_NAMES, ERROR_WORDS

WORDS = ("delivered", "refused", "rejected", "dropped", "timeout", "error", "undecided")


@dataclass(frozen=True, slots=True, repr=False)
class Outcome:
    """One of `WORDS`, with the ICMP code, drop reason or errno name; the place, and what decided."""

    word: str
    detail: str = ""
    place: str = ""
    by: str = ""

    def __repr__(self) -> str:
        return f"<{self}>"

    def __str__(self) -> str:
        text = f"{self.word} ({self.detail})" if self.detail else self.word
        return f"{text} at {self.place}" if self.place else text


DELIVERED, TIMEOUT = Outcome("delivered"), Outcome("timeout")


class Nat(NamedTuple):
    """One translation of a flow's request packets: `kind` DNAT or SNAT, addresses as (ip, port)."""

    kind: str
    before: tuple[int, int]
    after: tuple[int, int]

    @property
    def change(self) -> str:
        """`10.96.0.10:80 -> 10.244.1.2:8080`."""
        return f"{address(self.before)} -> {address(self.after)}"

    def __str__(self) -> str:
        return f"{self.kind} {self.change}"

    def __repr__(self) -> str:
        return str(self)


def address(half: tuple[int, int]) -> str:
    """`IP:PORT`, or `IP` without a port."""
    ip, port = half
    return f"{ip4_text(ip)}:{port}" if port else ip4_text(ip)


def failed(failure: SocketError) -> Outcome:
    """A call of the client failed."""
    return Outcome("error", failure.name)


def rejected(errors: Sequence[IcmpError], losses: Sequence[Dropped]) -> Outcome | None:
    """The last ICMP error that the client received, with the drop that caused it; None without an error."""
    if not errors:
        return None
    last = errors[-1]
    detail = ERROR_NAMES.get(
        (last.kind, last.code), ERROR_WORDS.get((last.kind, last.code), f"{last.kind}/{last.code}")
    )
    loss = losses[0] if losses else None
    return Outcome("rejected", detail, loss.place if loss else "", decided_by(loss))


def silence(losses: Sequence[Dropped]) -> Outcome:
    """There was no answer: dropped, or timeout without a known drop. A rule that is not modelled makes it undecided."""
    unknown = next((loss for loss in losses if loss.reason == "UNDECIDED"), None)
    if unknown is not None:
        return Outcome("undecided", "", unknown.place, decided_by(unknown))
    if losses:
        loss = losses[-1]
        return Outcome("dropped", loss.reason, loss.place, decided_by(loss))
    return TIMEOUT


def decided_by(loss: Dropped | None) -> str:
    """What dropped a packet, as text, such as the rule in iptables-save form; "" if nothing is known."""
    if loss is None or loss.by is None:
        return ""
    by: Any = loss.by
    text = getattr(by, "text", None)
    return str(text()) if callable(text) else str(by)
