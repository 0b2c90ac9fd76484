"""A flow: one client sends to one target over real sockets, and the flow's outcome.

Each kind of flow has a file of its own beside this one. Arrivals, drops and NAT of the flow's packets are reported to
the flow when they happen. Must not know scenarios or files.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from emu import page
from emu.capture import pages
from emu.capture.captured import Captured
from emu.clock import MS
from emu.errors import InputError
from emu.kube.dns.resolver import EAI_AGAIN, Client, Lookup
from emu.kube.flow.ends import Target
from emu.kube.flow.outcome import DELIVERED, TIMEOUT, Nat, Outcome, decided_by
from emu.kube.flow.testbed import TcpClient, Testbed
from emu.trail import Dropped, Encapsulated, Forbidden, Natted
from emu.wire.addr import ip4_text
from emu.wire.frame import ICMP, Frame
from emu.wire.icmp import REDIRECT

if TYPE_CHECKING:
    from emu.craft import Packet

SETTLE_NS = 2 * MS  # a client's time between two calls
Arrival = tuple[str, tuple[int, int, int, int]]


class Talk(Protocol):
    """Runs a flow that is set up, for at most `timeout_ns`, and writes the outcome into it."""

    def __call__(self, flow: Flow, /, *, timeout_ns: int) -> None: ...


@dataclass(slots=True, eq=False, repr=False)
class Flow:
    """One flow and its result. Its frames have its `number`. `arrivals` has, for each socket that its packets
    reached, the namespace and (addr, port, peer's addr, peer's port); `losses` has the drops; `translations` has the
    rewritings by NAT in the direction in which a connection was opened, in order; `tunnels` what carried its packets, both ways.
    `socket` is the client's, if the connection was left open (see `tcp.more`).
    """

    testbed: Testbed = field(repr=False)
    number: int
    kind: str
    name: str
    source: str
    target: Target
    client: Client = field(repr=False)
    outcome: Outcome = TIMEOUT
    received: bytes = b""
    rtt_ns: list[int] = field(default_factory=list)
    at: str = ""
    started_ns: int = 0
    ended_ns: int = 0
    losses: list[Dropped] = field(default_factory=list)
    arrivals: dict[Arrival, None] = field(default_factory=dict)
    translations: dict[Nat, None] = field(default_factory=dict)
    forbidden: list[Forbidden] = field(default_factory=list)  # what policies its packets died of
    tunnels: dict[str, None] = field(default_factory=dict)  # "vxlan 192.168.51.11 -> 192.168.52.12"
    socket: TcpClient | None = field(default=None, repr=False)
    before: Flow | None = field(default=None, repr=False)  # the flow whose open connection this one uses
    resolved: Lookup | None = None  # the look-up of the target's name, if it has one
    looked_up_at: tuple[Arrival, ...] = ()  # where packets of the look-up arrived
    look_up_frames: int = 0  # how many of its first frames belong to the look-up

    def __repr__(self) -> str:
        ends = f"{self.kind} {self.source} -> {self.target.name}"
        address = "" if self.target.name == str(self.target) else f" ({self.target})"
        return f"<{self.outcome}: {ends}{address}{f', {self.nat}' if self.nat else ''}, flow {self.number}>"

    def _repr_html_(self) -> str:
        rows = [("outcome", self.outcome), ("decided by", self.outcome.by), ("from", self.source)]
        rows += [("to", f"{self.target.name} ({self.target})"), ("arrived at", self.at), ("NAT", self.nat)]
        if self.testbed.capture is not None:
            rows.append(("frames", len(self.frames)))
        shown = [row for row in rows if row[1] != ""]
        table = page.table(f"{self.name}: {self.outcome}", ("", ""), shown)
        try:
            return table + pages.frame(self.html())
        except InputError:  # without frames, or without what makes pages
            return table

    def html(self, path: str | os.PathLike[str] | None = None, *, force: bool = False) -> str:
        """The page in which one steps through the flow's frames, as text; with `path` it is written there, too. Raises InputError:
        nothing was captured, jinja2 is not installed, or there is a file that emu did not write, unless `force`."""
        return pages.page("flow", self, path, force=force)

    @property
    def frames(self) -> list[Captured]:
        """All captured frames that the flow caused, in time order. Raises InputError where nothing is captured."""
        if self.testbed.capture is None:
            raise InputError("nothing was captured", expected="a cluster with capture=True")
        return self.testbed.capture.frames(flow=self.number)

    @property
    def frame_count(self) -> int:
        """How many frames the flow caused, where they are captured."""
        return 0 if self.testbed.capture is None else self.testbed.capture.log.count_of(self.number)

    @property
    def packets(self) -> list[Packet]:
        """The flow as Scapy packets, as tcpdump on the client's interface captures them."""
        return [frame.packet() for frame in self.frames if frame.place.owner == self.source]

    @property
    def nat(self) -> str:
        """`DNAT 10.96.0.10:80 -> 10.244.1.2:8080`; several are separated by semicolons."""
        return "; ".join(map(str, self.translations))

    @property
    def dnat(self) -> str:
        """The first translation as `10.96.0.10:80 -> 10.244.1.2:8080`; "" for none."""
        return self._first("DNAT")

    @property
    def snat(self) -> str:
        return self._first("SNAT")

    def _first(self, kind: str) -> str:
        return next((each.change for each in self.translations if each.kind == kind), "")

    @property
    def delivered(self) -> bool:
        """There was an answer; or, where none is expected, a socket or protocol got it."""
        return self.outcome.word == "delivered"

    @property
    def refused(self) -> bool:
        """An RST came back."""
        return self.outcome.word == "refused"

    @property
    def rejected(self) -> bool:
        """An ICMP error came back; the outcome's `detail` is its code."""
        return self.outcome.word == "rejected"

    @property
    def dropped(self) -> bool:
        """Nothing came back, for a packet was dropped; the outcome has the reason, the place and what decided."""
        return self.outcome.word == "dropped"

    @property
    def timeout(self) -> bool:
        """Nothing came back, and no drop is known."""
        return self.outcome.word == "timeout"

    @property
    def error(self) -> bool:
        """A call of the client failed; the outcome's `detail` is the errno's name."""
        return self.outcome.word == "error"

    @property
    def undecided(self) -> bool:
        """The fate depends on something that is not modelled; the outcome's `by` names it."""
        return self.outcome.word == "undecided"

    # -- reports --------------------------------------------------------------------------------

    def arrived(self, frame: Frame, netns: str) -> None:
        """A packet of the flow reached a socket or protocol of a namespace."""
        self.arrivals[netns, (frame.dst, frame.dport, frame.src, frame.sport)] = None
        if not self.at:
            self.at = netns

    def lost(self, frame: Frame, fact: Dropped) -> None:
        """A packet of the flow was dropped. A router's redirect is advice beside it, which netfilter drops where NAT was done."""
        if frame.proto != ICMP or frame.dport >> 8 != REDIRECT or self.kind == "send":
            self.losses.append(fact)

    def forbade(self, fact: Forbidden) -> None:
        """A packet of the flow died of a policy."""
        self.forbidden.append(fact)

    def translated(self, fact: Natted) -> None:
        """NAT began to rewrite packets of the flow."""
        self.translations[Nat(fact.kind, fact.before, fact.after)] = None

    def carried(self, fact: Encapsulated) -> None:
        """A tunnel carried a packet of the flow."""
        kind = "ipip" if fact.vni is None else "vxlan"
        self.tunnels[f"{kind} {ip4_text(fact.src)} -> {ip4_text(fact.dst)}"] = None

    def looked_up(self, found: Lookup) -> None:
        """The target's name was looked up. Reports about the look-up's packets are deleted, unless it failed."""
        self.looked_up_at = tuple(self.arrivals)
        self.resolved, self.look_up_frames = found, self.frame_count
        if found.error:
            loss = self.losses[-1] if self.losses and found.eai == EAI_AGAIN else None
            by = decided_by(loss) or f"{found.eai}: {found.name}"
            self.outcome = Outcome("error", found.error, loss.place if loss else "", by)
        else:
            self.outcome = DELIVERED
            self.losses.clear()
            self.forbidden.clear()
            self.arrivals.clear()
        self.translations.clear()
        self.tunnels.clear()
        self.at = ""

    # -- time -----------------------------------------------------------------------------------

    def wait(self, timeout_ns: int, done: Callable[[], bool]) -> bool:
        """Let time pass until `done()` holds, at most `timeout_ns`. Gives whether it holds."""
        clock = self.testbed.clock
        clock.run(clock.now + timeout_ns, done)
        return done()

    def settle(self) -> None:
        """Let the packets under way arrive."""
        clock = self.testbed.clock
        clock.run_until(clock.now + SETTLE_NS)
