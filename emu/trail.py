"""What happened to a frame, as plain frozen values. A frame's trail collects them; captures turn them into text. And who is
called where a namespace's tables change.

The walk formats nothing: it appends objects that already exist (a Rule, a Route, a Conn's NAT fact) or
one of these. `capture/comment.py` makes the text. Must not know who reads a trail.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from emu.fact import Fact

# what a recorder calls the tables of a namespace, as `emu show` does
NEIGH, FDB, CONNTRACK, ROUTES, SOCKETS = "neigh", "fdb", "conntrack", "routes", "sockets"


class Recorder(Protocol):
    """Who is called where the tables of one namespace change. It is None where nothing is recorded, which costs nothing."""

    def changed(self, table: str, key: object, text: str, at_ns: int | None = None) -> None:
        """The entry `key` of a table reads `text` now ("": it is gone), since `at_ns` (None: this moment)."""

    def reread(self, table: str) -> None:
        """Entries of the table came or went."""

    def arrived(self, frame: Any, fact: Any) -> None:
        """A packet (a Frame) ended at a protocol of the namespace itself, which calls no `delivery_listeners`; `fact` is Delivered."""

    def ruled(self, ruleset: Any) -> None:
        """Another rule set is in force."""


class Policy(Fact, frozen=True):
    """A base chain's policy decided. `verdict` is ACCEPT or DROP."""

    table: str
    chain: str
    verdict: str

    def text(self) -> str:
        """As `iptables -S` prints it."""
        return f"-P {self.chain} {self.verdict}"


@dataclass(slots=True, unsafe_hash=True)  # never changed; `frozen` would make it three times as dear to make
class Natted:
    """NAT rewrote one half: `kind` is DNAT or SNAT, un-DNAT or un-SNAT; addresses as (ip, port) ints.

    `conn` is the connection, whose name comments show. Made once per connection, direction and half.
    """

    kind: str
    before: tuple[int, int]
    after: tuple[int, int]
    conn: Any


DESTROYED = "destroyed"  # what the end of a connection's entry is called, as a state of it


@dataclass(slots=True, unsafe_hash=True)  # as Natted
class Tracked:
    """conntrack made an entry (`new`), or a packet changed an entry's state to `state`; DESTROYED: it ended the entry."""

    conn: Any
    state: str
    new: bool = False


@dataclass(frozen=True, slots=True)
class Dropped:
    """The end of a frame: the kernel's drop reason, the namespace and its device ("": on none), and what decided."""

    reason: str
    netns: str
    device: str = ""
    by: Any = None

    @property
    def place(self) -> str:
        """`node-1/cbr0`, as it is shown."""
        return f"{self.netns}/{self.device}" if self.device else self.netns


class Forbidden(Fact, frozen=True):
    """What the packet died of in words of Kubernetes: which side (`egress` or `ingress`) of which pod does not let it pass, and the
    `reason`: the policy and rule, or the policies of which no rule allows it. `policies` are their names, `rule` is the place of the rule, such
    as `ingress[1].from[0]`; "": none decided."""

    way: str
    pod: str
    reason: str
    policies: tuple[str, ...] = ()
    rule: str = ""

    def __str__(self) -> str:
        return f"{self.way} of {self.pod}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Probed:
    """A program at a device's tc hook (clsact) judged the packet: `verdict` is OK or SHOT; `by` is what decided, whose text is words.
    `way`: the direction of the pod behind the device that it stands for. `default`: no policy of the pod is there, so that its
    state decided."""

    program: str
    device: str
    way: str
    verdict: str
    by: Any
    default: bool = False

    def __str__(self) -> str:
        return f"tc {self.program} of {self.device}: {self.by}"


class Bridged(Fact, frozen=True):
    """The bridge forwarded to a known port (`port`), flooded (`flooded`), or passed the frame up (`up`)."""

    bridge: str
    port: str | None = None
    flooded: int = 0
    up: bool = False


class Learned(Fact, frozen=True):
    """The bridge learned a MAC: it is new, or behind another port than before."""

    bridge: str
    port: str
    mac: bytes


class Encapsulated(Fact, frozen=True):
    """A tunnel's device put the frame into a packet from `src` to `dst`: the frame is of network `vni`. None: the packet is in an
    IP packet (IPIP). The forwarding database had `dst` behind `mac` (all zero: behind all others). `mtu` is that of the outer
    packet's way, bytes."""

    device: str
    vni: int | None
    src: int
    dst: int
    mac: bytes = b""
    mtu: int = 0


class Decapsulated(Fact, frozen=True):
    """A tunnel's device took the frame out of a packet from `src`: it is of network `vni`. None: the packet was in an IP packet."""

    device: str
    vni: int | None
    src: int


class Carried(Fact, frozen=True):
    """A cloud's network carried the packet: `who` did it, `between` which interfaces, by which `way`. Where it rewrote the
    `half` ("source", "destination", "": none), `before` became `after`."""

    who: str
    between: str
    way: str
    half: str = ""
    before: int = 0
    after: int = 0


class Waited(Fact, frozen=True):
    """A packet waits until a neighbour (`addr` on `device`) is resolved."""

    addr: int
    device: str


class Asked(Fact, frozen=True):
    """Why an ARP request was sent: it resolves `addr` on `device`, for a packet to `dst` (0: a probe, an announcement)."""

    addr: int
    device: str
    dst: int = 0
    why: str = "resolve"


class Answered(Fact, frozen=True):
    """Why an ARP reply was sent: `addr` is `local`, or proxied for the route behind `device`."""

    addr: int
    device: str
    proxy: bool = False


class Born(Fact, frozen=True):
    """A local packet: who made it (`socket`, `icmp`, `reset`, `user`), as text ready to be shown."""

    what: str


class Delivered(Fact, frozen=True):
    """The packet reached a socket or protocol of its namespace."""

    netns: str
    to: str


class Note(Fact, frozen=True):
    """A plain sentence from code that knows more than the walk (a story's step, an impairment)."""

    text: str
